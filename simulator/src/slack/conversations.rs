//! Slack's reads: channels, history, threads, users.
//!
//! Owns: cursors, time windows and limits of these methods.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::store::{Message, Store};
use super::{Answer, Args, Refusal};
use crate::time::{self, Micros, from_epoch_seconds};

const MAX_LIST: usize = 1000;
const MAX_HISTORY: usize = 999;
const DEFAULT_LIMIT: usize = 100;

fn limit(args: &Args, default: usize, max: usize) -> Result<usize, Refusal> {
    match args.params.filled("limit").map(str::parse::<i64>) {
        None | Some(Ok(0)) => Ok(default),
        Some(Ok(limit)) if limit < 0 => Err(Refusal::new("invalid_limit")),
        Some(Ok(limit)) => Ok(usize::try_from(limit).unwrap_or(max).min(max)),
        Some(Err(_)) => Err(Refusal::new("invalid_arguments")),
    }
}

/// Reads a cursor of the form `base64("<kind>:<rest>")`.
fn cursor(args: &Args, kind: &str) -> Result<Option<String>, Refusal> {
    let Some(text) = args.params.filled("cursor") else {
        return Ok(None);
    };
    STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| text.strip_prefix(kind)?.strip_prefix(':').map(str::to_owned))
        .map(Some)
        .ok_or_else(|| Refusal::new("invalid_cursor"))
}

fn make_cursor(kind: &str, rest: &str) -> String {
    STANDARD.encode(format!("{kind}:{rest}"))
}

/// One page of a list by offset, and the cursor of the next.
fn page<T: Clone>(args: &Args, items: &[T], kind: &str, size: usize) -> Result<(Vec<T>, String), Refusal> {
    let start = match cursor(args, kind)? {
        None => 0,
        Some(text) => text.parse::<usize>().map_err(|_| Refusal::new("invalid_cursor"))?,
    };
    let end = start.saturating_add(size).min(items.len());
    let shown = items.get(start..end).unwrap_or_default().to_vec();
    let next = if end < items.len() { make_cursor(kind, &end.to_string()) } else { String::new() };
    Ok((shown, next))
}

/// `conversations.list`.
pub(crate) fn list(store: &Store, args: &Args) -> Answer {
    let types = args.params.filled("types").unwrap_or("public_channel");
    let wanted: Vec<&str> = types.split(',').map(str::trim).collect();
    if wanted.iter().any(|kind| !["public_channel", "private_channel", "mpim", "im"].contains(kind)) {
        return Err(Refusal::new("invalid_types"));
    }
    let hide_archived = args.params.flag("exclude_archived");
    let found: Vec<Value> = store
        .channels
        .iter()
        .filter(|channel| {
            let is = |key: &str| channel.item.raw(key) == Some("true");
            let kind = if is("is_im") {
                "im"
            } else if is("is_mpim") {
                "mpim"
            } else if is("is_private") {
                "private_channel"
            } else {
                "public_channel"
            };
            wanted.contains(&kind)
                && !(hide_archived && is("is_archived"))
                && args.horizon.is_none_or(|now| channel.created <= now)
        })
        .map(|channel| channel.item.to_value())
        .collect();
    let (channels, next) = page(args, &found, "channel", limit(args, DEFAULT_LIMIT, MAX_LIST)?)?;
    Ok(json!({"ok": true, "channels": channels, "response_metadata": {"next_cursor": next}}))
}

/// `conversations.info`.
pub(crate) fn info(store: &Store, args: &Args) -> Answer {
    let id = args.params.filled("channel").unwrap_or_default();
    let channel = store.channel(id, args.horizon).ok_or_else(|| Refusal::new("channel_not_found"))?;
    Ok(json!({"ok": true, "channel": channel.item.to_value()}))
}

/// The window of `oldest`/`latest`, as `from <= ts < to`.
fn window(args: &Args) -> Result<(Option<Micros>, Option<Micros>), Refusal> {
    let inclusive = args.params.flag("inclusive");
    let bound = |name: &str| -> Result<Option<Micros>, Refusal> {
        args.params
            .filled(name)
            .filter(|text| *text != "now")
            .map(|text| from_epoch_seconds(text).ok_or_else(|| Refusal::new(&format!("invalid_ts_{name}"))))
            .transpose()
    };
    let edge = i64::from(inclusive);
    let from = bound("oldest")?.map(|at| if at == 0 { at } else { at + 1 - edge });
    let to = bound("latest")?.map(|at| at + edge);
    Ok((from, to))
}

