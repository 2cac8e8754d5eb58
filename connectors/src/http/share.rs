//! Answers that more than one scan may use.
//!
//! Owns: [`Shelf`]: requests under way, so that the same one is not sent twice at a time, and answers already here, so that
//! a page is not fetched twice in a query nor sent again by a vendor that can say it did not change. Does not own: sending
//! (`client`), nor what an answer means.
//!
//! Must hold: only answers that were accepted and read to their end are kept; a query uses without asking only what was
//! asked for after it began (as fresh as its own request would be), or what the vendor itself says is still good and gives
//! no way to ask; what is kept is bounded in bytes. A shelf belongs to one client, and so to one set of credentials; keys
//! hold none.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use reqwest::header::{
    AGE, CACHE_CONTROL, ETAG, HeaderMap, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, VARY,
};
use tokio::sync::watch;
use tokio::time::Instant;
use tripline_engine::{Moment, QueryContext};

use super::transport::RawAnswer;

/// Bytes of bodies kept per source.
pub(crate) const SHELF_BYTES: usize = 32 << 20;
/// Longest that a vendor's `max-age` is believed.
const LONGEST_FRESH: Duration = Duration::from_secs(60);
/// What an entry costs beside its body, about.
const ENTRY_BYTES: usize = 1024;

/// Headers that ask a vendor whether an answer still holds.
type Conditions = Vec<(HeaderName, HeaderValue)>;

/// What is known of a request.
#[derive(Debug)]
pub(crate) enum Found {
    /// The answer.
    Here(Arc<RawAnswer>),
    /// Somebody is asking; wait for it.
    UnderWay(watch::Receiver<Option<Arc<RawAnswer>>>),
    /// Nobody is: ask, with these headers, and say what came.
    Ask(Asking),
}

/// An answer that is kept.
#[derive(Debug)]
struct Kept {
    answer: Arc<RawAnswer>,
    asked: Moment,
    /// Until when the vendor vouches for it.
    fresh_until: Option<Instant>,
    /// Headers that ask the vendor whether it still holds.
    conditions: Conditions,
    /// The vendor allows keeping it beyond the queries that are running.
    storable: bool,
    /// Its place in the order of use.
    used: u64,
    bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    under_way: HashMap<String, watch::Receiver<Option<Arc<RawAnswer>>>>,
    kept: HashMap<String, Kept>,
    by_use: BTreeMap<u64, String>,
    uses: u64,
    bytes: usize,
    /// Queries that may still use what was asked for after they began.
    queries: Vec<Weak<QueryContext>>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Shelf {
    state: Mutex<State>,
    capacity: usize,
}

impl Shelf {
    pub(crate) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), capacity })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of the request `key`, for `query`.
    pub(crate) fn find(self: &Arc<Self>, key: &str, query: &Arc<QueryContext>) -> Found {
        let mut state = self.state();
        state.meet(query);
        if let Some(kept) = state.kept.get(key)
            && (kept.asked > query.began || kept.fresh_until.is_some_and(|until| Instant::now() < until))
        {
            let answer = Arc::clone(&kept.answer);
            state.touch(key);
            return Found::Here(answer);
        }
        if let Some(waiting) = state.under_way.get(key) {
            return Found::UnderWay(waiting.clone());
        }
        let known = state.kept.get(key).filter(|kept| kept.storable && !kept.conditions.is_empty());
        let known = known.map(|kept| (Arc::clone(&kept.answer), kept.conditions.clone()));
        let (sender, receiver) = watch::channel(None);
        state.under_way.insert(key.to_owned(), receiver);
        Found::Ask(Asking { shelf: Arc::clone(self), key: key.to_owned(), asked: Moment::now(), known, sender })
    }

    /// Bytes held.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.state().bytes
    }
}

