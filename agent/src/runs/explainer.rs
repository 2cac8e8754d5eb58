//! Explanations with a model, where one is configured: the cause and the fix in its words, checked against the evidence.
//!
//! Owns: what a model is shown of a signal, its budget per API key, and falling back. Does not own: the deterministic explanation
//! ([`mod@super::explain`]), asking and checking (`narrate`), nor reading a trace ([`super::trace`]).
//!
//! Must hold
//! - there is always an explanation: a model that is not there, takes too long, is over its budget or says what is not in the evidence
//!   leaves the deterministic one;
//! - a request that was sent is counted, also when whoever asked has gone;
//! - what was sent is not kept: it may hold the content of a trace.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tripline_engine::{Environment, SharedClock};
use tripline_store::{NarrationKind, NewExplanation, NewNarration, RunSignal, Scope, Store};

use super::trace::Trace;
use super::{Advice, FixType, RateContext, advice, explain_signal};
use crate::AgentContext;
use crate::narrate::{Brief, Exhibits, Ledger, ModelNarrator, Narrator, Told, model_config};
use crate::settings::SettingsHandle;

/// How long a model may take for one answer; it is asked twice at most.
const PER_REQUEST: Duration = Duration::from_secs(6);
/// Characters of one text that a model is shown.
const MAX_TEXT: usize = 800;
/// Questions of one key that are open at once; what they use is not counted yet.
const OPEN_PER_KEY: usize = 2;

/// A question about a signal.
#[derive(Debug, Clone)]
pub struct Question {
    /// The signal.
    pub signal: RunSignal,
    /// How often its failure was seen.
    pub rate: Option<RateContext>,
    /// The run's trace, if it was read.
    pub trace: Option<Trace>,
    /// Sources that could not be asked.
    pub unknown: Vec<String>,
    /// The name of the API key that asks.
    pub asked_by: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// Cause and fix.
    pub advice: Advice,
    /// Who wrote it: `template`, `model:NAME`, or `template (why no model)`.
    pub narrator: String,
}

/// Explains signals. Cheap to clone.
#[derive(Clone)]
pub struct Explainer {
    store: Store,
    clock: SharedClock,
    settings: SettingsHandle,
    environment: Environment,
    open: Arc<Mutex<HashMap<(String, String), usize>>>,
}

impl std::fmt::Debug for Explainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Explainer").finish_non_exhaustive()
    }
}

/// One question that is open.
struct Open {
    all: Arc<Mutex<HashMap<(String, String), usize>>>,
    of: (String, String),
}