/// The id of a channel that may be read. Messages of a channel that is in no list can be read by
/// those who know its id.
fn readable(store: &Store, args: &Args) -> Result<Box<str>, Refusal> {
    let id = args.params.filled("channel").unwrap_or_default();
    match store.channel(id, args.horizon) {
        Some(channel) if store.is_member(channel) => Ok(channel.id.clone()),
        Some(_) => Err(Refusal::new("not_in_channel")),
        None if store.has_messages(id) => Ok(id.into()),
        None => Err(Refusal::new("channel_not_found")),
    }
}

/// A message as an answer shows it: metadata only when asked for.
fn show(store: &Store, channel: &str, message: &Message, args: &Args) -> Value {
    let mut item = store.message_at(channel, message, args.horizon).into_owned();
    if message.ours && !args.params.flag("include_all_metadata") {
        item.remove("metadata");
    }
    item.to_value()
}

/// `conversations.history`: newest first.
pub(crate) fn history(store: &Store, args: &Args) -> Answer {
    let channel = readable(store, args)?;
    let size = limit(args, DEFAULT_LIMIT, MAX_HISTORY)?;
    let (from, mut to) = window(args)?;
    if let Some(next) = cursor(args, "next_ts")? {
        // The cursor names the newest message of the next page, in microseconds.
        let at: Micros = next.parse().map_err(|_| Refusal::new("invalid_cursor"))?;
        let after = at.saturating_add(1);
        to = Some(to.map_or(after, |to| to.min(after)));
    }
    let all = store.messages(&channel, from, to, args.horizon);
    let mut shown = all.iter().rev().filter(|m| !is_hidden_reply(store, &channel, m, args));
    let messages: Vec<Value> = shown.by_ref().take(size).map(|m| show(store, &channel, m, args)).collect();
    let next = shown.next().map_or_else(String::new, |m| make_cursor("next_ts", &m.at.to_string()));
    let has_more = !next.is_empty();
    Ok(json!({
        "ok": true, "messages": messages, "has_more": has_more, "pin_count": 0,
        "channel_actions_ts": null, "channel_actions_count": 0,
        "response_metadata": {"next_cursor": next},
    }))
}

/// Replies are not part of the history, unless the thread they belong to is not there at all.
fn is_hidden_reply(store: &Store, channel: &str, message: &Message, args: &Args) -> bool {
    message.thread.as_deref().is_some_and(|thread| store.message(channel, thread, args.horizon).is_some())
}

/// `conversations.replies`: the first message, then its replies, oldest first.
pub(crate) fn replies(store: &Store, args: &Args) -> Answer {
    let channel = readable(store, args)?;
    let ts = args.params.filled("ts").unwrap_or_default();
    let given = store.message(&channel, ts, args.horizon).ok_or_else(|| Refusal::new("thread_not_found"))?;
    let first = match given.thread.as_deref() {
        Some(thread) => store.message(&channel, thread, args.horizon).unwrap_or(given),
        None => given,
    };
    let (from, to) = window(args)?;
    let mut thread: Vec<Arc<Message>> = vec![Arc::clone(&first)];
    thread.extend(
        store
            .replies(&channel, &first.ts, args.horizon)
            .into_iter()
            .filter(|m| from.is_none_or(|from| m.at >= from) && to.is_none_or(|to| m.at < to)),
    );
    let shown: Vec<Value> = thread.iter().map(|m| show(store, &channel, m, args)).collect();
    let (messages, next) = page(args, &shown, "thread", limit(args, MAX_LIST, MAX_LIST)?)?;
    Ok(json!({
        "ok": true, "messages": messages, "has_more": !next.is_empty(),
        "response_metadata": {"next_cursor": next},
    }))
}

/// `users.list`.
pub(crate) fn users(store: &Store, args: &Args) -> Answer {
    let all: Vec<Value> = store.users.iter().map(|user| user.to_value()).collect();
    let (members, next) = page(args, &all, "user", limit(args, MAX_LIST, MAX_LIST)?)?;
    Ok(json!({
        "ok": true, "members": members, "cache_ts": args.now / time::SECOND,
        "response_metadata": {"next_cursor": next},
    }))
}

/// `users.info`.
pub(crate) fn user(store: &Store, args: &Args) -> Answer {
    let id = args.params.filled("user").unwrap_or_default();
    store
        .users
        .iter()
        .find(|user| &*user.key("id") == id)
        .map(|user| json!({"ok": true, "user": user.to_value()}))
        .ok_or_else(|| Refusal::new("user_not_found"))
}
