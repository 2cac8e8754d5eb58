//! Pressing a button of a Slack message: the signed `block_actions` request Slack would send.
//!
//! Owns: composing, signing (v0) and sending it.
//! Must hold: the signature is over the very bytes that are sent, with the system's time, since a
//! receiver compares with its own.

use std::sync::{OnceLock, PoisonError};
use std::time::Duration;

use chrono::Utc;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::http::{Call, Reply};
use crate::server::Shared;
use crate::slack::{self, Handle};
use crate::time::{SECOND, slack_ts};

/// Slack waits three seconds for an answer; a debugger may take longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// `POST /_click {"request_url", "signing_secret", "user", "channel", "ts", "action_id"}`.
///
/// Answers `{"status": N, "body": …}` with what the receiver answered.
pub(crate) async fn click(shared: &Shared, call: &Call) -> Reply {
    let body = call.json().unwrap_or_default();
    let field = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let (Some(url), Some(secret), Some(user), Some(channel), Some(ts), Some(action_id)) = (
        field("request_url"),
        field("signing_secret"),
        field("user"),
        field("channel"),
        field("ts"),
        field("action_id"),
    ) else {
        return refused(400, "expected request_url, signing_secret, user, channel, ts and action_id, all texts");
    };
    let payload = match press(shared, call, user, channel, ts, action_id) {
        Ok(payload) => payload,
        Err(reply) => return reply,
    };
    let form =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish();
    let timestamp = Utc::now().timestamp().to_string();
    let Some(signature) = sign(secret, &timestamp, &form) else {
        return refused(400, "the signing secret cannot be used as a key");
    };
    let Some(client) = client() else {
        return refused(500, "no HTTP client could be made");
    };
    let sent = client
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .header("user-agent", "Slackbot 1.0 (+https://api.slack.com/robots)")
        .header("x-slack-request-timestamp", &timestamp)
        .header("x-slack-signature", &signature)
        .body(form)
        .send()
        .await;
    match sent {
        Ok(response) => {
            let status = response.status().as_u16();
            let body = response.text().await.unwrap_or_default();
            Reply::value(200, &json!({"status": status, "body": body}))
        }
        Err(error) => refused(502, &format!("the receiver did not answer: {}", error.without_url())),
    }
}

fn refused(status: u16, why: &str) -> Reply {
    Reply::value(status, &json!({ "error": why }))
}

/// Slack's v0 signature of a raw body.
pub(crate) fn sign(secret: &str, timestamp: &str, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("v0:{timestamp}:{body}").as_bytes());
    Some(format!("v0={}", hex::encode(mac.finalize().into_bytes())))
}

/// The payload of a press, and the `response_url` that goes with it.
fn press(shared: &Shared, call: &Call, user: &str, channel: &str, ts: &str, action_id: &str) -> Result<Value, Reply> {
    let now = shared.clock.now();
    let mut store = shared.slack.store.write().unwrap_or_else(PoisonError::into_inner);
    let Some(found) = store.channel_by_any(channel, None) else {
        return Err(refused(404, "no such channel"));
    };
    let (channel_id, channel_name) = (found.id.to_string(), found.name.to_string());
    let Some(message) = store.message(&channel_id, ts, None) else {
        return Err(refused(404, "no such message"));
    };
    let message_value = message.item.to_value();
    let blocks = message.item.value("blocks");
    let Some((element, block_id)) = slack::find_action(&blocks, action_id) else {
        return Err(refused(404, "the message has no element with that action_id"));
    };
    let name = store
        .users
        .iter()
        .find(|known| &*known.key("id") == user)
        .map_or_else(|| user.to_lowercase(), |known| known.key("name").into());
    let serial = store.handles.len() + 1;
    let handle = format!("{}-{serial}", hex::encode(format!("{channel_id}{ts}")));
    store.handles.insert(
        handle.clone(),
        Handle {
            channel: channel_id.as_str().into(),
            ts: ts.into(),
            uses: 0,
            until: now.saturating_add(slack::RESPONSE_TIME),
        },
    );
    let pressed_at = slack_ts(Utc::now().timestamp_micros());
    let mut action = json!({
        "type": element.get("type"), "action_id": action_id, "block_id": block_id,
        "text": element.get("text"), "action_ts": pressed_at,
    });
    if let Some(object) = action.as_object_mut() {
        for key in ["value", "style", "selected_option"] {
            if let Some(value) = element.get(key) {
                object.insert(key.to_owned(), value.clone());
            }
        }
    }
    Ok(json!({
        "type": "block_actions",
        "user": {"id": user, "username": name, "name": name, "team_id": slack::TEAM},
        "api_app_id": slack::APP,
        "token": "deprecated-verification-token",
        "container": {"type": "message", "message_ts": ts, "channel_id": channel_id, "is_ephemeral": false},
        "trigger_id": format!("{}.{serial}.simulated", Utc::now().timestamp_micros() / SECOND),
        "team": {"id": slack::TEAM, "domain": slack::TEAM_DOMAIN},
        "enterprise": null,
        "is_enterprise_install": false,
        "channel": {"id": channel_id, "name": channel_name},
        "message": message_value,
        "state": {"values": {}},
        "response_url": format!("{}/slack/response/{handle}", call.origin),
        "actions": [action],
    }))
}

/// One client for all clicks: connections are reused as Slack's are.
fn client() -> Option<&'static reqwest::Client> {
    static CLIENT: OnceLock<Option<reqwest::Client>> = OnceLock::new();
    CLIENT
        .get_or_init(|| {
            // Another part of the process may have chosen a provider already; either will do.
            let _chosen_before = rustls::crypto::ring::default_provider().install_default();
            reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build().ok()
        })
        .as_ref()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_in_slacks_documentation() {
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
                    &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
                    &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
                    &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let signed = sign("8f742231b10e8888abcd99yyyzzz85a5", "1531420618", body);
        assert_eq!(signed.as_deref(), Some("v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"));
    }
}
