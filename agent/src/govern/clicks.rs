//! Clicks in Slack: from a raw request to a decision.
//!
//! Owns the order of checks, what is answered, and what happens after the answer. Does not own HTTP (web), the
//! signature ([`super::signature`]), the decision ([`super::Desk`]) or sending answers ([`crate::actions`]).
//!
//! Must hold
//! - a request that is forged, stale, replayed, unsigned, or that nobody could verify changes nothing and is on the
//!   record;
//! - Slack is answered within its 3 seconds whatever the disk does. The claim is one local transaction of some
//!   milliseconds, so it is made before the answer: a 200 then means that the decision is on disk. When the disk takes
//!   longer than [`ANSWER_WITHIN`] the answer goes out first and the claim is finished behind it, in a task of its own
//!   that also outlives a caller who hangs up. A disk that cannot even remember the signature within
//!   [`ADMIT_WITHIN`] lets nobody in;
//! - an address that came with a click is fetched only if it is Slack's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio_util::task::TaskTracker;
use tripline_engine::SharedClock;
use tripline_store::{
    ActionStatus, Approval, ClaimOutcome, Decision, FeedbackVia, IncidentId, NewFeedback, Scope, Settlement, Store, Via,
};

use super::GovernError;
use super::desk::{Decided, Desk, Request};
use super::refusals::RefusalLog;
use super::signature::{self, Refusal, SignatureHeaders, TOLERANCE_SECONDS};
use crate::actions::{Destinations, Notices, Response};
use crate::messages::{self, Button, KILL_REASON, Pressed};

/// How long the answer to Slack waits for the claim. Slack gives up after 3 s.
const ANSWER_WITHIN: Duration = Duration::from_millis(1_500);
/// How long a signature may take to be remembered.
const ADMIT_WITHIN: Duration = Duration::from_secs(1);
/// How long the work behind an answer may take.
const WORK_WITHIN: Duration = Duration::from_secs(20);
/// A payload holds the whole message; Slack's own limits keep it far below this.
pub(crate) const MAX_BODY: usize = 512 * 1024;
/// A signature is accepted within ±300 s of its stamp, so it must be remembered for both.
const REMEMBER: Duration = Duration::from_secs(2 * TOLERANCE_SECONDS + 1);
/// What the audit log calls this webhook.
const WEBHOOK: &str = "slack.actions";

/// A request as it came.
#[derive(Debug)]
pub struct Click<'a> {
    /// The two signature headers.
    pub headers: SignatureHeaders,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// What to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClickAnswer {
    /// 200 with an empty body.
    Accepted,
    /// 403, or 400 for a body that is not Slack's.
    Refused(Refusal),
}

/// How many clicks were let in and refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClickCounts {
    /// Signed and new.
    pub accepted: u64,
    /// Everything else.
    pub refused: u64,
}

/// What the service is made of.
pub struct ClicksParts {
    /// Where approvals are.
    pub store: Store,
    /// Whose.
    pub scope: Scope,
    /// The product's clock, by which approvals expire.
    pub clock: SharedClock,
    /// The machine's clock, by which signatures age.
    pub system_clock: SharedClock,
    /// The signing secret, and which addresses are Slack's.
    pub destinations: Arc<Destinations>,
    /// Decides.
    pub desk: Desk,
    /// Answers.
    pub notices: Notices,
    /// Keeps the record of refusals.
    pub refusals: Arc<RefusalLog>,
}

/// The service. Cheap to clone.
#[derive(Clone)]
pub struct Clicks {
    inner: Arc<Inner>,
}

struct Inner {
    parts: ClicksParts,
    tasks: TaskTracker,
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl std::fmt::Debug for Clicks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clicks").finish_non_exhaustive()
    }
}

/// What of an interaction is read; Slack sends more.
#[derive(Debug, Deserialize)]
struct Interaction {
    #[serde(rename = "type")]
    kind: String,
    user: User,
    #[serde(default)]
    actions: Vec<PressedElement>,
    response_url: Option<String>,
    container: Option<Container>,
}

#[derive(Debug, Deserialize)]
struct User {
    id: String,
}

#[derive(Debug, Deserialize)]
struct PressedElement {
    #[serde(default)]
    action_id: String,
    #[serde(default)]
    value: String,
}

#[derive(Debug, Deserialize)]
struct Container {
    channel_id: Option<String>,
    message_ts: Option<String>,
}

