//! Slack's request signature, version 0.
//!
//! Owns the verification of one request's headers against its raw body. Does not own replays, the record of what was
//! refused, or what the body says.
//!
//! Must hold: without a secret nothing passes; the comparison takes constant time; the time is the system's, since
//! Slack's stamp is (seed 003 promises the signature, its reference skipped it when no secret was set, and let replays
//! through).

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// How far Slack's stamp may be from the system's clock, in seconds, either way.
pub const TOLERANCE_SECONDS: u64 = 300;

/// The values of the two headers, as they came. A header that was sent twice has two values.
#[derive(Debug, Clone, Default)]
pub struct SignatureHeaders {
    /// Values of `X-Slack-Request-Timestamp`.
    pub timestamps: Vec<Vec<u8>>,
    /// Values of `X-Slack-Signature`.
    pub signatures: Vec<Vec<u8>>,
}

/// Why a webhook was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No signing secret is configured: nobody can be let in.
    NoSecret,
    /// A header is missing.
    Unsigned,
    /// A header was sent twice, or is no text of its form.
    MalformedHeader,
    /// The stamp is too far from now.
    Stale,
    /// The signature is not that of the body.
    Forged,
    /// The very request was accepted before.
    Replayed,
    /// The body is too large, or is not what Slack sends.
    MalformedBody,
}

impl Refusal {
    /// A short stable word for machines and the audit log.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NoSecret => "no_secret",
            Self::Unsigned => "unsigned",
            Self::MalformedHeader => "malformed_header",
            Self::Stale => "stale",
            Self::Forged => "forged",
            Self::Replayed => "replayed",
            Self::MalformedBody => "malformed_body",
        }
    }
}

/// A signature that is right. The text identifies the request, for the replay guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The signature, as it came.
    pub signature: String,
}

/// Verifies Slack's signature over a raw body.
///
/// # Errors
/// The reason for refusing. Which check failed says nothing about the secret.
pub fn verify(
    secret: Option<&SecretString>,
    headers: &SignatureHeaders,
    body: &[u8],
    system_now: DateTime<Utc>,
) -> Result<Verified, Refusal> {
    let secret = secret.filter(|secret| !secret.expose_secret().trim().is_empty()).ok_or(Refusal::NoSecret)?;
    let timestamp = only_text(&headers.timestamps)?;
    let signature = only_text(&headers.signatures)?;

    // Digits only: a sign, blanks or an exponent would be one instant in several spellings.
    let is_number = !timestamp.is_empty() && timestamp.len() <= 12 && timestamp.bytes().all(|b| b.is_ascii_digit());
    let seconds: i64 = timestamp.parse().ok().filter(|_| is_number).ok_or(Refusal::MalformedHeader)?;
    let expected = signature.strip_prefix("v0=").filter(|digits| digits.len() == 64).ok_or(Refusal::MalformedHeader)?;
    let lower_hex = expected.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    // One spelling only, so that the replay guard sees one signature per request.
    let expected = hex::decode(expected).ok().filter(|_| lower_hex).ok_or(Refusal::MalformedHeader)?;

    if system_now.timestamp().abs_diff(seconds) > TOLERANCE_SECONDS {
        return Err(Refusal::Stale);
    }
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.expose_secret().trim().as_bytes()).map_err(|_| Refusal::NoSecret)?;
    mac.update(b"v0:");
    mac.update(timestamp.as_bytes());
    mac.update(b":");
    mac.update(body);
    mac.verify_slice(&expected).map_err(|_| Refusal::Forged)?;
    Ok(Verified { signature: signature.to_owned() })
}

/// The one value of a header, as text.
fn only_text(values: &[Vec<u8>]) -> Result<&str, Refusal> {
    match values {
        [] => Err(Refusal::Unsigned),
        [value] if value.is_empty() => Err(Refusal::Unsigned),
        [value] => std::str::from_utf8(value).map_err(|_| Refusal::MalformedHeader),
        _ => Err(Refusal::MalformedHeader),
    }
}

#[cfg(test)]
mod tests;
