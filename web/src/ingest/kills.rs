//! Which runs are to stop, told to whoever sends their events.
//!
//! Must hold: an answer is at most half a second behind the store; the store is asked once in that time, however many send.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tripline_store::{KillState, KillTarget, ProjectId, Scope};

use crate::error::ApiError;
use crate::state::WebState;

/// How long what was read is good for.
const FRESH_FOR: Duration = Duration::from_millis(500);
/// The newest requests that are looked at.
const LOOKED_AT: u32 = 1_000;

type Targets = Arc<HashSet<String>>;

/// The runs that were asked to stop and did not say that they did, by project.
#[derive(Debug, Default)]
pub(crate) struct KillCache {
    read: Mutex<HashMap<ProjectId, (Instant, Targets)>>,
    reading: tokio::sync::Mutex<()>,
}

impl KillCache {
    fn get(&self, scope: &Scope) -> Option<Targets> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.get(scope.project_id()).filter(|(at, _)| at.elapsed() < FRESH_FOR).map(|(_, targets)| Arc::clone(targets))
    }
}

/// Of these runs, those that are to stop.
///
/// # Errors
/// When the store cannot be read.
pub(crate) async fn requested(
    state: &WebState,
    scope: &Scope,
    run_ids: HashSet<String>,
) -> Result<Vec<String>, ApiError> {
    let targets = targets(state, scope).await?;
    if targets.is_empty() {
        return Ok(Vec::new());
    }
    let is_target = |id: &String| KillTarget::new(id).is_ok_and(|target| targets.contains(target.as_str()));
    let mut runs: Vec<String> = run_ids.into_iter().filter(is_target).collect();
    runs.sort_unstable();
    Ok(runs)
}

async fn targets(state: &WebState, scope: &Scope) -> Result<Targets, ApiError> {
    let cache = &state.door().kills;
    if let Some(targets) = cache.get(scope) {
        return Ok(targets);
    }
    let _turn = cache.reading.lock().await;
    if let Some(targets) = cache.get(scope) {
        return Ok(targets);
    }
    let kills = state.context().store.kills.list(scope, LOOKED_AT).await?;
    let open = kills.into_iter().filter(|kill| kill.state == KillState::Requested);
    let targets: Targets = Arc::new(open.map(|kill| kill.target).collect());
    let mut read = cache.read.lock().unwrap_or_else(PoisonError::into_inner);
    read.insert(scope.project_id().clone(), (Instant::now(), Arc::clone(&targets)));
    Ok(targets)
}
