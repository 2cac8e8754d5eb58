//! What every part of the agent works with.

use std::sync::Arc;

use tripline_engine::{Engine, SharedClock};
use tripline_store::{Scope, Store};

use crate::settings::SettingsHandle;

/// The engine, the store, the clock and the settings, shared by detectors, jobs, governance and the web.
#[derive(Clone)]
pub struct AgentContext {
    /// Runs SQL.
    pub engine: Arc<Engine>,
    /// Keeps state.
    pub store: Store,
    /// Whose rows are worked on.
    pub scope: Scope,
    /// The injected clock.
    pub clock: SharedClock,
    /// Current settings; reads see the newest valid file.
    pub settings: SettingsHandle,
}
