//! Narration: the texts of incidents, pull requests and weeks.
//!
//! Owns: the deterministic templates of incidents ([`template`]), what a narrator is asked ([`brief`]), the model narrator
//! ([`model`]) with its prompt ([`prompt`]), the protocols it speaks ([`wire`]) and its budget ([`ledger`]), the check of a model's
//! figures against the evidence ([`verify`]). Does not own: how a narrative is shown (messages), nor what a secret looks like
//! ([`tripline_store::redact`]).
//!
//! Must hold: every figure of a narrative is in the evidence; a model's text that cannot be proven so is replaced by the
//! template and the reason is recorded; vendors' words are data in a prompt and never instructions; without a model
//! nothing leaves the machine; what left it is kept.

pub mod brief;
pub mod ledger;
pub mod model;
pub mod prompt;
pub mod template;
pub mod verify;
pub mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use tripline_engine::Environment;
use tripline_store::{NarrationKind, NarrativeParts, NewAnomaly, NewNarration};

use crate::investigate::Findings;
use crate::settings::{NarratorProvider, SettingsHandle};

pub use brief::Brief;
pub use ledger::Ledger;
pub use model::{ModelConfig, ModelNarrator};
pub use prompt::Exhibits;

/// What is told of an incident.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    /// The anomaly that opened the incident.
    pub anomaly: &'a NewAnomaly,
    /// What the investigation found.
    pub findings: &'a Findings,
}

impl Story<'_> {
    /// The story as a request for a text.
    #[must_use]
    pub fn brief(self) -> Brief {
        let parts = template::parts(self);
        Brief {
            kind: NarrationKind::Incident,
            subject_id: String::new(),
            exhibits: Exhibits::of(self),
            template: vec![
                ("what_happened", parts.what_happened),
                ("likely_cause", parts.likely_cause),
                ("impact", parts.impact),
                ("recommended_action", parts.recommended_action),
            ],
        }
    }
}

/// A text.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// Its parts by key, in the order of its form.
    pub parts: Vec<(&'static str, String)>,
    /// Who wrote it: `template`, `model:NAME`, or `template (why no model)`.
    pub narrator: String,
    /// What was sent to a model; `None` when no model is configured. To be kept by the caller.
    pub report: Option<NewNarration>,
}

impl Told {
    /// A part; empty when there is none of that name.
    #[must_use]
    pub fn part(&self, key: &str) -> &str {
        self.parts.iter().find(|(name, _)| *name == key).map_or("", |(_, text)| text)
    }
}

/// A told story.
#[derive(Debug, Clone, PartialEq)]
pub struct Narrative {
    /// Its four parts.
    pub parts: NarrativeParts,
    /// Who wrote it: `template`, `model:NAME`, or `template (model rejected: why)`.
    pub narrator: String,
    /// What was sent to a model. To be kept by the caller, under the incident's id.
    pub report: Option<NewNarration>,
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
    /// The text that a brief asks for. Never fails: a narrator that cannot falls back to the template and says why.
    async fn tell(&self, brief: Brief) -> Told;

    /// The narrative of a story.
    async fn narrate(&self, story: Story<'_>) -> Narrative {
        let told = self.tell(story.brief()).await;
        Narrative {
            parts: NarrativeParts {
                what_happened: told.part("what_happened").to_owned(),
                likely_cause: told.part("likely_cause").to_owned(),
                impact: told.part("impact").to_owned(),
                recommended_action: told.part("recommended_action").to_owned(),
            },
            narrator: told.narrator,
            report: told.report,
        }
    }
}

/// Tells by template.
#[derive(Debug, Clone, Copy, Default)]
pub struct TemplateNarrator;

#[async_trait]
impl Narrator for TemplateNarrator {
    async fn tell(&self, brief: Brief) -> Told {
        Told { parts: brief.template, narrator: "template".to_owned(), report: None }
    }
}

/// The model that settings and environment ask for; `None` when templates tell.
///
/// # Errors
/// When a model is asked for by name and its key is missing, or its address is none.
pub fn model_config(
    settings: &SettingsHandle,
    environment: &Environment,
) -> Result<Option<ModelConfig>, model::ModelError> {
    let has = |key: &str| environment.get(key).is_some();
    Ok(match settings.get().narrator.provider {
        NarratorProvider::Template => None,
        NarratorProvider::Groq => Some(ModelConfig::groq(environment)?),
        NarratorProvider::OpenAi => Some(ModelConfig::openai(environment)?),
        NarratorProvider::Anthropic => Some(ModelConfig::anthropic(environment)?),
        NarratorProvider::Auto if has("GROQ_API_KEY") => Some(ModelConfig::groq(environment)?),
        NarratorProvider::Auto if has("OPENAI_API_KEY") => Some(ModelConfig::openai(environment)?),
        NarratorProvider::Auto if has("ANTHROPIC_API_KEY") => Some(ModelConfig::anthropic(environment)?),
        NarratorProvider::Auto => None,
    })
}

/// The narrator that settings and environment ask for, without a budget.
///
/// # Errors
/// As [`model_config`].
pub fn from_environment(
    settings: &SettingsHandle,
    environment: &Environment,
) -> Result<Arc<dyn Narrator>, model::ModelError> {
    with_ledger(settings, environment, None)
}

/// The narrator that settings and environment ask for; what it may use is counted by `ledger`.
///
/// # Errors
/// As [`model_config`].
pub fn with_ledger(
    settings: &SettingsHandle,
    environment: &Environment,
    ledger: Option<Ledger>,
) -> Result<Arc<dyn Narrator>, model::ModelError> {
    // Whether it can be is said at the start; afterwards settings may say otherwise at any time.
    model_config(settings, environment)?;
    Ok(Arc::new(ChosenNarrator { settings: settings.clone(), environment: environment.clone(), ledger }))
}

/// Tells as the settings of the moment say.
#[derive(Debug)]
struct ChosenNarrator {
    settings: SettingsHandle,
    environment: Environment,
    ledger: Option<Ledger>,
}

#[async_trait]
impl Narrator for ChosenNarrator {
    async fn tell(&self, brief: Brief) -> Told {
        let model = match model_config(&self.settings, &self.environment) {
            Ok(None) => return TemplateNarrator.tell(brief).await,
            Ok(Some(config)) => ModelNarrator::new(config, self.settings.clone()),
            Err(error) => Err(error),
        };
        match model {
            Ok(model) => model.with_ledger(self.ledger.clone()).tell(brief).await,
            Err(error) => {
                tracing::warn!(%error, "the template tells instead of the model that the settings name");
                Told { parts: brief.template, narrator: format!("template (model unavailable: {error})"), report: None }
            }
        }
    }
}