impl Clicks {
    /// A service.
    #[must_use]
    pub fn new(parts: ClicksParts) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                tasks: TaskTracker::new(),
                accepted: AtomicU64::new(0),
                refused: AtomicU64::new(0),
            }),
        }
    }

    /// How many were let in and refused.
    #[must_use]
    pub fn counts(&self) -> ClickCounts {
        ClickCounts {
            accepted: self.inner.accepted.load(Ordering::Relaxed),
            refused: self.inner.refused.load(Ordering::Relaxed),
        }
    }

    /// Takes one request. Returns when Slack is to be answered.
    ///
    /// # Errors
    /// Of the store: nothing was decided, and the same click may be repeated by the person.
    pub async fn handle(&self, click: Click<'_>) -> Result<ClickAnswer, GovernError> {
        let inner = &self.inner;
        match inner.admit(&click).await? {
            Ok((interaction, signature)) => {
                inner.accepted.fetch_add(1, Ordering::Relaxed);
                self.work_behind(interaction, signature).await;
                Ok(ClickAnswer::Accepted)
            }
            Err(refusal) => {
                inner.refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(reason = refusal.code(), "a click was refused");
                let now = inner.parts.clock.now();
                inner.parts.refusals.refused("unknown", WEBHOOK, refusal.code(), now).await?;
                Ok(ClickAnswer::Refused(refusal))
            }
        }
    }

    /// Writes down refusals that were only counted so far.
    ///
    /// # Errors
    /// Of the store.
    pub async fn flush(&self) -> Result<(), GovernError> {
        let parts = &self.inner.parts;
        Ok(parts.refusals.flush(WEBHOOK, parts.clock.now()).await?)
    }

    /// Waits until everything behind an answer is done, and takes nothing new.
    pub async fn finish(&self) {
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        if let Err(error) = self.flush().await {
            tracing::warn!(%error, "refusals could not be put on the record");
        }
    }

    async fn work_behind(&self, interaction: Interaction, signature: String) {
        let inner = Arc::clone(&self.inner);
        let work = async move {
            match tokio::time::timeout(WORK_WITHIN, inner.work(interaction, &signature)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "a click could not be carried out"),
                Err(_) => tracing::error!(within = ?WORK_WITHIN, "a click was not carried out in time"),
            }
        };
        let task = self.inner.tasks.spawn(work);
        if tokio::time::timeout(ANSWER_WITHIN, task).await.is_err() {
            tracing::warn!("Slack is answered before the decision is on disk");
        }
    }
}

