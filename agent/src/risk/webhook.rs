//! GitHub's webhook: who may ask for a score by it.
//!
//! Owns: the signature (`X-Hub-Signature-256`), replays, and which events ask for what. Must hold: without a secret nobody is
//! let in; a delivery counts once, by its id and by its signature (the id is not signed), and one that comes again is no error; what it says of the pull request is
//! not believed beyond its number: everything else is read from GitHub.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;
use sha2::Sha256;

use super::{Risk, RiskError};
use crate::govern::signature::Refusal;

/// What the record calls it.
pub(super) const NAME: &str = "github.webhook";
/// How long a delivery is remembered. GitHub's signature carries no time, so this is how long a copy is worthless.
const REMEMBER: Duration = Duration::from_secs(90 * 24 * 3600);
/// Actions on a pull request after which it is scored.
const SCORED: [&str; 5] = ["opened", "synchronize", "reopened", "ready_for_review", "edited"];

/// A delivery, as it came.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// Values of `X-Hub-Signature-256`.
    pub signatures: Vec<Vec<u8>>,
    /// Values of `X-GitHub-Event`.
    pub events: Vec<Vec<u8>>,
    /// Values of `X-GitHub-Delivery`.
    pub ids: Vec<Vec<u8>>,
    /// The raw body.
    pub body: &'a [u8],
}

/// What a delivery came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Received {
    /// It only asked whether somebody is here.
    Pong,
    /// The pull request waits for its score, or for its end.
    Queued {
        /// Which.
        pull_request: u64,
    },
    /// It came before: what it asked for is on the list, or done.
    AlreadyReceived,
    /// Nothing follows from it.
    Ignored {
        /// Why.
        reason: &'static str,
    },
}

fn only(values: &[Vec<u8>]) -> Result<&str, Refusal> {
    match values {
        [] => Err(Refusal::Unsigned),
        [value] if value.is_empty() => Err(Refusal::Unsigned),
        [value] => std::str::from_utf8(value).map_err(|_| Refusal::MalformedHeader),
        _ => Err(Refusal::MalformedHeader),
    }
}

/// Verifies GitHub's signature over a raw body; returns it.
///
/// # Errors
/// The reason for refusing.
pub fn verify<'a>(secret: Option<&SecretString>, signatures: &'a [Vec<u8>], body: &[u8]) -> Result<&'a str, Refusal> {
    let secret = secret.filter(|secret| !secret.expose_secret().trim().is_empty()).ok_or(Refusal::NoSecret)?;
    let signature = only(signatures)?;
    let digits =
        signature.strip_prefix("sha256=").filter(|digits| digits.len() == 64).ok_or(Refusal::MalformedHeader)?;
    // One spelling only, so that a copy is seen as one.
    let lower_hex = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    let expected = hex::decode(digits).ok().filter(|_| lower_hex).ok_or(Refusal::MalformedHeader)?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).map_err(|_| Refusal::NoSecret)?;
    mac.update(body);
    mac.verify_slice(&expected).map_err(|_| Refusal::Forged)?;
    Ok(signature)
}

impl Risk {
    /// Takes one delivery: verifies it, and puts what it asks for on the list.
    ///
    /// # Errors
    /// Of the store. Outer: something failed here; inner: why it was not let in, which is on the record.
    pub async fn receive(&self, delivery: &Delivery<'_>) -> Result<Result<Received, Refusal>, RiskError> {
        let received = self.admit(delivery).await?;
        if let Err(refusal) = &received {
            tracing::warn!(reason = refusal.code(), "a delivery of GitHub's webhook was refused");
            self.refusals().refused("unknown", NAME, refusal.code(), self.parts.ctx.clock.now()).await?;
        }
        Ok(received)
    }

