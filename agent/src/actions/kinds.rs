//! The types of action and the payload of each.
//!
//! Owns their names and shapes. Must hold: a payload is read back strictly, so that a row written by something else is
//! refused rather than half understood; the payload of a remediation is everything its execution needs.

use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tripline_store::{ExactJson, IncidentId};

use crate::govern::GovernError;

/// What may be done about an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Remediation {
    /// Open an issue with the incident's narrative.
    OpenGithubIssue,
    /// Ask the agent behind a trace to stop.
    KillLoop,
    /// Request changes on a pull request.
    RequestChanges,
    /// Nothing outside: write it down.
    Record,
}

impl Remediation {
    /// Its name in the database, the API and the settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OpenGithubIssue => "open_github_issue",
            Self::KillLoop => "kill_loop",
            Self::RequestChanges => "request_changes",
            Self::Record => "record",
        }
    }

    /// What it does, for a button's context and a page.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::OpenGithubIssue => "open a GitHub issue",
            Self::KillLoop => "ask the agent to stop",
            Self::RequestChanges => "request changes on the pull request",
            Self::Record => "record only",
        }
    }
}

impl fmt::Display for Remediation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Every type of action the outbox holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActionType {
    /// A remediation.
    Remediate(Remediation),
    /// The one message of an incident.
    SlackPostMessage,
    /// That message, brought up to date.
    SlackUpdateMessage,
    /// A reply in its thread.
    SlackThreadReply,
    /// An answer to a click, through its response address.
    SlackRespond,
    /// A finding about a run, told to the webhook.
    SignalWebhook,
    /// The weekly post.
    SlackPostDigest,
    /// An issue of ours, closed or opened again.
    GithubIssueState,
    /// The one comment on a pull request.
    GithubPullComment,
    /// A check of a commit.
    GithubCheckRun,
    /// A new version of a Langfuse prompt. Always approved by somebody: no policy rule names it.
    PublishPrompt,
}

impl ActionType {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Remediate(Remediation::OpenGithubIssue),
        Self::Remediate(Remediation::KillLoop),
        Self::Remediate(Remediation::RequestChanges),
        Self::Remediate(Remediation::Record),
        Self::SlackPostMessage,
        Self::SlackUpdateMessage,
        Self::SlackThreadReply,
        Self::SlackRespond,
        Self::SignalWebhook,
        Self::SlackPostDigest,
        Self::GithubIssueState,
        Self::GithubPullComment,
        Self::GithubCheckRun,
        Self::PublishPrompt,
    ];

    /// Its name in the database and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Remediate(remediation) => remediation.as_str(),
            Self::SlackPostMessage => "slack_post_message",
            Self::SlackUpdateMessage => "slack_update_message",
            Self::SlackThreadReply => "slack_thread_reply",
            Self::SlackRespond => "slack_respond",
            Self::SignalWebhook => "signal_webhook",
            Self::SlackPostDigest => "slack_post_digest",
            Self::GithubIssueState => "github_issue_state",
            Self::GithubPullComment => "github_pull_comment",
            Self::GithubCheckRun => "github_check_run",
            Self::PublishPrompt => "publish_prompt",
        }
    }
}

impl fmt::Display for ActionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for ActionType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or_else(|| format!("'{text}' is no type of action this version knows"))
    }
}

/// Open an issue: exactly this title, body and labels, in exactly this repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OpenIssue {
    /// Names this issue: it is in the body's hidden marker, by which it is found again.
    pub key: String,
    /// `owner/name`; `None` when none was configured at the time of asking.
    pub repository: Option<String>,
    /// Title.
    pub title: String,
    /// Body, Markdown, the marker included.
    pub body: String,
    /// Labels.
    pub labels: Vec<String>,
}

/// Ask the agent behind a trace to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KillLoop {
    /// Names this request.
    pub key: String,
    /// The trace or run.
    pub trace_id: String,
    /// Its runs that are known here: each is asked by its own id. Empty where none is known: then the trace's id alone is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<String>,
}

/// Do nothing outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordOnly {
    /// Names this record.
    pub key: String,
}

/// Post the incident's message. What it says is rendered when it is sent, from the state of that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostMessage {
    /// The incident.
    pub incident_id: IncidentId,
    /// Name or id of the channel.
    pub channel: String,
}

/// Bring the incident's message up to date. Doing it twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UpdateMessage {
    /// The incident.
    pub incident_id: IncidentId,
    /// Why, in a word: a change of the incident, a decision, an outcome.
    pub cause: String,
}

