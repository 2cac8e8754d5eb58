//! Running a query file: its steps in order, those that do not wait for each other at once.
//!
//! Owns: binding each step's own placeholders and handing on rows. Must hold: the first failure ends the query.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures::future::try_join_all;
use tripline_engine::{Engine, EngineError, InputTable, Params, QueryOptions, QueryResult};
use tripline_store::Gap;

use super::gaps_of;
use crate::queries::header::Header;
use crate::queries::steps::{Step, table_of};

/// Detectors that are due together share what the first of them fetched: a local copy that is this much older than the end of the
/// window is taken as it is. What it lacks is seen in the next window.
pub(crate) const FRESHNESS: Duration = Duration::from_secs(60);

/// What a query file gave.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The rows of its last step; `None` when a step it stops at was empty: then there are none.
    pub(crate) result: Option<QueryResult>,
    /// What any of its steps lacks.
    pub(crate) gaps: Vec<Gap>,
    /// Requests of all steps.
    pub(crate) requests: u64,
}

/// A query file with what it is run with.
pub(crate) struct Run<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) header: &'a Header,
    pub(crate) params: Params,
    pub(crate) input: Vec<InputTable>,
    /// What `now()` is.
    pub(crate) now: DateTime<Utc>,
    /// The step that is run first; when it is empty, nothing else is.
    pub(crate) stop_when_empty: Option<&'a str>,
}

impl Run<'_> {
    /// Runs all steps.
    pub(crate) async fn answer(mut self) -> Result<Answer, EngineError> {
        let steps = &self.header.steps;
        let mut answer = Answer { result: None, gaps: Vec::new(), requests: 0 };
        let mut done = vec![false; steps.len()];
        let mut first: Option<usize> = self
            .stop_when_empty
            .and_then(|name| steps.iter().position(|step| step.table.as_deref() == Some(table_of(name).as_str())));
        loop {
            let wanted = first.map_or_else(|| (0..steps.len()).collect(), |first| closure(steps, first));
            let ready: Vec<usize> = wanted
                .into_iter()
                .filter(|i| done.get(*i) == Some(&false))
                .filter(|i| steps.get(*i).is_some_and(|s| s.needs.iter().all(|n| done.get(*n) == Some(&true))))
                .collect();
            let results = try_join_all(ready.iter().filter_map(|i| steps.get(*i)).map(|step| self.step(step))).await?;
            if results.is_empty() {
                return Err(EngineError::Execution("the steps of the query wait for each other".to_owned()));
            }
            for (index, result) in ready.into_iter().zip(results) {
                answer.gaps.extend(gaps_of(&result));
                answer.requests += result.report.requests;
                if let Some(flag) = done.get_mut(index) {
                    *flag = true;
                }
                if first == Some(index) {
                    first = None;
                    if result.batches.iter().all(|batch| batch.num_rows() == 0) {
                        return Ok(answer);
                    }
                }
                match steps.get(index).and_then(|step| step.table.clone()) {
                    None => {
                        answer.result = Some(result);
                        return Ok(answer);
                    }
                    Some(name) => {
                        self.input.push(InputTable { name, schema: result.schema, batches: result.batches });
                    }
                }
            }
        }
    }

    async fn step(&self, step: &Step) -> Result<QueryResult, EngineError> {
        let mut params = self.params.clone();
        params.retain(|name, _| step.placeholders.contains(name));
        let input = self.input.clone();
        let options =
            QueryOptions { params, input, now: Some(self.now), freshness: FRESHNESS, ..QueryOptions::default() };
        self.engine.collect(&step.sql, options).await
    }
}

/// A step and all it needs.
fn closure(steps: &[Step], last: usize) -> BTreeSet<usize> {
    let mut needed = BTreeSet::new();
    let mut open = vec![last];
    while let Some(index) = open.pop() {
        if needed.insert(index) {
            open.extend(steps.get(index).map_or(&[][..], |step| step.needs.as_slice()));
        }
    }
    needed
}
