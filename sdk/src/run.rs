//! A run as the agent reports it.
//!
//! Owns the counting of steps and what ends a run. Must hold: nothing here waits, fails or panics; content is hashed
//! before it goes anywhere; a run ends exactly once, at the latest when its guard is dropped.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use serde_json::{Map, Value};

use crate::client::Shared;
use crate::control::{Killed, Watch};
use crate::event::{Event, Identity, Payload};
use crate::hash::{hash_args, hash_content};

/// What a run begins with. The texts are hashed and dropped at once.
#[derive(Debug, Clone, Default)]
pub struct RunOptions<'a> {
    /// What the agent was asked.
    pub user_input: &'a str,
    /// Its instructions: part of its version.
    pub system_prompt: &'a str,
    /// Its model; `unknown` when empty.
    pub model: &'a str,
    /// The tools it has.
    pub tools: &'a [&'a str],
    /// The run that started this one.
    pub parent_run_id: Option<&'a str>,
    /// An id of the caller's own; a random one when absent.
    pub run_id: Option<&'a str>,
}

/// What a model answered. The defaults are the Python SDK's, with which an answer looks empty: set what you know.
#[derive(Debug, Clone)]
pub struct LlmResponse<'a> {
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Tokens of the prompt, where they are known only now.
    pub prompt_tokens: Option<u64>,
    /// Tokens of reasoning.
    pub reasoning_tokens: Option<u64>,
    /// How long it took.
    pub latency_ms: u64,
    /// `stop`, `length`, `tool_calls`, `error` …
    pub finish_reason: &'a str,
    /// The hash of the answer ([`hash_content`]).
    pub output_hash: &'a str,
    /// Characters of the answer.
    pub output_length: u64,
}

impl Default for LlmResponse<'_> {
    fn default() -> Self {
        Self {
            completion_tokens: 0,
            prompt_tokens: None,
            reasoning_tokens: None,
            latency_ms: 0,
            finish_reason: "stop",
            output_hash: "",
            output_length: 0,
        }
    }
}

/// What a tool answered.
#[derive(Debug, Clone)]
pub struct ToolResponse<'a> {
    /// Whether it did what it was asked.
    pub success: bool,
    /// Characters of its output.
    pub output_length: u64,
    /// How long it took.
    pub latency_ms: u64,
    /// What it said went wrong; only its hash is sent, and only without success.
    pub error: Option<&'a str>,
}

impl Default for ToolResponse<'_> {
    fn default() -> Self {
        Self { success: true, output_length: 0, latency_ms: 0, error: None }
    }
}

/// What a search found.
#[derive(Debug, Clone, Default)]
pub struct RetrievalResponse {
    /// How many documents.
    pub result_count: u64,
    /// The best score.
    pub top_score: Option<f64>,
    /// How long it took.
    pub latency_ms: u64,
}

/// A run. It ends with [`Run::complete`] or [`Run::fail`], else when it is dropped: completed, or errored in a panic.
#[derive(Debug)]
pub struct Run {
    client: Arc<Shared>,
    identity: Arc<Identity>,
    steps: AtomicU32,
    events: AtomicU32,
    tool_calls: AtomicU32,
    answered: AtomicBool,
    ended: AtomicBool,
    watch: Arc<Watch>,
}

impl Run {
    pub(crate) fn start(client: Arc<Shared>, agent_id: &str, options: &RunOptions<'_>) -> Self {
        let model = if options.model.is_empty() { "unknown" } else { options.model };
        let random = uuid::Uuid::new_v4();
        let run_id = options.run_id.filter(|id| !id.is_empty()).map_or_else(|| random.to_string(), str::to_owned);
        let identity = Arc::new(Identity {
            agent_id: if agent_id.is_empty() { "unknown".to_owned() } else { agent_id.to_owned() },
            agent_version: crate::hash::agent_version(options.system_prompt, model, options.tools),
            parent_run_id: options.parent_run_id.filter(|id| !id.is_empty()).map(str::to_owned),
            nonce: random.as_u64_pair().0,
            run_id,
        });
        let watch = Arc::new(Watch::new(&identity.run_id));
        let run = Self {
            client,
            identity,
            steps: AtomicU32::new(0),
            events: AtomicU32::new(0),
            tool_calls: AtomicU32::new(0),
            answered: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            watch,
        };
        let input = options.user_input;
        run.emit(
            0,
            Payload::Started {
                input_hash: if input.is_empty() { String::new() } else { hash_content(input) },
                model: model.to_owned(),
                tools: options.tools.iter().map(|tool| (*tool).to_owned()).collect(),
                injection_signal: crate::injection::find_injection(input),
            },
        );
        run
    }