impl State {
    /// Remembers that `query` is running.
    fn meet(&mut self, query: &Arc<QueryContext>) {
        if !self.queries.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(query))) {
            let before = self.queries.len();
            self.queries.retain(|known| known.strong_count() > 0);
            let someone_left = self.queries.len() < before;
            self.queries.push(Arc::downgrade(query));
            if someone_left {
                self.forget_useless();
            }
        }
    }

    /// Drops what no query can use any more.
    fn forget_useless(&mut self) {
        let oldest = self.queries.iter().filter_map(Weak::upgrade).map(|query| query.began).min();
        let now = Instant::now();
        let useful = |kept: &Kept| {
            let shared = oldest.is_some_and(|began| kept.asked > began);
            let later = kept.storable && (!kept.conditions.is_empty() || kept.fresh_until.is_some_and(|u| now < u));
            shared || later
        };
        let useless: Vec<String> =
            self.kept.iter().filter(|(_, kept)| !useful(kept)).map(|(key, _)| key.clone()).collect();
        for key in useless {
            self.remove(&key);
        }
    }

    fn touch(&mut self, key: &str) {
        self.uses += 1;
        let Some(kept) = self.kept.get_mut(key) else { return };
        self.by_use.remove(&kept.used);
        kept.used = self.uses;
        self.by_use.insert(kept.used, key.to_owned());
    }

    fn remove(&mut self, key: &str) {
        if let Some(kept) = self.kept.remove(key) {
            self.by_use.remove(&kept.used);
            self.bytes -= kept.bytes;
        }
    }

    fn keep(&mut self, key: &str, mut kept: Kept, capacity: usize) {
        self.remove(key);
        if kept.bytes > capacity {
            return;
        }
        self.bytes += kept.bytes;
        self.uses += 1;
        kept.used = self.uses;
        self.by_use.insert(kept.used, key.to_owned());
        self.kept.insert(key.to_owned(), kept);
        if self.bytes > capacity {
            self.forget_useless();
        }
        while self.bytes > capacity
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.remove(&oldest);
        }
    }
}

/// The duty to ask. Dropped without an answer, the next who wants it asks.
#[derive(Debug)]
pub(crate) struct Asking {
    shelf: Arc<Shelf>,
    key: String,
    asked: Moment,
    /// An older answer, and the headers that ask whether it still holds.
    known: Option<(Arc<RawAnswer>, Conditions)>,
    sender: watch::Sender<Option<Arc<RawAnswer>>>,
}

impl Asking {
    /// A try begins: what comes now is as fresh as this moment.
    pub(crate) fn begin_try(&mut self) {
        self.asked = Moment::now();
    }

    /// Headers that let the vendor answer that nothing changed.
    pub(crate) fn conditions(&self) -> &[(HeaderName, HeaderValue)] {
        self.known.as_ref().map_or(&[], |(_, conditions)| conditions)
    }

    /// The older answer with the headers of `not_modified`, which says that it still holds.
    pub(crate) fn still_holds(&self, not_modified: &RawAnswer) -> Option<RawAnswer> {
        let (known, _) = self.known.as_ref()?;
        let mut headers = known.headers.clone();
        for (name, value) in &not_modified.headers {
            // What describes the absent body of this answer does not describe the older one's.
            if !name.as_str().starts_with("content-") {
                headers.insert(name, value.clone());
            }
        }
        Some(RawAnswer { status: known.status, headers, body: known.body.clone() })
    }

    /// Gives `answer`, accepted and read to its end, to everyone who waits, and keeps it.
    pub(crate) fn answered(self, answer: &RawAnswer) {
        let answer = Arc::new(answer.clone());
        let kept = Kept {
            fresh_until: fresh_for(&answer.headers).map(|fresh| Instant::now() + fresh),
            conditions: conditions(&answer.headers),
            storable: storable(&answer.headers),
            asked: self.asked,
            used: 0,
            bytes: answer.body.len() + self.key.len() + ENTRY_BYTES,
            answer: Arc::clone(&answer),
        };
        self.shelf.state().keep(&self.key, kept, self.shelf.capacity);
        self.sender.send_replace(Some(answer));
        // Dropping `self` ends the request for those who come from now on.
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.shelf.state().under_way.remove(&self.key);
    }
}

/// The directives of `Cache-Control`, in lower case.
fn directives(headers: &HeaderMap) -> impl Iterator<Item = String> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(|part| part.trim().to_ascii_lowercase())
}

/// Whether an answer may be used by queries that begin later.
fn storable(headers: &HeaderMap) -> bool {
    let varies_on_everything = headers.get(VARY).is_some_and(|value| value == "*");
    !varies_on_everything && !directives(headers).any(|directive| directive == "no-store")
}

/// How long an answer may be used without asking. With a validator the vendor can be asked at little cost, and is: a vendor's
/// guess about how long an answer is good is not worth an incident seen a minute late.
fn fresh_for(headers: &HeaderMap) -> Option<Duration> {
    if !storable(headers) || !conditions(headers).is_empty() || directives(headers).any(|d| d.starts_with("no-cache")) {
        return None;
    }
    let max_age =
        directives(headers).find_map(|d| d.strip_prefix("max-age=")?.trim_matches('"').parse::<u64>().ok())?;
    let age = headers.get(AGE).and_then(|value| value.to_str().ok()?.trim().parse::<u64>().ok()).unwrap_or(0);
    let left = Duration::from_secs(max_age.saturating_sub(age)).min(LONGEST_FRESH);
    (!left.is_zero()).then_some(left)
}

