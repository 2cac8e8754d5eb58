//! Short notes: replies in an incident's thread, and answers to one person who clicked.
//!
//! Must hold: each is finished Slack mrkdwn; whatever is not ours in it is escaped.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value;
use tripline_store::{Approval, ApprovalStatus, Incident, NewAnomaly};

use super::slack::{action_words, date, decision_line, page_link, person};
use super::text::{dollars, slack_inline};

/// How an incident ended: after how long, at what cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ended {
    /// How long it lasted: from its onset (else the begin of the first window it was seen in) until it was last at work, as far as
    /// its detector tells, else to the end of the last window.
    pub lasted: TimeDelta,
    /// What it cost, in US dollars; `None` when unknown.
    pub cost_usd: Option<f64>,
    /// In how many windows it was seen.
    pub windows: i64,
}

impl Ended {
    /// How an incident that was resolved ended; `newest` is what was found of it last.
    #[must_use]
    pub fn of(incident: &Incident, newest: Option<&NewAnomaly>, now: DateTime<Utc>) -> Self {
        let last = newest.map_or(incident.window.end, NewAnomaly::last_sign);
        let seen = last.min(incident.resolved_at.unwrap_or(now));
        let began = onset(incident).unwrap_or(incident.window.start);
        Self {
            lasted: (seen - began).max(TimeDelta::zero()),
            cost_usd: incident.cost_usd.filter(|cost| cost.is_finite()),
            windows: incident.occurrences,
        }
    }

    fn words(&self) -> String {
        let minutes = self.lasted.num_minutes();
        let lasted = match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
            (0, 0, minutes) => format!("{minutes} min"),
            (0, hours, 0) => format!("{hours} h"),
            (0, hours, minutes) => format!("{hours} h {minutes} min"),
            (days, 0, _) => format!("{days} d"),
            (days, hours, _) => format!("{days} d {hours} h"),
        };
        let cost = match self.cost_usd {
            None => "its cost is not known".to_owned(),
            // Uses of a tool seldom have a price.
            Some(0.0) => "nothing of it has a price".to_owned(),
            Some(usd) => format!("it cost {}", dollars(usd)),
        };
        let windows = if self.windows == 1 { "1 window".to_owned() } else { format!("{} windows", self.windows) };
        format!("complete windows passed without it. It was seen over {lasted}, in {windows}; {cost}.")
    }

    /// For Slack.
    #[must_use]
    pub fn mrkdwn(&self) -> String {
        format!("Resolved: {}", self.words())
    }

    /// For GitHub.
    #[must_use]
    pub fn markdown(&self) -> String {
        // Between backticks a dollar sign starts no formula.
        let words = self.words();
        match self.cost_usd.map(dollars) {
            Some(cost) => format!("Resolved: {}", words.replace(&cost, &format!("`{cost}`"))),
            None => format!("Resolved: {words}"),
        }
    }
}

/// When it began, as the investigation found; `None` before it was investigated.
fn onset(incident: &Incident) -> Option<DateTime<Utc>> {
    let entries = incident.timeline.as_array()?;
    let onset = entries.iter().find(|entry| entry.get("kind").and_then(Value::as_str) == Some("onset"))?;
    onset.get("at")?.as_str()?.parse().ok()
}

/// Something that is told in the thread of an incident's message.
#[derive(Debug, Clone, PartialEq)]
pub enum Note<'a> {
    /// The condition came back.
    Reopened,
    /// Enough complete windows passed without it.
    Resolved(Ended),
    /// A decision was made.
    Decided(&'a Approval),
    /// An issue was opened.
    IssueOpened {
        /// Its page, as the vendor named it.
        url: &'a str,
    },
    /// Changes were requested on a pull request.
    ChangesRequested {
        /// The review, as the vendor named it.
        url: &'a str,
    },
    /// A version of a Langfuse prompt was published.
    PromptPublished {
        /// The prompt.
        name: &'a str,
        /// The new version.
        version: Option<i64>,
        /// The prompt's page.
        url: Option<&'a str>,
    },
    /// The agent was asked to stop.
    KillRequested {
        /// The trace or run.
        trace_id: &'a str,
        /// Its runs that are asked; `None` where that was not kept.
        runs: Option<Vec<String>>,
    },
    /// The agent said that it stopped.
    KillAcknowledged {
        /// When.
        at: DateTime<Utc>,
    },
    /// An action did not work out.
    ActionFailed {
        /// Its type.
        action_type: &'a str,
        /// Why.
        why: &'a str,
    },
    /// An action may have happened.
    ActionUnknown {
        /// Its type.
        action_type: &'a str,
        /// Why that is not known.
        why: &'a str,
    },
}

