//! Narration: the four parts of an incident's text.
//!
//! Owns: the deterministic templates ([`template`]), the model narrator ([`model`]) with its prompt ([`prompt`]), the check
//! of a model's figures against the evidence ([`verify`]). Does not own: how a narrative is shown (messages), nor what a secret
//! looks like ([`tripline_store::redact`]).
//!
//! Must hold: every figure of a narrative is in the evidence; a model's text that cannot be proven so is replaced by the
//! template and the reason is recorded; vendors' words are data in a prompt and never instructions; without a model
//! nothing leaves the machine.

pub mod model;
pub mod prompt;
pub mod template;
pub mod verify;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use tripline_engine::Environment;
use tripline_store::{NarrativeParts, NewAnomaly};

use crate::investigate::Findings;
use crate::settings::{NarratorProvider, SettingsHandle};

pub use model::{ModelConfig, ModelNarrator};

/// What is told.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    /// The anomaly that opened the incident.
    pub anomaly: &'a NewAnomaly,
    /// What the investigation found.
    pub findings: &'a Findings,
}

/// A told story.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrative {
    /// Its four parts.
    pub parts: NarrativeParts,
    /// Who wrote it: `template`, `model:NAME`, or `template (model rejected: why)`.
    pub narrator: String,
}

impl Narrative {
    /// The four parts as one text.
    #[must_use]
    pub fn text(&self) -> String {
        let parts = &self.parts;
        format!(
            "What happened: {}\n\nLikely cause: {}\n\nImpact: {}\n\nRecommended action: {}",
            parts.what_happened, parts.likely_cause, parts.impact, parts.recommended_action
        )
    }
}

/// Tells stories.
#[async_trait]
pub trait Narrator: Send + Sync {
    /// The narrative of a story. Never fails: a narrator that cannot falls back to the template and says why.
    async fn narrate(&self, story: Story<'_>) -> Narrative;
}

/// Tells by template.
#[derive(Debug, Clone, Copy, Default)]
pub struct TemplateNarrator;

#[async_trait]
impl Narrator for TemplateNarrator {
    async fn narrate(&self, story: Story<'_>) -> Narrative {
        Narrative { parts: template::parts(story), narrator: "template".to_owned() }
    }
}

/// The narrator that settings and environment ask for.
///
/// # Errors
/// When a model is asked for by name and its key is missing, or its address is none.
pub fn from_environment(
    settings: &SettingsHandle,
    environment: &Environment,
) -> Result<Arc<dyn Narrator>, model::ModelError> {
    let chosen = settings.get().narrator.clone();
    let config = match chosen.provider {
        NarratorProvider::Template => None,
        NarratorProvider::Groq => Some(ModelConfig::groq(environment)?),
        NarratorProvider::OpenAi => Some(ModelConfig::openai(environment)?),
        NarratorProvider::Auto if environment.get("GROQ_API_KEY").is_some() => Some(ModelConfig::groq(environment)?),
        NarratorProvider::Auto if environment.get("OPENAI_API_KEY").is_some() => {
            Some(ModelConfig::openai(environment)?)
        }
        NarratorProvider::Auto => None,
    };
    Ok(match config {
        Some(config) => Arc::new(ModelNarrator::new(config, settings.clone())?),
        None => Arc::new(TemplateNarrator),
    })
}