fn conditions(headers: &HeaderMap) -> Conditions {
    let one = |from: HeaderName, to: HeaderName| headers.get(from).map(|value| (to, value.clone()));
    // An entity tag says more than a date of whole seconds.
    one(ETAG, IF_NONE_MATCH).or_else(|| one(LAST_MODIFIED, IF_MODIFIED_SINCE)).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use reqwest::StatusCode;

    use super::*;

    fn query() -> Arc<QueryContext> {
        QueryContext::new(chrono::DateTime::UNIX_EPOCH, Duration::from_secs(60), 100)
    }

    fn answer(size: usize, headers: &[(HeaderName, &'static str)]) -> RawAnswer {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        RawAnswer { status: StatusCode::OK, headers, body: Bytes::from(vec![b' '; size]) }
    }

    fn ask(shelf: &Arc<Shelf>, key: &str, query: &Arc<QueryContext>) -> Asking {
        match shelf.find(key, query) {
            Found::Ask(asking) => asking,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_query_uses_what_was_asked_for_after_it_began_and_nothing_older() {
        let shelf = Shelf::new(SHELF_BYTES);
        let early = query();
        ask(&shelf, "a", &early).answered(&answer(10, &[]));
        assert!(matches!(shelf.find("a", &early), Found::Here(_)));
        assert!(matches!(shelf.find("a", &query()), Found::Ask(_)));
    }

    #[tokio::test]
    async fn who_waits_gets_the_answer_and_asks_alone_when_there_is_none() {
        let shelf = Shelf::new(SHELF_BYTES);
        let (first, second) = (query(), query());
        let asking = ask(&shelf, "a", &first);
        let Found::UnderWay(mut waiting) = shelf.find("a", &second) else { panic!() };
        asking.answered(&answer(10, &[]));
        assert!(waiting.wait_for(Option::is_some).await.is_ok());

        let asking = ask(&shelf, "b", &first);
        let Found::UnderWay(mut waiting) = shelf.find("b", &second) else { panic!() };
        drop(asking);
        assert!(waiting.wait_for(Option::is_some).await.is_err());
        assert!(matches!(shelf.find("b", &second), Found::Ask(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_vendors_word_is_believed_only_where_it_cannot_be_asked_and_not_for_long() {
        let fresh = |headers: &[(HeaderName, &'static str)]| fresh_for(&answer(1, headers).headers);
        assert_eq!(fresh(&[(CACHE_CONTROL, "private, max-age=30")]), Some(Duration::from_secs(30)));
        assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=86400")]), Some(LONGEST_FRESH));
        assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=30"), (AGE, "20")]), Some(Duration::from_secs(10)));
        assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=30"), (AGE, "30")]), None);
        assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=30"), (ETAG, "\"x\"")]), None);
        assert_eq!(fresh(&[(CACHE_CONTROL, "no-store, max-age=30")]), None);
        assert_eq!(fresh(&[(CACHE_CONTROL, "no-cache, max-age=30")]), None);
        assert_eq!(fresh(&[(CACHE_CONTROL, "max-age=30"), (VARY, "*")]), None);
        assert_eq!(fresh(&[]), None);

        let shelf = Shelf::new(SHELF_BYTES);
        ask(&shelf, "a", &query()).answered(&answer(1, &[(CACHE_CONTROL, "max-age=30")]));
        assert!(matches!(shelf.find("a", &query()), Found::Here(_)));
        tokio::time::advance(Duration::from_secs(31)).await;
        assert!(matches!(shelf.find("a", &query()), Found::Ask(_)));
    }

    #[tokio::test]
    async fn what_must_not_be_stored_is_not_asked_about_later() {
        let shelf = Shelf::new(SHELF_BYTES);
        let first = query();
        ask(&shelf, "a", &first).answered(&answer(1, &[(CACHE_CONTROL, "no-store"), (ETAG, "\"x\"")]));
        assert!(matches!(shelf.find("a", &first), Found::Here(_)), "one query is one reading");
        assert!(ask(&shelf, "a", &query()).conditions().is_empty());
        drop(first);
        shelf.find("b", &query());
        assert_eq!(shelf.bytes(), 0, "nobody who could use it is left");
    }

    #[tokio::test]
    async fn the_least_recently_used_goes_first_and_the_bound_is_kept() {
        let shelf = Shelf::new(10 * ENTRY_BYTES);
        let query = query();
        for key in ["a", "b", "c", "d"] {
            ask(&shelf, key, &query).answered(&answer(2 * ENTRY_BYTES, &[]));
            assert!(matches!(shelf.find("a", &query), Found::Here(_)), "used all the time");
        }
        assert!(shelf.bytes() <= 10 * ENTRY_BYTES);
        assert!(matches!(shelf.find("b", &query), Found::Ask(_)));
        ask(&shelf, "huge", &query).answered(&answer(11 * ENTRY_BYTES, &[]));
        assert!(matches!(shelf.find("huge", &query), Found::Ask(_)));
    }
}
