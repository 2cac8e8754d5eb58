//! An OpenAI-compatible model, under `/llm`: scripted answers.
//!
//! Owns: the queue of scripted contents (`POST /_llm`) and the form of a chat completion.
//! Must hold: without a script the content is `{}`: valid JSON that claims nothing.

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
    served: AtomicU64,
}

impl Llm {
    /// Queues a content for `times` answers, or for all that follow.
    pub(crate) fn script(&self, content: String, times: Option<u32>) {
        self.lock().push_back((content, times));
    }

    /// Forgets the script.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    fn next(&self) -> String {
        let mut script = self.lock();
        let Some((content, times)) = script.front_mut() else {
            return "{}".to_owned();
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
        let accepted = auth.is_off() || call.credential("bearer").is_some_and(|key| auth.accepts_llm(key));
        if !accepted {
            return error(401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key");
        }
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
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
        let content = self.next();
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
