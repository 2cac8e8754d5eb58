//! A model under `/llm`, in OpenAI's protocol and in Anthropic's: scripted answers, or a text about the evidence it is given.
//!
//! Owns: the queue of scripted contents and the behaviour (`POST /_llm`), the forms of a chat completion and of a message.
//! Must hold: without a script and a behaviour the content is `{}`: valid JSON that claims nothing.

mod compose;

pub use compose::Behaviour;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

use crate::auth::Auth;
use crate::clock::Clock;
use crate::http::{Call, Reply};
use crate::time::SECOND;

/// The model stand-in.
#[derive(Debug, Default)]
pub(crate) struct Llm {
    script: Mutex<VecDeque<(String, Option<u32>)>>,
    /// How it behaves, and whether it mends its ways when it is told what was wrong.
    behaviour: Mutex<Option<(Behaviour, bool)>>,
    served: AtomicU64,
}

impl Llm {
    /// Queues a content for `times` answers, or for all that follow.
    pub(crate) fn script(&self, content: String, times: Option<u32>) {
        self.lock().push_back((content, times));
    }

    /// Forgets the script and the behaviour.
    pub(crate) fn clear(&self) {
        self.lock().clear();
        self.behave(None);
    }

    /// From now on, where there is no script.
    pub(crate) fn behave(&self, behaviour: Option<(Behaviour, bool)>) {
        *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner) = behaviour;
    }

    /// `told`: whether the conversation says that an earlier answer was wrong.
    fn next(&self, system: &str, user: &str, told: bool) -> String {
        let mut script = self.lock();
        let Some((content, times)) = script.front_mut() else {
            let behaviour = *self.behaviour.lock().unwrap_or_else(PoisonError::into_inner);
            return match behaviour {
                Some((_, true)) if told => compose::compose(system, user, Behaviour::Honest),
                Some((behaviour, _)) => compose::compose(system, user, behaviour),
                None => "{}".to_owned(),
            };
        };
        let content = content.clone();
        if let Some(left) = times {
            *left = left.saturating_sub(1);
            if *left == 0 {
                script.pop_front();
            }
        }
        content
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<(String, Option<u32>)>> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn handle(&self, call: &Call, auth: &Auth, clock: &Clock) -> Reply {
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        if let ("POST", ["v1", "messages"] | ["messages"]) = (call.method.as_str(), segments.as_slice()) {
            let accepted = auth.is_off() || call.header("x-api-key").is_some_and(|key| auth.accepts_llm(key));
            if !accepted {
                return anthropic_error(401, "authentication_error", "invalid x-api-key");
            }
            return self.message(call);
        }
        let accepted = auth.is_off() || call.credential("bearer").is_some_and(|key| auth.accepts_llm(key));
        if !accepted {
            return error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key");
        }
        match (call.method.as_str(), segments.as_slice()) {
            ("GET", ["v1", "models"]) => Reply::value(
                200,
                &json!({"object": "list", "data": [{"id": "simulated", "object": "model", "created": 0, "owned_by": "simulator"}]}),
            ),
            (
                "POST",
                ["v1", "chat", "completions"] | ["openai", "v1", "chat", "completions"] | ["chat", "completions"],
            ) => self.complete(call, clock),
            _ => error(404, "Unknown request URL.", "invalid_request_error", "unknown_url"),
        }
    }

    fn complete(&self, call: &Call, clock: &Clock) -> Reply {
        let body = call.json().unwrap_or_default();
        let Some(model) = body.get("model").and_then(Value::as_str) else {
            return error(
                400,
                "you must provide a model parameter",
                "invalid_request_error",
                "missing_required_parameter",
            );
        };
        let Some(messages) = body.get("messages").and_then(Value::as_array).filter(|m| !m.is_empty()) else {
            return error(400, "[] is too short - 'messages'", "invalid_request_error", "invalid_value");
        };
        if body.get("stream").and_then(Value::as_bool) == Some(true) {
            return error(400, "this model does not stream", "invalid_request_error", "unsupported_value");
        }
        let prompt: usize = messages.iter().map(|m| m.to_string().len() / 4).sum();
        let (system, user, told) = conversation(messages, None);
        let content = self.next(&system, &user, told);
        let completion = content.len() / 4 + 1;
        let serial = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        Reply::value(
            200,
            &json!({
                "id": format!("chatcmpl-simulated-{serial}"), "object": "chat.completion",
                "created": clock.now() / SECOND, "model": model, "system_fingerprint": null,
                "choices": [{"index": 0, "finish_reason": "stop", "logprobs": null,
                             "message": {"role": "assistant", "content": content, "refusal": null}}],
                "usage": {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion},
            }),
        )
        .wrote(call)
    }
}

