//! The protocols of models: OpenAI's chat completions and Anthropic's messages.
//!
//! Owns: how a conversation is written in each, and where the text and the count of tokens are in an answer. Must hold: a
//! key is in one header and nowhere else.

use reqwest::RequestBuilder;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Value, json};
use url::Url;

/// The version of Anthropic's API that requests are written for.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// How a provider is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// `POST …/chat/completions`.
    OpenAi,
    /// `POST …/v1/messages`.
    Anthropic,
}

/// One message of a conversation. `role` is `system`, `user` or `assistant`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Who says it.
    pub role: &'static str,
    /// What.
    pub content: String,
}

/// What a model answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answered {
    /// The text.
    pub text: String,
    /// Tokens sent.
    pub prompt_tokens: i64,
    /// Tokens answered.
    pub completion_tokens: i64,
}

impl Protocol {
    /// Where requests go, below a base address.
    #[must_use]
    pub fn endpoint(self, base: &Url) -> Url {
        let mut url = base.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        let path = match self {
            Self::OpenAi => format!("{base}/chat/completions"),
            // Anthropic's own clients take the address without the version.
            Self::Anthropic => format!("{}/v1/messages", base.trim_end_matches("/v1")),
        };
        url.set_path(&path);
        url
    }

    /// The body of a request.
    #[must_use]
    pub fn body(self, model: &str, max_tokens: u32, messages: &[Message]) -> Value {
        match self {
            Self::OpenAi => json!({
                "model": model, "temperature": 0, "max_tokens": max_tokens,
                "response_format": {"type": "json_object"}, "messages": messages,
            }),
            Self::Anthropic => {
                let system: Vec<&str> =
                    messages.iter().filter(|m| m.role == "system").map(|m| m.content.as_str()).collect();
                let turns: Vec<&Message> = messages.iter().filter(|m| m.role != "system").collect();
                json!({
                    "model": model, "temperature": 0, "max_tokens": max_tokens,
                    "system": system.join("\n\n"), "messages": turns,
                })
            }
        }
    }

    /// The request with its key.
    pub fn authorized(self, request: RequestBuilder, key: Option<&SecretString>) -> RequestBuilder {
        match (self, key) {
            (Self::OpenAi, Some(key)) => request.bearer_auth(key.expose_secret()),
            (Self::OpenAi, None) => request,
            (Self::Anthropic, key) => {
                let request = request.header("anthropic-version", ANTHROPIC_VERSION);
                match key.map(|key| reqwest::header::HeaderValue::from_str(key.expose_secret())) {
                    Some(Ok(mut value)) => {
                        value.set_sensitive(true);
                        request.header("x-api-key", value)
                    }
                    // A key that no header can hold is answered with 401.
                    Some(Err(_)) | None => request,
                }
            }
        }
    }

    /// The text of an answer.
    ///
    /// # Errors
    /// Why there is none, in a phrase.
    pub fn read(self, body: &Value) -> Result<Answered, String> {
        let count = |path: &str| body.pointer(path).and_then(Value::as_i64).unwrap_or_default();
        match self {
            Self::OpenAi => {
                let text = body.pointer("/choices/0/message/content").and_then(Value::as_str);
                Ok(Answered {
                    text: text.ok_or("its answer holds no text")?.to_owned(),
                    prompt_tokens: count("/usage/prompt_tokens"),
                    completion_tokens: count("/usage/completion_tokens"),
                })
            }
            Self::Anthropic => {
                let blocks = body.get("content").and_then(Value::as_array).ok_or("its answer holds no text")?;
                let text: String = blocks
                    .iter()
                    .filter(|block| block.get("type").and_then(Value::as_str) == Some("text"))
                    .filter_map(|block| block.get("text").and_then(Value::as_str))
                    .collect();
                if text.is_empty() {
                    return Err("its answer holds no text".to_owned());
                }
                Ok(Answered {
                    text,
                    prompt_tokens: count("/usage/input_tokens")
                        + count("/usage/cache_read_input_tokens")
                        + count("/usage/cache_creation_input_tokens"),
                    completion_tokens: count("/usage/output_tokens"),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn endpoints_are_below_the_base_with_or_without_the_version() {
        let at = |protocol: Protocol, base| protocol.endpoint(&url(base)).to_string();
        assert_eq!(at(Protocol::OpenAi, "https://a.example/v1/"), "https://a.example/v1/chat/completions");
        assert_eq!(at(Protocol::Anthropic, "https://api.anthropic.com"), "https://api.anthropic.com/v1/messages");
        assert_eq!(at(Protocol::Anthropic, "https://proxy.example/llm/v1"), "https://proxy.example/llm/v1/messages");
    }

    #[test]
    fn the_system_text_is_a_field_of_its_own_for_anthropic_and_a_message_for_the_others() {
        let messages =
            [Message { role: "system", content: "rules".into() }, Message { role: "user", content: "data".into() }];
        let anthropic = Protocol::Anthropic.body("m", 10, &messages);
        assert_eq!(
            (&anthropic["system"], &anthropic["messages"]),
            (&json!("rules"), &json!([{"role": "user", "content": "data"}]))
        );
        assert_eq!(Protocol::OpenAi.body("m", 10, &messages)["messages"][0]["role"], "system");
    }

    #[test]
    fn answers_of_both_are_read_with_their_tokens() {
        let body = json!({"content": [{"type": "thinking", "thinking": "…"}, {"type": "text", "text": "{}"}],
            "usage": {"input_tokens": 7, "output_tokens": 3}});
        let read = Protocol::Anthropic.read(&body).unwrap();
        assert_eq!((read.text.as_str(), read.prompt_tokens, read.completion_tokens), ("{}", 7, 3));
        let body =
            json!({"choices": [{"message": {"content": "{}"}}], "usage": {"prompt_tokens": 7, "completion_tokens": 3}});
        assert_eq!(Protocol::OpenAi.read(&body).unwrap(), read);
        assert!(Protocol::Anthropic.read(&json!({"content": []})).is_err());
    }
}
