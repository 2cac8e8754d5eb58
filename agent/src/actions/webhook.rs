//! Telling a signal to a webhook.
//!
//! Owns the request and its signature. Must hold: the body that is signed is the stored one, byte for byte; the address
//! (it may hold a token) and the secret are in no error. A receiver gets a signal at least once and tells repetitions by the
//! `Idempotency-Key`.

use hmac::{Hmac, KeyInit, Mac};
use secrecy::SecretString;
use serde_json::json;
use sha2::Sha256;

use super::destinations::{WebhookDestination, expose};
use super::http::{Http, NoAnswer};
use super::kinds::SignalWebhook;
use super::outcome::Sent;
use super::schedule;

/// The lower-case hex HMAC-SHA256 of a body.
pub(crate) fn signature(secret: &SecretString, body: &[u8]) -> Result<String, String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(expose(secret).as_bytes())
        .map_err(|_| "WEBHOOK_SECRET cannot be used as a key".to_owned())?;
    mac.update(body);
    Ok(hex::encode(mac.finalize().into_bytes()))
}

/// Sends a signal.
pub(super) async fn send(http: &Http, webhook: &WebhookDestination, signal: &SignalWebhook, key: &str) -> Sent {
    let url = match &webhook.url {
        Some(Ok(url)) => url.clone(),
        Some(Err(problem)) => return Sent::Never(problem.clone()),
        None => return Sent::Never("WEBHOOK_URL is not set any more".to_owned()),
    };
    let mut request = http
        .client()
        .post(url)
        .header("content-type", "application/json")
        .header("x-dunetrace-event", signal.event.as_deref().unwrap_or("failure_signal"))
        .header("x-dunetrace-version", "1.0")
        .header("idempotency-key", key);
    if let Some(secret) = &webhook.secret {
        match signature(secret, signal.body.as_bytes()) {
            Ok(signature) => request = request.header("x-dunetrace-signature", signature),
            Err(why) => return Sent::Never(why),
        }
    }
    let answer = match http.send(request.body(signal.body.clone())).await {
        Ok(answer) => answer,
        Err(NoAnswer::NotSent(why)) => return Sent::NotNow { why: format!("webhook: {why}"), retry_after: None },
        Err(NoAnswer::Unclear { why, answered }) => {
            return Sent::Unclear { why: format!("webhook: {why}"), in_flight: answered.is_none() };
        }
    };
    if answer.status.is_success() {
        return Sent::Done(json!({"status": answer.status.as_u16()}));
    }
    // Whatever it is now, it may be repaired: a signal is not lost because a receiver was misconfigured for an hour.
    let retry_after = schedule::retry_after(answer.header("retry-after"), answer.header("date"));
    Sent::NotNow { why: format!("the webhook answered HTTP {}", answer.status), retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_hex_hmac_of_the_body() {
        // RFC 4231, test case 2.
        let signed = signature(&SecretString::from("Jefe"), b"what do ya want for nothing?").unwrap();
        assert_eq!(signed, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
