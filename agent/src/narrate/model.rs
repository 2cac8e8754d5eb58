//! The model narrator: an endpoint that speaks OpenAI's protocol, or Anthropic's.
//!
//! Owns: asking (with a deadline, retries and a budget), telling a model once what was wrong with its answer, falling back
//! to the template, and the report of what was sent. Must hold: the key is in one header and nowhere else; an answer that
//! [`verify`] refuses is not used and the reason is recorded.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tripline_engine::Environment;
use tripline_store::redact::{Cut, for_sending};
use tripline_store::{NarrationOutcome, NewNarration};
use url::Url;

use super::brief::form;
use super::ledger::Ledger;
use super::prompt::user_message;
use super::wire::{Answered, Message, Protocol};
use super::{Brief, Narrator, Told, verify};
use crate::settings::{NarratorSettings, SettingsHandle};

/// Bytes of an answer at most.
const MAX_ANSWER: usize = 256 * 1024;

/// Characters of an answer that are kept.
const KEPT_ANSWER: usize = 8_000;

/// The pause before a model is asked again, unless it names one; and the longest that is waited for.
const PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A model that cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ModelError {
    /// It needs a key.
    #[error("the narrator '{provider}' needs a key. Hint: set {variable}, or set narrator.provider to \"template\"")]
    NoKey {
        /// The provider.
        provider: &'static str,
        /// The environment variable.
        variable: &'static str,
    },
    /// Its address is none.
    #[error("{variable} is no http address. Hint: write it as https://host/path")]
    Address {
        /// The environment variable.
        variable: &'static str,
    },
    /// The HTTP client cannot be made.
    #[error("the model's HTTP client cannot be made: {0}")]
    Client(String),
}

/// Which model, where.
#[derive(Debug, Clone)]
pub struct ModelConfig {
    provider: &'static str,
    protocol: Protocol,
    base_url: Url,
    key: Option<SecretString>,
    model: String,
}

/// Where a provider's settings are in the environment, and what they are without.
struct Source {
    provider: &'static str,
    protocol: Protocol,
    key: &'static str,
    base: &'static str,
    model: &'static str,
    default_base: &'static str,
    default_model: &'static str,
}

impl ModelConfig {
    /// Groq: `GROQ_API_KEY`, `GROQ_MODEL`, `GROQ_BASE_URL`.
    ///
    /// # Errors
    /// Without a key, or when the address is none.
    pub fn groq(environment: &Environment) -> Result<Self, ModelError> {
        Self::read(
            environment,
            &Source {
                provider: "groq",
                protocol: Protocol::OpenAi,
                key: "GROQ_API_KEY",
                base: "GROQ_BASE_URL",
                model: "GROQ_MODEL",
                default_base: "https://api.groq.com/openai/v1",
                default_model: "llama-3.3-70b-versatile",
            },
        )
    }

    /// OpenAI or another server of its protocol: `OPENAI_API_KEY`, `OPENAI_MODEL`, `OPENAI_BASE_URL`. A server of your own
    /// (`OPENAI_BASE_URL` set) may do without a key.
    ///
    /// # Errors
    /// Without a key, or when the address is none.
    pub fn openai(environment: &Environment) -> Result<Self, ModelError> {
        Self::read(
            environment,
            &Source {
                provider: "openai",
                protocol: Protocol::OpenAi,
                key: "OPENAI_API_KEY",
                base: "OPENAI_BASE_URL",
                model: "OPENAI_MODEL",
                default_base: "https://api.openai.com/v1",
                default_model: "gpt-4o-mini",
            },
        )
    }

    /// Anthropic: `ANTHROPIC_API_KEY`, `ANTHROPIC_MODEL`, `ANTHROPIC_BASE_URL` (with or without `/v1`).
    ///
    /// # Errors
    /// Without a key, or when the address is none.
    pub fn anthropic(environment: &Environment) -> Result<Self, ModelError> {
        Self::read(
            environment,
            &Source {
                provider: "anthropic",
                protocol: Protocol::Anthropic,
                key: "ANTHROPIC_API_KEY",
                base: "ANTHROPIC_BASE_URL",
                model: "ANTHROPIC_MODEL",
                default_base: "https://api.anthropic.com",
                default_model: "claude-haiku-4-5",
            },
        )
    }