/// Reply in the thread of the incident's message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ThreadReply {
    /// The incident.
    pub incident_id: IncidentId,
    /// Slack mrkdwn, already escaped.
    pub text: String,
}

/// Tell a finding about a run to the webhook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignalWebhook {
    /// The body, JSON, as it is signed and sent.
    pub body: String,
    /// What it tells, for a header; a finding about a run when it is not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
}

/// Post the digest of a week: exactly this, in exactly this channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostDigest {
    /// The digest.
    pub digest_id: String,
    /// Name or id of the channel.
    pub channel: String,
    /// Fallback text, escaped.
    pub text: String,
    /// The blocks.
    pub blocks: serde_json::Value,
}

/// Close an issue that was opened for an incident, or open it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetIssueState {
    /// Names this change: it is in the comment's hidden marker.
    pub key: String,
    /// `owner/name`.
    pub repository: String,
    /// The action that opened the issue; its result has the number.
    pub opened_by: tripline_store::ActionId,
    /// Whether it is to be open.
    pub open: bool,
    /// Why, Markdown, the marker included.
    pub comment: String,
}

/// Request changes on a pull request: exactly this review.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestChanges {
    /// Names this review: it is in the body's hidden marker, by which it is found again.
    pub key: String,
    /// `owner/name`.
    pub repository: String,
    /// The pull request.
    pub number: u64,
    /// The commit that was judged.
    pub commit_id: Option<String>,
    /// Body, Markdown, the marker included.
    pub body: String,
}

/// Write the one comment on a pull request, or bring it up to date. Doing it twice does no harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PullComment {
    /// Names the comment: it is in the body's hidden marker, by which it is found again.
    pub key: String,
    /// `owner/name`.
    pub repository: String,
    /// The pull request.
    pub number: u64,
    /// Body, Markdown, the marker included.
    pub body: String,
}

/// Write a check of a commit. Doing it twice does no harm: GitHub shows the newest of its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRun {
    /// Names the check.
    pub key: String,
    /// `owner/name`.
    pub repository: String,
    /// The commit.
    pub head_sha: String,
    /// `success` or `neutral`.
    pub conclusion: String,
    /// One line.
    pub title: String,
    /// What it rests on.
    pub summary: String,
}

/// What a prompt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PromptKind {
    /// A text.
    Text,
    /// A list of messages.
    Chat,
}

/// Publish a version of a Langfuse prompt: exactly this one, on top of exactly that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishPrompt {
    /// Names this fix: it is in the commit message's marker, by which the version is found again.
    pub key: String,
    /// The signal it is for.
    pub signal_id: i64,
    /// The prompt, folders included.
    pub name: String,
    /// Text or messages.
    pub kind: PromptKind,
    /// The version it is made of, and the label by which that one was found: it must still be it.
    pub base_version: i64,
    /// `production` or `latest`.
    pub base_label: String,
    /// The newest version when it was asked for: only later ones can be this one.
    pub newest_version: i64,
    /// The whole of what is published.
    pub prompt: serde_json::Value,
    /// The configuration of the version it is made of.
    pub config: serde_json::Value,
    /// Its tags.
    pub tags: Vec<String>,
    /// The labels that the new version gets; `latest` it is anyhow.
    pub labels: Vec<String>,
    /// What Langfuse shows beside it, the marker at its end.
    pub commit_message: String,
    /// What is added.
    pub fix_content: String,
    /// The text that is added to (of messages, the system's), as it was.
    pub old_text: String,
    /// That text, as it will be.
    pub new_text: String,
}

/// Answer a click.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Respond {
    /// The address Slack gave with the click. It is a credential: whoever has it may post.
    pub response_url: String,
    /// What to answer.
    pub response: Response,
}

/// What a click is answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Response {
    /// Replace the message by the incident's state of that moment. Doing it twice does no harm.
    Replace {
        /// The incident.
        incident_id: IncidentId,
    },
    /// Tell the person who clicked, and nobody else.
    Ephemeral {
        /// Slack mrkdwn, already escaped.
        text: String,
    },
}

/// Reads a stored payload as what its type says.
pub(crate) fn read<T: DeserializeOwned>(payload: &ExactJson) -> Result<T, String> {
    serde_json::from_str(payload.text()).map_err(|error| format!("its payload is not what its type says: {error}"))
}

/// The exact text of a payload.
pub(crate) fn exact<T: Serialize>(payload: &T) -> Result<ExactJson, GovernError> {
    serde_json::to_value(payload).map(ExactJson::from).map_err(|error| GovernError::Refused {
        message: format!("the payload of an action cannot be written: {error}"),
        hint: None,
    })
}
