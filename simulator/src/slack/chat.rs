//! Slack's writes: posting and updating messages, and answering through a `response_url`.
//!
//! Must hold: `chat.update` needs a channel id and a message of our own; a `response_url` works
//! five times within thirty minutes.

use serde_json::{Value, json};

use super::store::{Handle, Store};
use super::{APP, Answer, Args, BOT, BOT_USER, Refusal, TEAM, TEAM_DOMAIN, blocks};
use crate::http::{Call, Reply};
use crate::item::Item;
use crate::time::{self, Micros, slack_ts};

const MAX_TEXT: usize = 40_000;
/// How long a `response_url` works.
pub(crate) const RESPONSE_TIME: Micros = 30 * time::MINUTE;
/// How often a `response_url` works.
pub(crate) const RESPONSE_USES: u32 = 5;

/// The content of a message, from arguments or a JSON body.
struct Content {
    text: Option<String>,
    blocks: Option<Value>,
    attachments: Option<Value>,
    metadata: Option<Value>,
}

impl Content {
    fn read(get: impl Fn(&str) -> Option<Value>) -> Result<Self, Refusal> {
        let structured = |name: &str, error: &str| -> Result<Option<Value>, Refusal> {
            match get(name) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) if text.is_empty() => Ok(None),
                Some(Value::String(text)) => serde_json::from_str(&text).map(Some).map_err(|_| Refusal::new(error)),
                Some(value) => Ok(Some(value)),
            }
        };
        let text = match get("text") {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        if text.as_ref().is_some_and(|text| text.chars().count() > MAX_TEXT) {
            return Err(Refusal::new("msg_too_long"));
        }
        let blocks = structured("blocks", "invalid_blocks_format")?;
        if let Some(blocks) = &blocks {
            blocks::check(blocks).map_err(|why| {
                Refusal(json!({
                    "ok": false, "error": "invalid_blocks", "errors": [why],
                    "response_metadata": {"messages": [format!("[ERROR] {why}")]},
                }))
            })?;
        }
        let metadata = structured("metadata", "invalid_metadata_format")?;
        let fits = |m: &Value| {
            m.get("event_type").is_some_and(Value::is_string) && m.get("event_payload").is_some_and(Value::is_object)
        };
        if metadata.as_ref().is_some_and(|m| !fits(m)) {
            return Err(Refusal::new("invalid_metadata_format"));
        }
        Ok(Self {
            text,
            blocks: blocks.map(blocks::with_ids),
            attachments: structured("attachments", "invalid_attachments")?,
            metadata,
        })
    }

    fn of_args(args: &Args) -> Result<Self, Refusal> {
        Self::read(|name| args.params.get(name).map(|text| Value::String(text.to_owned())))
    }

    fn is_empty(&self) -> bool {
        self.text.as_ref().is_none_or(String::is_empty) && self.blocks.is_none() && self.attachments.is_none()
    }

    /// Writes the parts that were given over a message.
    fn apply(&self, item: &mut Item) {
        if let Some(text) = &self.text {
            item.set_text("text", text);
        }
        for (key, value) in [("blocks", &self.blocks), ("attachments", &self.attachments), ("metadata", &self.metadata)]
        {
            if let Some(value) = value {
                item.set_value(key, value);
            }
        }
    }
}

/// `chat.postMessage`.
pub(crate) fn post(store: &mut Store, args: &Args) -> Answer {
    let wanted = args.params.filled("channel").unwrap_or_default();
    let channel = store.channel_by_any(wanted, args.horizon).ok_or_else(|| Refusal::new("channel_not_found"))?;
    if channel.item.raw("is_archived") == Some("true") {
        return Err(Refusal::new("is_archived"));
    }
    if !store.is_member(channel) && channel.item.raw("is_private") == Some("true") {
        return Err(Refusal::new("not_in_channel"));
    }
    let channel = channel.id.clone();
    let content = Content::of_args(args)?;
    if content.is_empty() {
        return Err(Refusal::new("no_text"));
    }
    let thread = args.params.filled("thread_ts");
    if let Some(thread) = thread
        && store.message(&channel, thread, args.horizon).is_none()
    {
        return Err(Refusal::new("thread_not_found"));
    }
    let ts = store.next_ts(args.now);
    let mut item = own_message(&ts, args.now);
    content.apply(&mut item);
    if let Some(thread) = thread {
        item.set_text("thread_ts", thread);
        item.set_text("parent_user_id", BOT_USER);
        if args.params.flag("reply_broadcast") {
            item.set_text("subtype", "thread_broadcast");
        }
    }
    let shown = item.to_value();
    store.post(&channel, item, args.now);
    Ok(json!({"ok": true, "channel": &*channel, "ts": ts, "message": shown}))
}

