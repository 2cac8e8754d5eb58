//! Run detectors of the installation's own that fail: seen before they judge, told, and what they did not judge.
//!
//! Owns: planning a file without a run ([`check`]), with the line that is wrong; what is noted of a detector that fails, and when
//! that ends. Does not own: which runs it did not judge (the store remembers them with their verdicts).
//!
//! Must hold: a file that fails keeps no other detector from judging; it is told in the log when it begins and when it ends, not in
//! each cycle; once it works the runs that it missed are due again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tripline_engine::{Engine, EngineError};
use tripline_store::{DetectorFailure, FailedDetector, StoreError};

use super::RunDetectorSpec;
use super::detect::{answer_to_nothing, has_columns};
use crate::AgentContext;
use crate::queries::QuerySet;
use crate::queries::header::{Header, HeaderError};
use crate::settings::Settings;

/// How long a detector that failed must judge without failing before what it missed is judged: one that fails at some runs and not
/// at others must not have all of them judged again and again.
const QUIET: TimeDelta = TimeDelta::minutes(10);
/// Characters of an error that are kept.
const MAX_ERROR: usize = 1_000;

/// Plans a detector's file and runs it over no runs.
///
/// # Errors
/// [`HeaderError`] with the line: the text is no SQL, names what is not there, would change something, or returns no findings.
pub async fn check(
    engine: &Engine,
    spec: &RunDetectorSpec,
    settings: &Settings,
    now: DateTime<Utc>,
) -> Result<(), HeaderError> {
    let header = spec.header.as_ref();
    match answer_to_nothing(engine, spec, settings, now).await {
        Err(error) => Err(placed(header, error)),
        Ok(None) => Ok(()),
        Ok(Some(result)) => has_columns(spec, &result).map_err(|error| {
            let text = error.to_string();
            let message = text.strip_prefix(&format!("{}: ", header.origin)).unwrap_or(&text).to_owned();
            header.error(first_line(header), message, None)
        }),
    }
}

/// The error at the line of the file that it is about.
fn placed(header: &Header, error: EngineError) -> HeaderError {
    let (message, hint) = match error {
        EngineError::Query { message, hint } => (message, hint),
        error => (error.to_string(), None),
    };
    let line = line_named(&message).or_else(|| line_with(header, &message)).unwrap_or_else(|| first_line(header));
    header.error(line, message, hint)
}