impl Open {
    fn begin(all: &Arc<Mutex<HashMap<(String, String), usize>>>, of: (String, String)) -> Option<Self> {
        let mut counts = all.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(of.clone()).or_default();
        if *count >= OPEN_PER_KEY {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(Self { all: Arc::clone(all), of })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut counts = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

impl Explainer {
    /// Explains with the model that settings and `environment` ask for, if any.
    #[must_use]
    pub fn new(ctx: &AgentContext, environment: Environment) -> Self {
        Self {
            store: ctx.store.clone(),
            clock: Arc::clone(&ctx.clock),
            settings: ctx.settings.clone(),
            environment,
            open: Arc::default(),
        }
    }

    /// Explains a signal.
    pub async fn explain(&self, scope: &Scope, question: Question) -> Explained {
        let known = advice(&explain_signal(&question.signal, question.rate));
        let template = |why: &str| Explained { advice: known.clone(), narrator: format!("template{why}") };
        let model = match model_config(&self.settings, &self.environment) {
            Ok(None) => return template(""),
            Ok(Some(config)) => ModelNarrator::new(config, self.settings.clone()),
            Err(error) => Err(error),
        };
        let model = match model {
            Ok(model) => model,
            Err(error) => return template(&format!(" (model unavailable: {error})")),
        };
        let of = (scope.project_id().to_string(), question.asked_by.clone());
        let Some(open) = Open::begin(&self.open, of) else {
            return template(" (model over budget: this key has questions open)");
        };
        let ledger = Ledger::of_key(self.store.clone(), scope.clone(), Arc::clone(&self.clock), &question.asked_by);
        let model = model.in_haste(PER_REQUEST).with_ledger(Some(ledger));
        let brief = brief(&question, &known);
        let (store, scope, clock) = (self.store.clone(), scope.clone(), Arc::clone(&self.clock));
        let (signal_id, asked_by) = (question.signal.id, question.asked_by.clone());
        // In a task of its own, so that what was sent is counted when the client hangs up. It ends by itself: each of at most two
        // requests has its deadline.
        let telling = tokio::spawn(async move {
            let told = model.tell(brief).await;
            if let Some(report) = &told.report {
                let new = counted(signal_id, asked_by, report);
                if let Err(error) = store.narrations.append_explanation(&scope, new, clock.now()).await {
                    tracing::error!(%error, "what a model was asked could not be counted");
                }
            }
            drop(open);
            told
        });
        match telling.await {
            Ok(told) => explained(known, told),
            Err(error) => template(&format!(" (model unavailable: {error})")),
        }
    }
}

/// What is kept of a report.
fn counted(signal_id: i64, asked_by: String, report: &NewNarration) -> NewExplanation {
    NewExplanation {
        signal_id,
        asked_by,
        provider: report.provider.clone(),
        model: report.model.clone(),
        host: report.host.clone(),
        outcome: report.outcome,
        // A reason quotes the answer, and an answer may quote the trace.
        reason: report.reason.clone().filter(|_| report.requests == 0),
        requests: report.requests,
        prompt_tokens: report.prompt_tokens,
        completion_tokens: report.completion_tokens,
        sent_sha256: report.sent_sha256.clone(),
        redactions: report.redactions.clone(),
    }
}

fn explained(known: Advice, told: Told) -> Explained {
    if !told.narrator.starts_with("model:") {
        return Explained { advice: known, narrator: told.narrator };
    }
    let fix_content = match known.fix_type {
        // What is blocked stays in our own words.
        FixType::NoAutoApply => known.fix_content.clone(),
        FixType::PromptAddition | FixType::CodeChange => told.part("fix_content").to_owned(),
    };
    Explained {
        advice: Advice { root_cause: told.part("root_cause").to_owned(), fix_content, ..known },
        narrator: told.narrator,
    }
}

/// What a model is asked: the signal's evidence, how often it was seen, and the trace.
fn brief(question: &Question, known: &Advice) -> Brief {
    let signal = &question.signal;
    let mut finding: Map<String, Value> = signal.evidence.as_object().cloned().unwrap_or_default();
    for (name, value) in [
        ("failure_type", json!(signal.failure_type)),
        ("severity", json!(signal.severity)),
        ("agent_id", json!(signal.agent_id)),
        ("step_index", json!(signal.step_index)),
    ] {
        finding.insert(name.to_owned(), value);
    }
    if let Some(rate) = question.rate {
        finding.insert("total_runs".to_owned(), json!(rate.total_runs));
        finding.insert("affected_runs".to_owned(), json!(rate.affected_runs));
        finding.insert("affected_rate".to_owned(), json!(rate.rate));
    }
    let mut rows = BTreeMap::from([("finding".to_owned(), vec![finding])]);
    if let Some(trace) = &question.trace {
        if !trace.summary.is_empty() {
            rows.insert("trace".to_owned(), vec![trace.summary.clone()]);
        }
        rows.insert("steps".to_owned(), trace.steps.clone());
    }
    Brief {
        kind: NarrationKind::Signal,
        subject_id: signal.id.to_string(),
        exhibits: Exhibits::with_texts(rows, None, question.unknown.clone(), MAX_TEXT),
        template: vec![("root_cause", known.root_cause.clone()), ("fix_content", known.fix_content.clone())],
    }
}

#[cfg(test)]
mod tests;