    /// The run's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.identity.run_id
    }

    /// The agent's version, as computed from its instructions, model and tools.
    #[must_use]
    pub fn agent_version(&self) -> &str {
        &self.identity.agent_version
    }

    /// A model is called.
    pub fn llm_called(&self, model: &str, prompt_tokens: u64) {
        self.emit(self.next_step(), Payload::LlmCalled { model: model.to_owned(), prompt_tokens });
    }

    /// The model answered.
    pub fn llm_responded(&self, response: &LlmResponse<'_>) {
        self.emit(
            self.step(),
            Payload::LlmResponded {
                completion_tokens: response.completion_tokens,
                latency_ms: response.latency_ms,
                finish_reason: response.finish_reason.to_owned(),
                output_hash: response.output_hash.to_owned(),
                output_length: response.output_length,
                prompt_tokens: response.prompt_tokens,
                reasoning_tokens: response.reasoning_tokens,
            },
        );
    }

    /// A tool is called with these arguments, of which only a hash is sent.
    pub fn tool_called(&self, tool: &str, args: &Value) {
        self.tool_calls.fetch_add(1, Ordering::Relaxed);
        self.emit(self.next_step(), Payload::ToolCalled { tool_name: tool.to_owned(), args_hash: hash_args(args) });
    }

    /// The tool answered.
    pub fn tool_responded(&self, tool: &str, response: &ToolResponse<'_>) {
        let error = response.error.filter(|_| !response.success);
        self.emit(
            self.step(),
            Payload::ToolResponded {
                tool_name: tool.to_owned(),
                success: response.success,
                output_length: response.output_length,
                latency_ms: response.latency_ms,
                error_hash: error.map(hash_content),
            },
        );
    }

    /// An index is searched. The query's hash ([`hash_content`]) may be left empty.
    pub fn retrieval_called(&self, index: &str, query_hash: &str) {
        self.emit(
            self.next_step(),
            Payload::RetrievalCalled { index_name: index.to_owned(), query_hash: query_hash.to_owned() },
        );
    }

    /// The index answered.
    pub fn retrieval_responded(&self, index: &str, response: &RetrievalResponse) {
        self.emit(
            self.step(),
            Payload::RetrievalResponded {
                index_name: index.to_owned(),
                result_count: response.result_count,
                top_score: response.top_score,
                latency_ms: response.latency_ms,
            },
        );
    }

    /// Something outside happened that the run may have felt, such as a rate limit. `meta` is sent as it is: no content.
    pub fn external_signal(&self, name: &str, source: &str, meta: Map<String, Value>) {
        let payload = Payload::Signal { signal_name: name.to_owned(), source: source.to_owned(), meta };
        self.emit(self.step(), payload);
    }

    /// The agent has its final answer.
    pub fn final_answer(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }

    /// Whether the run may go on: to be asked between steps. It answers at once, from what the background look-ups (every
    /// [`crate::Options::control_interval`], from the first call on) have found.
    ///
    /// # Errors
    /// [`Killed`] when somebody asked this run to stop. When the run ends after that, the server is told that it stopped.
    pub fn check(&self) -> Result<(), Killed> {
        self.client.control.watch(&self.watch);
        match self.watch.killed() {
            None => Ok(()),
            Some(by) => Err(Killed { run_id: self.identity.run_id.clone(), requested_by: by }),
        }
    }

    /// Ends the run well.
    pub fn complete(self) {
        self.finish();
    }

    /// Ends the run with an error: its type is sent, of its text only the hash.
    pub fn fail(self, error_type: &str, error: &dyn Display) {
        self.finish_with_error(error_type, &error.to_string());
    }

    fn finish(&self) {
        let total_steps = self.step();
        let exit_reason = if self.answered.load(Ordering::Relaxed) { "final_answer" } else { "completed" };
        let tool_call_count = self.tool_calls.load(Ordering::Relaxed);
        self.end(Payload::Completed { total_steps, exit_reason, tool_call_count });
    }

    pub(crate) fn finish_with_error(&self, error_type: &str, error: &str) {
        let payload = Payload::Errored {
            error_type: error_type.to_owned(),
            error_hash: hash_content(error),
            step_index: self.step(),
        };
        self.end(payload);
    }

    fn end(&self, payload: Payload) {
        if self.ended.swap(true, Ordering::AcqRel) {
            return;
        }
        self.emit(self.step(), payload);
        self.client.control.ended(&self.watch);
    }

    fn step(&self) -> u32 {
        self.steps.load(Ordering::Relaxed)
    }

    fn next_step(&self) -> u32 {
        self.steps.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    fn emit(&self, step: u32, payload: Payload) {
        let number = self.events.fetch_add(1, Ordering::Relaxed);
        let at = self.client.now();
        self.client.ring.push(Event { run: Arc::clone(&self.identity), step, number, at, payload });
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.finish_with_error("panic", "");
        } else {
            self.finish();
        }
    }
}