/// The line that a syntax error names.
fn line_named(message: &str) -> Option<usize> {
    let (_, rest) = message.split_once("Line: ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The first line of the query that has one of the names which the message has.
fn line_with(header: &Header, message: &str) -> Option<usize> {
    // What may be meant instead is not in the text.
    let message = message.split("Did you mean").next().unwrap_or(message);
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let quoted = message.split(['\'', '"', '`']).skip(1).step_by(2);
    let named = message.split_once("named ").and_then(|(_, rest)| rest.split_whitespace().next());
    let dotted = message.split_whitespace().filter(|word| word.trim_end_matches('.').contains(['.', '_']));
    let names = named.into_iter().chain(quoted).chain(dotted).filter_map(|name| {
        let name = name.trim_end_matches(['.', ',', ';']).trim_matches(['\'', '"']);
        name.rsplit('.').next().filter(|name| !name.is_empty() && name.chars().all(is_word))
    });
    let first = first_line(header);
    for name in names {
        let has = |line: &str| line.split(|c: char| !is_word(c)).any(|word| word.eq_ignore_ascii_case(name));
        let found = header.sql.lines().enumerate().find(|(index, line)| index + 1 >= first && has(line));
        if let Some((index, _)) = found {
            return Some(index + 1);
        }
    }
    None
}

/// The first line of the query.
fn first_line(header: &Header) -> usize {
    let is_sql = |line: &str| !line.trim().is_empty() && !line.trim().starts_with("--");
    header.sql.lines().position(is_sql).map_or(1, |index| index + 1)
}

/// What is noted of detectors that fail. Cheap to clone; clones share which files were looked at.
#[derive(Debug, Clone, Default)]
pub(super) struct Failures {
    /// The text that was planned, by project and detector.
    looked_at: Arc<Mutex<HashMap<(String, String), String>>>,
}

impl Failures {
    /// Plans files that are new or changed, and ends what is known of those that are mended, gone or on trial again.
    pub(super) async fn look(&self, ctx: &AgentContext, set: &QuerySet, now: DateTime<Utc>) -> Result<(), StoreError> {
        let settings = ctx.settings.get();
        let known = ctx.store.runs.detector_failures(&ctx.scope).await?;
        for failure in &known {
            let is_live = |spec: &RunDetectorSpec| !settings.runs.is_shadow(&spec.name, spec.is_own());
            match set.runs.get(&failure.detector) {
                Some(spec) if failure.live && !is_live(spec) => ended(ctx, failure, false, now).await?,
                // Gone live although it fails.
                Some(spec) if failure.failing && !failure.live && is_live(spec) => {
                    failed(ctx, Some(failure), spec, failure.error.clone(), now).await?;
                }
                Some(_) => {}
                None => ended(ctx, failure, false, now).await?,
            }
        }
        for spec in set.runs.values().filter(|spec| spec.is_file()) {
            let sha256 = spec.sha256();
            let key = (ctx.scope.project_id().to_string(), spec.name.clone());
            if self.looked_at.lock().unwrap_or_else(PoisonError::into_inner).get(&key) == Some(&sha256) {
                continue;
            }
            let failure = known.iter().find(|failure| failure.detector == spec.name);
            match check(&ctx.engine, spec, &settings, now).await {
                Err(error) => failed(ctx, failure, spec, error.to_string(), now).await?,
                Ok(()) => {
                    if let Some(failure) = failure.filter(|failure| failure.file_sha256 != sha256) {
                        ended(ctx, failure, failure.live, now).await?;
                    }
                }
            }
            self.looked_at.lock().unwrap_or_else(PoisonError::into_inner).insert(key, sha256);
        }
        Ok(())
    }

    /// Notes which detectors failed at the runs that were due, and why. Before the verdicts are kept, which depend on it.
    pub(super) async fn ran(
        &self,
        ctx: &AgentContext,
        outcomes: &[(&RunDetectorSpec, Option<String>)],
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let known = ctx.store.runs.detector_failures(&ctx.scope).await?;
        for (spec, error) in outcomes {
            let failure = known.iter().find(|failure| failure.detector == spec.name);
            match (error, failure) {
                (Some(error), _) => failed(ctx, failure, spec, error.clone(), now).await?,
                (None, Some(failure)) if now - failure.last_failed_at >= QUIET => {
                    ended(ctx, failure, failure.live, now).await?;
                }
                (None, Some(failure)) if failure.failing => {
                    ctx.store.runs.detector_worked(&ctx.scope, &failure.detector).await?;
                }
                (None, _) => {}
            }
        }
        Ok(())
    }
}

async fn failed(
    ctx: &AgentContext,
    known: Option<&DetectorFailure>,
    spec: &RunDetectorSpec,
    error: String,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let error: String = error.chars().take(MAX_ERROR).collect();
    let live = !ctx.settings.get().runs.is_shadow(&spec.name, spec.is_own());
    let file_sha256 = spec.sha256();
    let is_news = known.is_none_or(|known| known.file_sha256 != file_sha256 || known.live != live);
    if is_news {
        let (detector, project) = (spec.name.as_str(), ctx.scope.project_id().as_str());
        match live {
            true => tracing::error!(
                detector,
                project,
                %error,
                "a live run detector fails: runs are judged by the others, and again when it works"
            ),
            false => tracing::warn!(detector, project, %error, "a run detector on trial fails"),
        }
    }
    let failed =
        FailedDetector { detector: spec.name.clone(), failure_type: spec.kind.clone(), error, file_sha256, live };
    ctx.store.runs.detector_failed(&ctx.scope, failed, now).await
}

/// Forgets a failure; with `again` what the detector missed is due once more.
async fn ended(
    ctx: &AgentContext,
    failure: &DetectorFailure,
    again: bool,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let due = ctx.store.runs.end_detector_failure(&ctx.scope, &failure.detector, again, now).await?;
    let (detector, missed) = (failure.detector.as_str(), failure.runs_not_judged);
    match again {
        true => tracing::info!(detector, missed, due, "a run detector works again: what it missed is judged"),
        false => tracing::info!(detector, missed, "a run detector that failed is gone or on trial again"),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{World, at};

    async fn wrong(text: &str) -> String {
        let scene = World::default().scene(at("2026-11-20T10:00:00Z"));
        let spec = RunDetectorSpec::new(Header::split("mine", "mine.sql", text)).unwrap();
        let settings = Settings::default();
        match check(&scene.ctx.engine, &spec, &settings, at("2026-11-20T10:00:00Z")).await {
            Ok(()) => String::new(),
            Err(error) => error.to_string(),
        }
    }

    const HEAD: &str = "-- name: mine\n-- severity: high\n";

    #[tokio::test]
    async fn what_is_wrong_with_a_file_is_told_with_its_line_before_any_run_is_judged() {
        for (sql, starts, part) in [
            ("SELECT run_id\nFORM ingest.runs\n", "mine.sql:4: ", "SQL syntax"),
            ("SELECT run_id,\n    tol_calls\nFROM ingest.runs\n", "mine.sql:4: ", "tol_calls"),
            ("SELECT run_id FROM\n  ingest.rums\n", "mine.sql:4: ", "rums"),
            ("-- prose\nDELETE FROM ingest.runs\n", "mine.sql:4: ", "read-only"),
            ("DROP TABLE ingest.runs\n", "mine.sql:3: ", "read-only"),
            ("SELECT run_id FROM ingest.runs\nWHERE nonsense_of(tool_calls) > 2\n", "mine.sql:4: ", "nonsense_of"),
            ("SELECT agent_id FROM ingest.runs\n", "mine.sql:3: ", "select it from ingest.runs"),
        ] {
            let error = wrong(&format!("{HEAD}{sql}")).await;
            assert!(error.starts_with(starts) && error.contains(part), "{sql}: {error}");
        }
        let error = wrong("-- name: mine\n-- severity: how_bad\nSELECT run_id FROM ingest.runs\n").await;
        assert!(error.starts_with("mine.sql:3: ") && error.contains("'how_bad'"), "{error}");
    }

    #[tokio::test]
    async fn a_file_that_plans_is_right_whatever_it_would_find() {
        for sql in [
            "SELECT run_id, tool_calls FROM ingest.runs WHERE tool_calls > 3\n",
            "SELECT run_id, 1 / (tool_calls - tool_calls) AS x FROM ingest.runs\n",
            "SELECT max(run_id) AS run_id, count(*) AS n FROM ingest.tool_calls\n",
            "WITH calls AS MATERIALIZED (SELECT run_id FROM ingest.tool_calls) SELECT run_id, count(*) AS n FROM calls GROUP BY run_id\n",
        ] {
            assert_eq!(wrong(&format!("{HEAD}{sql}")).await, "", "{sql}");
        }
        assert_eq!(wrong(&format!("{HEAD}-- when: tool_calls > 3\n")).await, "");
    }
}
