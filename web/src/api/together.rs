//! Identical queries at the same time are one.
//!
//! Owns: [`Together`], the queries that are running, by what they ask. Must hold: only a query of the same project with
//! the same text, values and limits is joined; the query runs as long as one of those who wait for it is there, and stops
//! with the last; one that began a while ago is joined only where the newcomer could not begin itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared, WeakShared};
use tokio::time::Instant;
use tripline_engine::QueryResult;

use crate::error::ApiError;

/// Queries that begin within this time of each other begin at the same time.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What a query came to.
pub(crate) type Answered = Result<Arc<QueryResult>, ApiError>;
type Running = Shared<BoxFuture<'static, Answered>>;
type Weak = WeakShared<BoxFuture<'static, Answered>>;

/// See the module.
#[derive(Default)]
pub(crate) struct Together {
    running: Mutex<HashMap<String, (Instant, Weak)>>,
}

impl Together {
    /// The running query `key`, if it may be joined, else the one that `start` makes. `full` says whether all places are
    /// taken.
    pub(crate) fn join(
        &self,
        key: String,
        full: bool,
        start: impl FnOnce() -> BoxFuture<'static, Answered>,
    ) -> Running {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        // What is done, or has nobody left who waits for it, is not running.
        running.retain(|_, (_, query)| query.upgrade().is_some_and(|query| query.peek().is_none()));
        let joined = running.get(&key).filter(|(began, _)| full || began.elapsed() < AT_ONCE);
        if let Some(query) = joined.and_then(|(_, query)| query.upgrade()) {
            return query;
        }
        let query = start().shared();
        if let Some(weak) = query.downgrade() {
            running.insert(key, (Instant::now(), weak));
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::*;

    /// A query that ends, with an error, when it is told to; what tells it, and what is dropped with it.
    fn query() -> (BoxFuture<'static, Answered>, tokio::sync::oneshot::Sender<()>, std::sync::Weak<()>) {
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let alive = Arc::new(());
        let weak = Arc::downgrade(&alive);
        let query = async move {
            let _alive = alive;
            let _ = ended.await;
            Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "deadline", "over"))
        };
        (query.boxed(), end, weak)
    }

    fn never() -> BoxFuture<'static, Answered> {
        unreachable!("there is one to join")
    }

    #[tokio::test]
    async fn a_query_goes_on_without_who_asked_first_and_stops_with_the_last() {
        let together = Together::default();
        let (first, _end, alive) = query();
        let mut one = together.join("q".to_owned(), false, || first);
        assert!(futures::poll!(&mut one).is_pending());
        let mut two = together.join("q".to_owned(), false, never);
        drop(one);
        assert!(futures::poll!(&mut two).is_pending());
        assert!(alive.upgrade().is_some());
        drop(two);
        assert!(alive.upgrade().is_none());
        let (second, end, _) = query();
        let again = together.join("q".to_owned(), false, || second);
        end.send(()).unwrap();
        assert_eq!(again.await.unwrap_err().code, "deadline");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_began_a_while_ago_is_joined_only_where_all_places_are_taken() {
        let together = Together::default();
        let (first, _end, _) = query();
        let _one = together.join("q".to_owned(), false, || first);
        tokio::time::advance(AT_ONCE).await;
        let _two = together.join("q".to_owned(), true, never);
        let (own, end, _) = query();
        let three = together.join("q".to_owned(), false, || own);
        end.send(()).unwrap();
        assert_eq!(three.await.unwrap_err().code, "deadline");
    }

    #[tokio::test]
    async fn another_question_and_one_that_is_answered_are_not_joined() {
        let together = Together::default();
        let (first, end, _) = query();
        let one = together.join("q".to_owned(), false, || first);
        let (other, _other_end, alive) = query();
        let _other = together.join("r".to_owned(), false, || other);
        assert!(alive.upgrade().is_some());
        end.send(()).unwrap();
        let _ = one.clone().await;
        let (again, _again_end, alive) = query();
        let _again = together.join("q".to_owned(), true, || again);
        assert!(alive.upgrade().is_some());
    }
}
