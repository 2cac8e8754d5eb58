//! The model narrator: any endpoint that speaks OpenAI's protocol.
//!
//! Owns: the request, one retry, and falling back to the template. Must hold: the key is in the Authorization header and
//! nowhere else; an answer that [`verify`] refuses is not used and the reason is recorded.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tripline_engine::Environment;
use url::Url;

use super::prompt::{Exhibits, INSTRUCTIONS, user_message};
use super::{Narrative, Narrator, Story, template, verify};
use crate::settings::SettingsHandle;

/// Bytes of an answer at most.
const MAX_ANSWER: usize = 256 * 1024;

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
    base_url: Url,
    key: Option<SecretString>,
    model: String,
}

impl ModelConfig {
    /// Groq: `GROQ_API_KEY`, `GROQ_MODEL`, `GROQ_BASE_URL`.
    ///
    /// # Errors
    /// Without a key, or when the address is none.
    pub fn groq(environment: &Environment) -> Result<Self, ModelError> {
        let variables = ("GROQ_API_KEY", "GROQ_BASE_URL", "GROQ_MODEL");
        Self::read(environment, "groq", variables, "https://api.groq.com/openai/v1", "llama-3.3-70b-versatile")
    }

    /// OpenAI or another server of its protocol: `OPENAI_API_KEY`, `OPENAI_MODEL`, `OPENAI_BASE_URL`. A server of your own
    /// (`OPENAI_BASE_URL` set) may do without a key.
    ///
    /// # Errors
    /// Without a key, or when the address is none.
    pub fn openai(environment: &Environment) -> Result<Self, ModelError> {
        let variables = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL");
        Self::read(environment, "openai", variables, "https://api.openai.com/v1", "gpt-4o-mini")
    }

    fn read(
        environment: &Environment,
        provider: &'static str,
        (key, base, model): (&'static str, &'static str, &'static str),
        default_base: &str,
        default_model: &str,
    ) -> Result<Self, ModelError> {
        let own_server = environment.get(base).is_some();
        let secret = environment.get(key).map(|key| SecretString::from(key.to_owned()));
        if secret.is_none() && !(own_server && provider == "openai") {
            return Err(ModelError::NoKey { provider, variable: key });
        }
        let address = environment.get(base).unwrap_or(default_base);
        let base_url = Url::parse(address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        Ok(Self {
            base_url: base_url.ok_or(ModelError::Address { variable: base })?,
            key: secret,
            model: environment.get(model).unwrap_or(default_model).to_owned(),
        })
    }

    fn endpoint(&self) -> Url {
        let mut url = self.base_url.clone();
        let path = format!("{}/chat/completions", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }
}

/// Tells by model, and by template where the model's text cannot be proven.
#[derive(Debug, Clone)]
pub struct ModelNarrator {
    config: ModelConfig,
    client: reqwest::Client,
    settings: SettingsHandle,
}

/// What became of one request.
enum Attempt {
    Content(String),
    /// May be repeated once.
    Passing(String),
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
        Ok(Self { config, client, settings })
    }

    async fn ask(&self, exhibits: &Exhibits) -> Result<String, String> {
        match self.attempt(exhibits).await {
            Attempt::Content(content) => Ok(content),
            Attempt::Final(reason) => Err(reason),
            Attempt::Passing(_) => match self.attempt(exhibits).await {
                Attempt::Content(content) => Ok(content),
                Attempt::Passing(reason) | Attempt::Final(reason) => Err(reason),
            },
        }
    }

    async fn attempt(&self, exhibits: &Exhibits) -> Attempt {
        let limits = self.settings.get().narrator.clone();
        let body = json!({
            "model": self.config.model,
            "temperature": 0,
            "max_tokens": limits.max_tokens,
            "response_format": {"type": "json_object"},
            "messages": [
                {"role": "system", "content": INSTRUCTIONS},
                {"role": "user", "content": user_message(exhibits)},
            ],
        });
        let mut request = self.client.post(self.config.endpoint()).json(&body);
        if let Some(key) = &self.config.key {
            request = request.bearer_auth(key.expose_secret());
        }
        let timeout = Duration::from_secs(limits.timeout_seconds);
        match tokio::time::timeout(timeout, send(request)).await {
            Ok(attempt) => attempt,
            Err(_) => Attempt::Passing(format!("no answer within {} s", limits.timeout_seconds)),
        }
    }
}

async fn send(request: reqwest::RequestBuilder) -> Attempt {
    let mut response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Attempt::Passing(format!("it could not be reached ({})", kind_of(&error))),
    };
    let status = response.status();
    if status.is_server_error() || status.as_u16() == 429 {
        return Attempt::Passing(format!("it answered {status}"));
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
            Err(error) => return Attempt::Passing(format!("its answer broke off ({})", kind_of(&error))),
        }
    }
    let answer: Value = match serde_json::from_slice(&bytes) {
        Ok(answer) => answer,
        Err(_) => return Attempt::Final("its answer is no JSON".to_owned()),
    };
    match answer.pointer("/choices/0/message/content").and_then(Value::as_str) {
        Some(content) => Attempt::Content(content.to_owned()),
        None => Attempt::Final("its answer holds no text".to_owned()),
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
    async fn narrate(&self, story: Story<'_>) -> Narrative {
        let exhibits = Exhibits::of(story);
        let told = match self.ask(&exhibits).await {
            Ok(content) => verify::verified(&content, &exhibits).map_err(|reason| format!("model rejected: {reason}")),
            Err(reason) => Err(format!("model unavailable: {reason}")),
        };
        match told {
            Ok(parts) => Narrative { parts, narrator: format!("model:{}", self.config.model) },
            Err(reason) => {
                tracing::warn!(model = %self.config.model, %reason, "the template tells instead of the model");
                Narrative { parts: template::parts(story), narrator: format!("template ({reason})") }
            }
        }
    }
}