impl Inner {
    /// Lets a request in, or says why not.
    async fn admit(&self, click: &Click<'_>) -> Result<Result<(Interaction, String), Refusal>, GovernError> {
        let parts = &self.parts;
        let system_now = parts.system_clock.now();
        let secret = parts.destinations.signing_secret();
        if click.body.len() > MAX_BODY {
            return Ok(Err(Refusal::MalformedBody));
        }
        let verified = match signature::verify(secret, &click.headers, click.body, system_now) {
            Ok(verified) => verified,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // Only what is signed is remembered, so nobody else can fill the memory.
        let remembered = parts.store.replay.remember_signature(&parts.scope, &verified.signature, REMEMBER, system_now);
        let new = tokio::time::timeout(ADMIT_WITHIN, remembered).await.map_err(|_| GovernError::Refused {
            message: "the store did not answer in time".to_owned(),
            hint: Some("press the button again".to_owned()),
        })??;
        if !new {
            return Ok(Err(Refusal::Replayed));
        }
        match parse(click.body) {
            Some(interaction) => Ok(Ok((interaction, verified.signature))),
            None => Ok(Err(Refusal::MalformedBody)),
        }
    }

    async fn work(&self, interaction: Interaction, signature: &str) -> Result<(), GovernError> {
        let parts = &self.parts;
        // Slack sends one; another could not have been shown to the same press.
        let element = interaction.actions.first();
        let pressed = element.and_then(|action| Pressed::read(&action.action_id, &action.value));
        let verdict = element.and_then(|action| messages::Verdict::read(&action.action_id, &action.value));
        let response_url = interaction.response_url.as_deref().filter(|url| {
            let accepted = parts.destinations.accepts_response_url(url);
            if !accepted {
                tracing::warn!("a click named a response address that is not Slack's; it is not used");
            }
            accepted
        });
        let is_user = (1..=64).contains(&interaction.user.id.len())
            && interaction.user.id.bytes().all(|b| b.is_ascii_alphanumeric());
        if let (Some((verdict, id)), true, "block_actions") = (verdict, is_user, interaction.kind.as_str()) {
            return self.feedback(signature, response_url, verdict, id, interaction.user.id).await;
        }
        let (Some(pressed), true, "block_actions") = (pressed, is_user, interaction.kind.as_str()) else {
            return self.tell(signature, response_url, messages::not_understood()).await;
        };
        self.learn_place(&interaction, &pressed).await?;

        let decision = match pressed.button {
            Button::Approve | Button::Kill => Decision::Approve,
            Button::Reject => Decision::Reject,
        };
        let request = Request {
            approval_id: pressed.approval_id,
            decision,
            by: interaction.user.id,
            also_known_as: None,
            via: Via::Slack,
            reason: (pressed.button == Button::Kill).then(|| KILL_REASON.to_owned()),
            payload_sha256: pressed.payload_sha256,
        };
        let answer = match parts.desk.decide(&parts.scope, request, response_url, parts.clock.now()).await? {
            Decided::NotAllowed => messages::not_allowed(),
            Decided::Claim(ClaimOutcome::Claimed { .. }) => return Ok(()),
            Decided::Claim(ClaimOutcome::AlreadyResolved { approval }) => messages::already_decided(&approval),
            Decided::Claim(ClaimOutcome::Expired { .. }) => messages::expired(),
            Decided::Claim(ClaimOutcome::PayloadMismatch { .. }) => messages::mismatch(),
            Decided::Claim(ClaimOutcome::NotFound) => messages::not_found(),
        };
        self.tell(signature, response_url, answer).await
    }

    /// Keeps what a responder says of an incident, and shows it in the message. Whoever reads the channel may say so: it
    /// decides nothing.
    async fn feedback(
        &self,
        signature: &str,
        response_url: Option<&str>,
        verdict: messages::Verdict,
        incident_id: IncidentId,
        by: String,
    ) -> Result<(), GovernError> {
        let (parts, now) = (&self.parts, self.parts.clock.now());
        let correct = verdict == messages::Verdict::Right;
        let new = NewFeedback {
            incident_id: incident_id.clone(),
            correct,
            given_by: by,
            via: FeedbackVia::Slack,
            comment: None,
        };
        match parts.store.feedback.give(&parts.scope, new, now).await {
            Ok(kept) => {
                let cause = format!("feedback:{}:{}", kept.feedback.given_by, kept.given_at.timestamp_micros());
                parts.notices.update(&parts.scope, &incident_id, &cause, now).await?;
                self.tell(signature, response_url, messages::thanks(correct)).await
            }
            Err(tripline_store::StoreError::NotFound { .. }) => {
                self.tell(signature, response_url, messages::incident_not_found()).await
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Tells the person who clicked, and nobody else.
    async fn tell(&self, signature: &str, response_url: Option<&str>, text: String) -> Result<(), GovernError> {
        let Some(url) = response_url else { return Ok(()) };
        let parts = &self.parts;
        // One answer per click; the signature itself is kept nowhere.
        let key = format!("click:{}", hex::encode(Sha256::digest(signature)));
        parts.notices.respond(&parts.scope, key, url, Response::Ephemeral { text }, parts.clock.now()).await
    }

    /// A click tells where the message is, also when the answer to its posting was lost.
    async fn learn_place(&self, interaction: &Interaction, pressed: &Pressed) -> Result<(), GovernError> {
        let (store, scope, now) = (&self.parts.store, &self.parts.scope, self.parts.clock.now());
        let place = interaction.container.as_ref();
        let Some((channel, ts)) = place.and_then(|c| c.channel_id.as_deref().zip(c.message_ts.as_deref())) else {
            return Ok(());
        };
        let Some(approval) = store.approvals.get(scope, &pressed.approval_id).await? else { return Ok(()) };
        if approval.slack_ts.is_some() || !shows(&approval, pressed) || !is_place(channel, ts) {
            return Ok(());
        }
        let incident_id = &approval.request.incident_id;
        store.approvals.set_message(scope, &approval.id, channel, ts).await?;
        store.incidents.set_message(scope, incident_id, channel, ts, now).await?;
        let post = store.actions.get_by_key(scope, &crate::actions::message_key(incident_id)).await?;
        if let Some(post) = post.filter(|post| post.status == ActionStatus::Unknown) {
            let result = serde_json::json!({"channel": channel, "ts": ts, "seen_by": "a click"});
            store.actions.settle(scope, &post.id, Settlement::Done { result }, "slack", now).await?;
        }
        Ok(())
    }
}

/// Whether the button that was pressed is about this very approval.
fn shows(approval: &Approval, pressed: &Pressed) -> bool {
    approval.payload_sha256 == pressed.payload_sha256
}

fn is_place(channel: &str, ts: &str) -> bool {
    (1..=64).contains(&channel.len())
        && channel.bytes().all(|b| b.is_ascii_alphanumeric())
        && (1..=32).contains(&ts.len())
        && ts.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// The one `payload` field of the form. Two of them, or something else, is not Slack's.
fn parse(body: &[u8]) -> Option<Interaction> {
    let mut payloads = url::form_urlencoded::parse(body).filter(|(name, _)| name == "payload");
    let payload = payloads.next().filter(|_| payloads.next().is_none())?.1;
    serde_json::from_str(&payload).ok()
}

#[cfg(test)]
mod tests;
