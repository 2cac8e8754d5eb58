//! A governor that only remembers what it was told.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use tripline_store::{Evidence, Incident, NewAnomaly, Scope};

use crate::respond::{GovernError, Governor};

/// Remembers calls as `verb type entity`.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    calls: Mutex<Vec<String>>,
    /// How many calls are to fail from now on.
    failing: Mutex<usize>,
}

impl Recorder {
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn fail(&self, times: usize) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = times;
    }

    fn note(&self, verb: &str, incident: &Incident) -> Result<(), GovernError> {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        if *failing > 0 {
            *failing -= 1;
            return Err(GovernError::Refused { message: "told to fail".to_owned(), hint: None });
        }
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(format!("{verb} {} {}", incident.kind, incident.entity));
        Ok(())
    }
}

#[async_trait]
impl Governor for Recorder {
    async fn incident_opened(
        &self,
        _: &Scope,
        incident: &Incident,
        _: &NewAnomaly,
        evidence: &[Evidence],
    ) -> Result<(), GovernError> {
        assert!(incident.narrative.is_some() && incident.evidence_sha256.is_some() && !evidence.is_empty());
        self.note("opened", incident)
    }

    async fn incident_updated(&self, _: &Scope, incident: &Incident) -> Result<(), GovernError> {
        self.note("updated", incident)
    }

    async fn incident_resolved(&self, _: &Scope, incident: &Incident) -> Result<(), GovernError> {
        self.note("resolved", incident)
    }

    async fn expire_due(&self, _: &Scope) -> Result<usize, GovernError> {
        Ok(0)
    }
}