impl Llm {
    /// Anthropic's messages.
    fn message(&self, call: &Call) -> Reply {
        let body = call.json().unwrap_or_default();
        if call.header("anthropic-version").is_none() {
            return anthropic_error(400, "invalid_request_error", "anthropic-version: header is required");
        }
        let Some(model) = body.get("model").and_then(Value::as_str) else {
            return anthropic_error(400, "invalid_request_error", "model: Field required");
        };
        if body.get("max_tokens").and_then(Value::as_u64).is_none() {
            return anthropic_error(400, "invalid_request_error", "max_tokens: Field required");
        }
        let messages = body.get("messages").and_then(Value::as_array).filter(|m| !m.is_empty());
        let Some(messages) = messages else {
            return anthropic_error(400, "invalid_request_error", "messages: at least one message is required");
        };
        if messages.iter().any(|m| !matches!(m.get("role").and_then(Value::as_str), Some("user" | "assistant"))) {
            return anthropic_error(400, "invalid_request_error", "messages: Unexpected role");
        }
        let prompt: usize = body.to_string().len() / 4;
        let (system, user, told) = conversation(messages, body.get("system").and_then(Value::as_str));
        let content = self.next(&system, &user, told);
        let serial = self.served.fetch_add(1, Ordering::Relaxed) + 1;
        Reply::value(
            200,
            &json!({
                "id": format!("msg_simulated_{serial}"), "type": "message", "role": "assistant", "model": model,
                "content": [{"type": "text", "text": content}], "stop_reason": "end_turn", "stop_sequence": null,
                "usage": {"input_tokens": prompt, "output_tokens": content.len() / 4 + 1},
            }),
        )
        .wrote(call)
    }
}

/// What the instructions say, the first thing a user says, and whether an answer was given before.
fn conversation(messages: &[Value], system: Option<&str>) -> (String, String, bool) {
    let said = |role: &str| {
        let first = messages.iter().find(|message| message.get("role").and_then(Value::as_str) == Some(role))?;
        match first.get("content")? {
            Value::String(text) => Some(text.clone()),
            Value::Array(blocks) => {
                Some(blocks.iter().filter_map(|block| block.get("text").and_then(Value::as_str)).collect())
            }
            _ => None,
        }
    };
    let system = system.map(str::to_owned).or_else(|| said("system")).unwrap_or_default();
    (system, said("user").unwrap_or_default(), said("assistant").is_some())
}

fn anthropic_error(status: u16, kind: &str, message: &str) -> Reply {
    Reply::value(status, &json!({"type": "error", "error": {"type": kind, "message": message}}))
}

fn error(status: u16, message: &str, kind: &str, code: &str) -> Reply {
    Reply::value(status, &json!({"error": {"message": message, "type": kind, "param": null, "code": code}}))
}

/// The model's 429.
pub(crate) fn throttled() -> Reply {
    error(429, "Rate limit reached for requests.", "requests", "rate_limit_exceeded").header("retry-after", "1")
}

/// An error of any status in the model's shape.
pub(crate) fn failed(status: u16) -> Reply {
    error(status, "The server had an error while processing your request.", "server_error", "server_error")
}