    fn read(environment: &Environment, source: &Source) -> Result<Self, ModelError> {
        let own_server = environment.get(source.base).is_some();
        let secret = environment.get(source.key).map(|key| SecretString::from(key.to_owned()));
        if secret.is_none() && !(own_server && source.provider == "openai") {
            return Err(ModelError::NoKey { provider: source.provider, variable: source.key });
        }
        let address = environment.get(source.base).unwrap_or(source.default_base);
        let base_url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        Ok(Self {
            provider: source.provider,
            protocol: source.protocol,
            base_url: base_url.ok_or(ModelError::Address { variable: source.base })?,
            key: secret,
            model: environment.get(source.model).unwrap_or(source.default_model).to_owned(),
        })
    }

    /// `groq`, `openai` or `anthropic`.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// The model's name.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }
}

/// Tells by model, and by template where the model's text cannot be proven.
#[derive(Debug, Clone)]
pub struct ModelNarrator {
    config: ModelConfig,
    client: reqwest::Client,
    settings: SettingsHandle,
    ledger: Option<Ledger>,
    /// Somebody waits for the answer.
    haste: Option<Duration>,
}

/// What became of one request.
enum Attempt {
    Answered(Answered),
    /// May be repeated, not before the model's own time.
    Passing(String, Option<Duration>),
    Final(String),
}

impl ModelNarrator {
    /// A narrator for this model; time and token limits are the settings'.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(config: ModelConfig, settings: SettingsHandle) -> Result<Self, ModelError> {
        // Whoever comes first installs it; a second time is refused and changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .user_agent(concat!("tripline/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ModelError::Client(error.to_string()))?;
        Ok(Self { config, client, settings, ledger: None, haste: None })
    }

    /// For somebody who waits: every request is tried once and may take this long at most, and the model is told at most once what
    /// was wrong with its answer.
    #[must_use]
    pub fn in_haste(mut self, per_request: Duration) -> Self {
        self.haste = Some(per_request);
        self
    }

    /// The limits that hold for this narrator.
    fn limits(&self) -> NarratorSettings {
        let mut limits = self.settings.get().narrator.clone();
        if let Some(haste) = self.haste {
            limits.attempts = 1;
            limits.repairs = limits.repairs.min(1);
            limits.timeout_seconds = limits.timeout_seconds.min(haste.as_secs().max(1));
        }
        limits
    }

    /// With a budget.
    #[must_use]
    pub fn with_ledger(mut self, ledger: Option<Ledger>) -> Self {
        self.ledger = ledger;
        self
    }

    /// Asks until there is an answer, within the attempts of the settings. Requests and tokens go into the report.
    async fn ask(&self, messages: &[Message], report: &mut NewNarration) -> Result<String, String> {
        report.sent = serde_json::to_string(messages).map_err(|error| format!("it cannot be written ({error})"))?;
        report.sent_sha256 = hex::encode(Sha256::digest(&report.sent));
        let attempts = self.limits().attempts.max(1);
        let mut reason = String::new();
        for attempt in 1..=attempts {
            report.requests += 1;
            match self.attempt(messages).await {
                Attempt::Answered(answered) => {
                    report.prompt_tokens += answered.prompt_tokens;
                    report.completion_tokens += answered.completion_tokens;
                    return Ok(answered.text);
                }
                Attempt::Final(why) => return Err(why),
                Attempt::Passing(why, after) => {
                    reason = why;
                    if attempt < attempts {
                        tokio::time::sleep(after.unwrap_or(PAUSE).min(LONGEST_PAUSE)).await;
                    }
                }
            }
        }
        Err(reason)
    }

    async fn attempt(&self, messages: &[Message]) -> Attempt {
        let limits = self.limits();
        let config = &self.config;
        let body = config.protocol.body(&config.model, limits.max_tokens, messages);
        let request = self.client.post(config.protocol.endpoint(&config.base_url)).json(&body);
        let request = config.protocol.authorized(request, config.key.as_ref());
        let timeout = Duration::from_secs(limits.timeout_seconds);
        match tokio::time::timeout(timeout, send(request, config.protocol)).await {
            Ok(attempt) => attempt,
            Err(_) => Attempt::Passing(format!("no answer within {} s", limits.timeout_seconds), None),
        }
    }

    /// The model's text, proven; the report says what it took.
    async fn proven(
        &self,
        brief: &Brief,
        report: &mut NewNarration,
    ) -> Result<Vec<(&'static str, String)>, (NarrationOutcome, String)> {
        let limits = self.limits();
        if let Some(ledger) = &self.ledger
            && let Err(why) = ledger.allows(&limits).await
        {
            return Err((NarrationOutcome::OverBudget, why));
        }
        let form = form(brief.kind);
        let mut messages = vec![
            Message { role: "system", content: form.instructions() },
            Message { role: "user", content: user_message(&brief.exhibits) },
        ];
        let mut refusals = 0;
        loop {
            let content = match self.ask(&messages, report).await {
                Ok(content) => content,
                // A first answer that was refused says more than a second one that did not come.
                Err(why) if refusals == 0 => return Err((NarrationOutcome::Unavailable, why)),
                Err(why) => {
                    let refused = report.reason.take().unwrap_or_default();
                    return Err((NarrationOutcome::Rejected, format!("{refused}; asked again: {why}")));
                }
            };
            report.answer = Some(kept(&content));
            match verify::proven(&content, &brief.exhibits, form) {
                Ok(parts) => {
                    report.outcome =
                        if refusals == 0 { NarrationOutcome::Accepted } else { NarrationOutcome::Repaired };
                    return Ok(parts);
                }
                Err(why) if refusals >= limits.repairs => return Err((NarrationOutcome::Rejected, why)),
                Err(why) => {
                    refusals += 1;
                    let mut cut = Cut::new();
                    let told = for_sending(&why, &mut cut);
                    report.reason = Some(why);
                    messages.truncate(2);
                    messages.push(Message { role: "assistant", content: kept(&content) });
                    messages.push(Message {
                        role: "user",
                        content: format!(
                            "This answer cannot be used: {told}. Write the whole object again, by the rules, from the same \
                             evidence."
                        ),
                    });
                }
            }
        }
    }
}

