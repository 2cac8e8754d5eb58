//! Governance settings: policy, approvers, expiry, where messages go.
//!
//! Owns their shape, defaults, ranges, and which environment variables override them. Does not own reading files or
//! the environment (they are handed in) nor what a rule decides ([`super::policy`]).
//!
//! Must hold: the defaults are safe (nobody may approve, only a loop with an attributed trace is acted upon without
//! asking); a value out of range is refused with the place it is at.

use serde::{Deserialize, Serialize};
use tripline_engine::Environment;
use tripline_store::Severity;
use url::Url;

use super::policy::{PolicyRule, default_policy};

/// Policy, approvers, expiry. `docs/governance.md` has the default table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GovernanceSettings {
    /// What is recorded, asked and done without asking. The first rule that matches decides; when none does, the
    /// incident is recorded.
    pub policy: Vec<PolicyRule>,
    /// Slack user ids, names of API keys and persons that may approve. Empty means nobody.
    pub approvers: Vec<String>,
    /// Seconds after which nobody can approve any more, 1 to 604,800 (a week).
    pub approval_expires_after_seconds: u32,
    /// How many actions policy may take by itself within an hour; from then on it asks. 0 to 100; 0 means it always
    /// asks.
    pub max_auto_actions_per_hour: u32,
    /// Name or id of the Slack channel that incidents are posted to.
    pub slack_channel: String,
    /// Incidents below this severity are posted only when they ask for a decision.
    pub min_slack_severity: Severity,
    /// Whether the issue that was opened for an incident is closed when it ends, and opened again when it comes back.
    pub close_issues: bool,
    /// Where people reach Tripline's web page, for links in messages; no links without it.
    pub public_url: Option<String>,
}

impl Default for GovernanceSettings {
    fn default() -> Self {
        Self {
            policy: default_policy(),
            approvers: Vec::new(),
            approval_expires_after_seconds: 4 * 3600,
            max_auto_actions_per_hour: 3,
            slack_channel: "#incidents".to_owned(),
            min_slack_severity: Severity::Medium,
            close_issues: true,
            public_url: None,
        }
    }
}

/// A setting that is out of range, and where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {problem}")]
pub struct SettingError {
    /// Path of the setting, as in `governance.policy[2].when`.
    pub at: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to write instead.
    pub hint: Option<String>,
}

impl SettingError {
    fn new(at: impl Into<String>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { at: at.into(), problem: problem.into(), hint: Some(hint.into()) }
    }
}

const WEEK_SECONDS: u32 = 7 * 24 * 3600;
const MAX_AUTO_ACTIONS: u32 = 100;
const MAX_NAME: usize = 200;

impl GovernanceSettings {
    /// Applies the environment: `SLACK_INCIDENTS_CHANNEL`, and `TRIPLINE_PUBLIC_URL` with its aliases `FRONTEND_URL`
    /// and `DASHBOARD_URL`. What is set there wins over the file.
    pub fn apply_environment(&mut self, environment: &Environment) {
        if let Some(channel) = environment.get("SLACK_INCIDENTS_CHANNEL") {
            channel.clone_into(&mut self.slack_channel);
        }
        if let Some((_, url)) = environment.first(&["TRIPLINE_PUBLIC_URL", "FRONTEND_URL", "DASHBOARD_URL"]) {
            self.public_url = Some(url.to_owned());
        }
    }

    /// Everything that is out of range; empty when all is well.
    #[must_use]
    pub fn validate(&self) -> Vec<SettingError> {
        let mut errors = Vec::new();
        for (index, rule) in self.policy.iter().enumerate() {
            if rule.incident_type.as_deref().is_some_and(|kind| kind.trim().is_empty()) {
                errors.push(SettingError::new(
                    format!("governance.policy[{index}].type"),
                    "is empty",
                    "name an incident type such as cost_spike, or leave the key out to match every type",
                ));
            }
        }
        for (index, approver) in self.approvers.iter().enumerate() {
            if approver.trim().is_empty() || approver.len() > MAX_NAME {
                errors.push(SettingError::new(
                    format!("governance.approvers[{index}]"),
                    format!("must have 1 to {MAX_NAME} characters"),
                    "list Slack user ids (U012ABCDEF), names of API keys, or the persons behind them",
                ));
            }
        }
        if !(1..=WEEK_SECONDS).contains(&self.approval_expires_after_seconds) {
            errors.push(SettingError::new(
                "governance.approval_expires_after_seconds",
                format!("{} is not between 1 and {WEEK_SECONDS}", self.approval_expires_after_seconds),
                "the default is 14400 (4 hours)",
            ));
        }
        if self.max_auto_actions_per_hour > MAX_AUTO_ACTIONS {
            errors.push(SettingError::new(
                "governance.max_auto_actions_per_hour",
                format!("{} is not between 0 and {MAX_AUTO_ACTIONS}", self.max_auto_actions_per_hour),
                "the default is 3; 0 asks every time",
            ));
        }
        let channel = self.slack_channel.trim_start_matches('#');
        if channel.is_empty() || channel.chars().count() > 80 || channel.chars().any(char::is_whitespace) {
            errors.push(SettingError::new(
                "governance.slack_channel",
                "is no channel name or id",
                "write #incidents, or the channel's id (C012ABCDEF)",
            ));
        }
        if let Some(url) = &self.public_url
            && let Err(problem) = parse_public_url(url)
        {
            errors.push(SettingError::new(
                "governance.public_url",
                problem,
                "write the address people open in their browser, such as https://tripline.example.com",
            ));
        }
        errors
    }

    /// The public address without a slash at its end; `None` when there is none, or none that may be linked to.
    #[must_use]
    pub fn public_base(&self) -> Option<String> {
        let url = parse_public_url(self.public_url.as_deref()?).ok()?;
        Some(url.as_str().trim_end_matches('/').to_owned())
    }

    /// Whether one of these names may approve.
    #[must_use]
    pub fn allows(&self, names: &[&str]) -> bool {
        names.iter().any(|name| !name.is_empty() && self.approvers.iter().any(|approver| approver.trim() == *name))
    }
}

fn parse_public_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is no address: {error}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err("is no http or https address".to_owned());
    }
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err("must not hold credentials, a query or a fragment".to_owned());
    }
    // It is put into links of Slack and Markdown as it is.
    if url.as_str().contains(|c: char| "<>|()[]`'\"*".contains(c)) {
        return Err("holds a character that would end a link".to_owned());
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