fn own_message(ts: &str, now: Micros) -> Item {
    Item::new()
        .with_text("user", BOT_USER)
        .with_text("type", "message")
        .with_text("ts", ts)
        .with_text("bot_id", BOT)
        .with_text("app_id", APP)
        .with_text("text", "")
        .with_text("team", TEAM)
        .with(
            "bot_profile",
            &json!({"id": BOT, "app_id": APP, "name": "tripline", "deleted": false, "updated": now / time::SECOND, "team_id": TEAM,
                    "icons": {"image_36": "https://a.slack-edge.com/36.png", "image_48": "https://a.slack-edge.com/48.png",
                              "image_72": "https://a.slack-edge.com/72.png"}}),
        )
}

/// `chat.update`: a channel id, and a message of ours.
pub(crate) fn update(store: &mut Store, args: &Args) -> Answer {
    let id = args.params.filled("channel").unwrap_or_default();
    let channel = store.channel(id, args.horizon).ok_or_else(|| Refusal::new("channel_not_found"))?.id.clone();
    let ts = args.params.filled("ts").unwrap_or_default();
    let message = store.message(&channel, ts, args.horizon).ok_or_else(|| Refusal::new("message_not_found"))?;
    if !message.ours {
        return Err(Refusal::new("cant_update_message"));
    }
    let content = Content::of_args(args)?;
    if content.is_empty() {
        return Err(Refusal::new("no_text"));
    }
    store.change(&channel, ts, |item| edit(item, &content, args.now));
    let changed = store.message(&channel, ts, args.horizon).map(|m| m.item.to_value()).unwrap_or_default();
    let text = changed.get("text").cloned().unwrap_or_default();
    Ok(json!({"ok": true, "channel": &*channel, "ts": ts, "text": text, "message": changed}))
}

fn edit(item: &mut Item, content: &Content, now: Micros) {
    content.apply(item);
    item.set_value("edited", &json!({"user": BOT_USER, "ts": slack_ts(now)}));
}

/// `chat.getPermalink`.
pub(crate) fn permalink(store: &Store, args: &Args) -> Answer {
    let id = args.params.filled("channel").unwrap_or_default();
    let channel = store.channel(id, args.horizon).ok_or_else(|| Refusal::new("channel_not_found"))?;
    let ts = args.params.filled("message_ts").unwrap_or_default();
    store.message(&channel.id, ts, args.horizon).ok_or_else(|| Refusal::new("message_not_found"))?;
    let digits = ts.replace('.', "");
    Ok(json!({
        "ok": true, "channel": &*channel.id,
        "permalink": format!("https://{TEAM_DOMAIN}.slack.com/archives/{}/p{digits}", channel.id),
    }))
}

/// `POST /slack/response/{id}`: replace, delete or follow up on the message a button was in.
pub(crate) fn respond(store: &mut Store, call: &Call, id: &str, now: Micros) -> Reply {
    let refused = |status: u16, why: &str| Reply::value(status, &json!({"ok": false, "error": why}));
    let Some(handle) = store.handles.get_mut(id) else {
        return refused(404, "no_service");
    };
    if now > handle.until {
        return refused(404, "expired_url");
    }
    if handle.uses >= RESPONSE_USES {
        return refused(404, "used_url");
    }
    let Some(body) = call.json().filter(Value::is_object) else {
        return refused(400, "invalid_payload");
    };
    handle.uses += 1;
    let Handle { channel, ts, .. } = handle.clone();
    let flag = |name: &str| body.get(name).and_then(Value::as_bool).unwrap_or(false);
    let content = match Content::read(|name| body.get(name).cloned()) {
        Ok(content) => content,
        Err(Refusal(body)) => return Reply::value(400, &body),
    };
    if flag("delete_original") {
        store.delete(&channel, &ts);
    } else if content.is_empty() {
        return refused(400, "no_text");
    } else if flag("replace_original") {
        let changed = store.change(&channel, &ts, |item| {
            // Replacing with text alone takes the buttons away.
            if content.blocks.is_none() {
                item.remove("blocks");
            }
            edit(item, &content, now);
        });
        if !changed {
            return refused(404, "message_not_found");
        }
    } else {
        let new_ts = store.next_ts(now);
        let mut item = own_message(&new_ts, now);
        content.apply(&mut item);
        // An ephemeral answer is seen by one person and is in no history.
        if body.get("response_type").and_then(Value::as_str) == Some("in_channel") {
            store.post(&channel, item, now);
        }
    }
    Reply::value(200, &json!({"ok": true})).wrote(call)
}
