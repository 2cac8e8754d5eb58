//! The simulator's time: fixed by `--now`-like options and `POST /_clock`, else the system's.
//!
//! Owns: what is visible ("nothing later than now") and what new records are stamped with.
//! Must hold: a fixed clock stands still until it is set again, so that a replay is deterministic.

use std::sync::{PoisonError, RwLock};

use chrono::Utc;

use crate::time::Micros;

/// The clock shared by all vendors.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    fixed: RwLock<Option<Micros>>,
}

impl Clock {
    /// A clock that stands at `fixed`, or follows the system and hides nothing.
    pub(crate) fn new(fixed: Option<Micros>) -> Self {
        Self { fixed: RwLock::new(fixed) }
    }

    /// Sets the clock; `None` lets everything be visible again.
    pub(crate) fn set(&self, now: Option<Micros>) {
        *self.fixed.write().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// The moment after which nothing is visible; `None` when everything is.
    pub(crate) fn horizon(&self) -> Option<Micros> {
        *self.fixed.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time new records are stamped with.
    pub(crate) fn now(&self) -> Micros {
        self.horizon().unwrap_or_else(|| Utc::now().timestamp_micros())
    }
}
