//! What comes late: a row in fifty some minutes to an hour after its time, and now and then all rows of a feature whose
//! exporter was stuck.
//!
//! Must hold: no row comes more than an hour late; an exporter is not stuck while something goes wrong, which nobody could
//! see then.

use chrono::{DateTime, TimeDelta, Utc};
use rand::Rng;

use super::{Story, minutes};
use crate::labelled::LabelledIncident;

/// Share of the rows that come late by themselves.
const SHARE: f64 = 0.02;
/// Minutes that a late row takes, at least and at most.
const TAKES: (f64, f64) = (2.0, 60.0);

impl Story {
    pub(super) fn delays(&mut self, incidents: &[LabelledIncident]) {
        let calls = self.happened.calls.iter().map(|call| (call.id.clone(), call.started));
        let tools = self.happened.tools.iter().map(|tool| (tool.id.clone(), tool.started));
        let errors = self.happened.troubles.iter().flat_map(|trouble| trouble.seen.clone());
        let rows: Vec<(String, DateTime<Utc>)> = calls.chain(tools).chain(errors).collect();
        for (id, at) in rows {
            if self.rng.random_bool(SHARE) {
                let takes = self.rng.random_range(TAKES.0.ln()..TAKES.1.ln()).exp();
                self.happened.late.insert(id, at + TimeDelta::seconds((takes * 60.0) as i64));
            }
        }
        for _ in 0..2 {
            self.stuck(incidents);
        }
    }

    /// An exporter that keeps the rows of a feature for up to an hour, then sends them all.
    fn stuck(&mut self, incidents: &[LabelledIncident]) {
        let from = self.within(self.clock_start, self.end - minutes(90));
        let until = from + minutes(self.rng.random_range(20..58));
        let feature = self.rng.random_range(0..self.features.len());
        let near = |incident: &LabelledIncident| {
            incident.starts_at - minutes(120) < until && from < incident.ends_at + minutes(120)
        };
        if incidents.iter().any(near) {
            return;
        }
        let name = &self.features[feature].name;
        let kept =
            self.happened.calls.iter().filter(|call| call.name == *name && (from..until).contains(&call.started));
        self.happened.late.extend(kept.map(|call| (call.id.clone(), until + TimeDelta::seconds(20))));
    }
}