/// An answer as it is kept and shown to the model again: redacted, shortened.
fn kept(content: &str) -> String {
    let clean = for_sending(content, &mut Cut::new());
    clean.chars().take(KEPT_ANSWER).collect()
}

async fn send(request: reqwest::RequestBuilder, protocol: Protocol) -> Attempt {
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Attempt::Passing(format!("it could not be reached ({})", kind_of(&error)), None),
    };
    let status = response.status();
    if status.is_server_error() || status.as_u16() == 429 {
        let after = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        return Attempt::Passing(format!("it answered {status}"), after.map(Duration::from_secs));
    }
    if !status.is_success() {
        return Attempt::Final(format!("it answered {status}"));
    }
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= MAX_ANSWER => bytes.extend_from_slice(&chunk),
            Ok(Some(_)) => return Attempt::Final("its answer is too long".to_owned()),
            Ok(None) => break,
            Err(error) => return Attempt::Passing(format!("its answer broke off ({})", kind_of(&error)), None),
        }
    }
    let answer: Value = match serde_json::from_slice(&bytes) {
        Ok(answer) => answer,
        Err(_) => return Attempt::Final("its answer is no JSON".to_owned()),
    };
    match protocol.read(&answer) {
        Ok(answered) => Attempt::Answered(answered),
        Err(why) => Attempt::Final(why),
    }
}

/// A transport error without its address: addresses may hold credentials.
fn kind_of(error: &reqwest::Error) -> &'static str {
    match error {
        e if e.is_connect() => "connection failed",
        e if e.is_timeout() => "timed out",
        e if e.is_body() || e.is_decode() => "body",
        _ => "request failed",
    }
}

#[async_trait]
impl Narrator for ModelNarrator {
    async fn tell(&self, brief: Brief) -> Told {
        let config = &self.config;
        let mut report = NewNarration {
            kind: brief.kind,
            subject_id: brief.subject_id.clone(),
            provider: config.provider.to_owned(),
            model: config.model.clone(),
            host: config.base_url.host_str().unwrap_or_default().to_owned(),
            outcome: NarrationOutcome::Unavailable,
            reason: None,
            requests: 0,
            prompt_tokens: 0,
            completion_tokens: 0,
            sent: String::new(),
            sent_sha256: hex::encode(Sha256::digest("")),
            redactions: serde_json::to_value(&brief.exhibits.redactions).unwrap_or_default(),
            answer: None,
        };
        match self.proven(&brief, &mut report).await {
            Ok(parts) => Told { parts, narrator: format!("model:{}", config.model), report: Some(report) },
            Err((outcome, why)) => {
                let word = match outcome {
                    NarrationOutcome::OverBudget => "over budget",
                    NarrationOutcome::Rejected => "rejected",
                    _ => "unavailable",
                };
                tracing::warn!(model = %config.model, outcome = word, %why, "the template tells instead of the model");
                report.outcome = outcome;
                report.reason = Some(why.clone());
                let narrator = format!("template (model {word}: {why})");
                Told { parts: brief.template, narrator, report: Some(report) }
            }
        }
    }
}