    async fn admit(&self, delivery: &Delivery<'_>) -> Result<Result<Received, Refusal>, RiskError> {
        let (ctx, system_now) = (&self.parts.ctx, self.parts.system_clock.now());
        let secret = self.parts.destinations.webhook_secret();
        let signature = match verify(secret, &delivery.signatures, delivery.body) {
            Ok(signature) => signature,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let (event, id) = match (only(&delivery.events), only(&delivery.ids)) {
            (Ok(event), Ok(id)) if id.len() <= 100 => (event, id),
            _ => return Ok(Err(Refusal::MalformedHeader)),
        };
        let Ok(body) = serde_json::from_slice::<Value>(delivery.body) else { return Ok(Err(Refusal::MalformedBody)) };
        // GitHub sends a delivery again with the same id and signature, and so does whoever copied it: neither asks anew.
        let seen = [format!("github:delivery:{id}"), format!("github:{signature}")];
        for seen in &seen {
            if ctx.store.replay.is_remembered(&ctx.scope, seen, system_now).await? {
                return Ok(Ok(Received::AlreadyReceived));
            }
        }
        let taken = self.take(event, &body).await?;
        // Only now: what failed here must be taken when it is sent again. Asking twice at once puts one entry on the list.
        if taken.is_ok() {
            for seen in &seen {
                ctx.store.replay.remember_signature(&ctx.scope, seen, REMEMBER, system_now).await?;
            }
        }
        Ok(taken)
    }

    /// Puts what a verified delivery asks for on the list.
    async fn take(&self, event: &str, body: &Value) -> Result<Result<Received, Refusal>, RiskError> {
        let ctx = &self.parts.ctx;
        if event == "ping" {
            return Ok(Ok(Received::Pong));
        }
        if event != "pull_request" {
            return Ok(Ok(Received::Ignored { reason: "only pull_request events are of use" }));
        }
        let text = |path: &str| body.pointer(path).and_then(Value::as_str);
        let (Some(action), Some(repository), Some(number)) =
            (text("/action"), text("/repository/full_name"), body.get("number").and_then(Value::as_u64))
        else {
            return Ok(Err(Refusal::MalformedBody));
        };
        let Ok(target) = self.repository() else {
            return Ok(Ok(Received::Ignored { reason: "no repository is configured" }));
        };
        if !target.to_string().eq_ignore_ascii_case(repository) {
            return Ok(Ok(Received::Ignored { reason: "this is not the installation's repository" }));
        }
        let closed = action == "closed";
        if !closed && !SCORED.contains(&action) {
            return Ok(Ok(Received::Ignored { reason: "nothing changed that a score depends on" }));
        }
        let now = ctx.clock.now();
        ctx.store.risk.request_score(&ctx.scope, &target.to_string(), number, closed, now).await?;
        Ok(Ok(Received::Queued { pull_request: number }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> SecretString {
        SecretString::from("It's a Secret to Everybody".to_owned())
    }

    fn signed(text: &str) -> Vec<Vec<u8>> {
        vec![text.as_bytes().to_vec()]
    }

    #[test]
    fn githubs_own_example_verifies() {
        // From GitHub's page on validating webhook deliveries.
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(verify(Some(&secret()), &signed(signature), b"Hello, World!"), Ok(signature));
        assert_eq!(verify(Some(&secret()), &signed(signature), b"Hello, World?"), Err(Refusal::Forged));
    }

    #[test]
    fn without_a_secret_or_a_signature_nobody_is_let_in() {
        assert_eq!(verify(None, &signed("sha256=00"), b""), Err(Refusal::NoSecret));
        let blank = SecretString::from(" ".to_owned());
        assert_eq!(verify(Some(&blank), &signed("sha256=00"), b""), Err(Refusal::NoSecret));
        assert_eq!(verify(Some(&secret()), &[], b""), Err(Refusal::Unsigned));
        let upper = format!("sha256={}", "A".repeat(64));
        assert_eq!(verify(Some(&secret()), &signed(&upper), b""), Err(Refusal::MalformedHeader));
        assert_eq!(verify(Some(&secret()), &signed("sha1=00"), b""), Err(Refusal::MalformedHeader));
        let twice = [b"sha256=00".to_vec(), b"sha256=00".to_vec()];
        assert_eq!(verify(Some(&secret()), &twice, b""), Err(Refusal::MalformedHeader));
    }
}