impl Note<'_> {
    /// The note as Slack mrkdwn.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Reopened => "This came back: the incident is open again.".to_owned(),
            Self::Resolved(ended) => ended.mrkdwn(),
            Self::Decided(approval) => decided(approval),
            Self::IssueOpened { url } => format!("Issue opened: {}", page_link(url)),
            Self::ChangesRequested { url } => format!("Changes requested: {}", page_link(url)),
            Self::PromptPublished { name, version, url } => prompt_published(name, *version, *url),
            Self::KillRequested { trace_id, runs } => {
                let (of_runs, unseen) = match runs.as_deref() {
                    Some([]) => (String::new(), format!(" {NO_RUN}")),
                    Some(runs) if runs != [*trace_id] => {
                        (format!(" ({})", slack_inline(&crate::loops::named(runs), 300)), String::new())
                    }
                    _ => Default::default(),
                };
                format!(
                    "🛑 Kill requested for {}{of_runs}. The agent stops when it next asks; it has not acknowledged it yet.{unseen}",
                    slack_inline(trace_id, 200)
                )
            }
            Self::KillAcknowledged { at } => format!("🛑 The agent says it has stopped ({}).", date(*at)),
            Self::ActionFailed { action_type, why } => {
                format!("Failed: {}. {}", action_words(action_type), slack_inline(why, 600))
            }
            Self::ActionUnknown { action_type, why } => format!(
                "It is not known whether this happened: {}. {} It is not sent again by itself; look, and settle it in \
                 Tripline.",
                action_words(action_type),
                slack_inline(why, 600)
            ),
        }
    }
}

/// What is said of a request that may reach nobody.
pub(super) const NO_RUN: &str = "No run of this trace is known here: only an agent that asks with this trace id sees it; any other has to be stopped where it runs.";

/// `Published: prompt support, version 4. https://…`
pub(super) fn prompt_published(name: &str, version: Option<i64>, url: Option<&str>) -> String {
    let version = version.map(|version| format!(", version {version}")).unwrap_or_default();
    let page = url.map(|url| format!(" {}", page_link(url))).unwrap_or_default();
    format!("Published: prompt {}{version}.{page}", slack_inline(name, 200))
}

fn decided(approval: &Approval) -> String {
    let line = decision_line(approval);
    match approval.reason.as_deref().filter(|reason| *reason != super::slack::KILL_REASON) {
        Some(reason) => format!("{line}: {}", slack_inline(reason, 500)),
        None => line,
    }
}

/// To somebody who clicked after the decision.
#[must_use]
pub fn already_decided(approval: &Approval) -> String {
    if approval.status == ApprovalStatus::Expired {
        return expired();
    }
    let how = match approval.status {
        ApprovalStatus::Rejected => "rejected",
        _ => "approved",
    };
    let by = person(approval.resolved_by.as_deref().unwrap_or("somebody"));
    match approval.resolved_at {
        Some(at) => format!("This was already {how} by {by}, {}. Your click changed nothing.", date(at)),
        None => format!("This was already {how} by {by}. Your click changed nothing."),
    }
}

/// To somebody who said whether an incident is right.
#[must_use]
pub fn thanks(correct: bool) -> String {
    let what = if correct { "right" } else { "wrong" };
    format!("Noted: you say this incident is {what}. Press the other button to change it.")
}

/// To somebody whose message is about an incident that is not there.
#[must_use]
pub fn incident_not_found() -> String {
    "Tripline does not know this incident. Nothing was noted.".to_owned()
}

/// To somebody who clicked too late.
#[must_use]
pub fn expired() -> String {
    "⏰ Approval expired (no action taken).".to_owned()
}

/// To somebody who may not decide.
#[must_use]
pub fn not_allowed() -> String {
    "You are not on the list of approvers (governance.approvers). Nothing was done, and your click is on the record."
        .to_owned()
}

/// To somebody whose message showed another payload than the one that would run.
#[must_use]
pub fn mismatch() -> String {
    "What this message shows is not what would run now. Nothing was done; use the newest message.".to_owned()
}

/// To somebody whose message is about an approval that is not there.
#[must_use]
pub fn not_found() -> String {
    "Tripline does not know this approval. Nothing was done.".to_owned()
}

/// To somebody who pressed something that is not a button of ours.
#[must_use]
pub fn not_understood() -> String {
    "Tripline does not know this button. Nothing was done.".to_owned()
}
