//! Slack's data: channels, users, and messages per channel.
//!
//! Owns: indexing, unique timestamps for new messages, threads.
//! Must hold: a message posted here is visible from the moment it was posted, whatever its `ts`
//! needed to be unique; a thread's summary counts only replies that have been made.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::dataset::{Collection, Dataset};
use crate::item::Item;
use crate::time::{self, Micros, from_epoch_seconds};
use crate::timeline::{TIMELESS, Timed, Timeline};

/// New messages of one moment get timestamps up to this far ahead of it.
const AHEAD: Micros = 10 * time::SECOND;

/// A channel.
#[derive(Debug)]
pub(crate) struct Channel {
    pub item: Item,
    pub id: Box<str>,
    pub name: Box<str>,
    pub created: Micros,
}

/// A message.
#[derive(Debug)]
pub(crate) struct Message {
    pub item: Item,
    pub ts: Box<str>,
    pub at: Micros,
    /// When it came to be: its `ts`, or the moment it was posted here.
    pub since: Micros,
    /// The message it replies to.
    pub thread: Option<Box<str>>,
    /// Whether this app posted it.
    pub ours: bool,
}

impl Message {
    fn new(item: Item, since: Option<Micros>) -> Self {
        let ts = item.key("ts");
        let at = from_epoch_seconds(&ts).unwrap_or(TIMELESS);
        let thread = item.key("thread_ts");
        let broadcast = &*item.key("subtype") == "thread_broadcast";
        let is_reply = !thread.is_empty() && thread != ts && !broadcast;
        Self { at, since: since.unwrap_or(at), thread: is_reply.then_some(thread), ours: since.is_some(), ts, item }
    }

    pub(crate) fn is_visible(&self, horizon: Option<Micros>) -> bool {
        horizon.is_none_or(|now| self.since <= now)
    }
}

impl Timed for Message {
    fn order(&self) -> (Micros, &str, &str) {
        (self.at, &self.ts, "")
    }
}

/// What a `response_url` leads to.
#[derive(Debug, Clone)]
pub(crate) struct Handle {
    pub channel: Box<str>,
    pub ts: Box<str>,
    pub uses: u32,
    pub until: Micros,
}

/// Everything Slack has.
#[derive(Debug, Default)]
pub(crate) struct Store {
    pub channels: Vec<Channel>,
    pub users: Vec<Item>,
    pub handles: HashMap<String, Handle>,
    messages: HashMap<Box<str>, Timeline<Message>>,
    /// Messages whose channel is not named: they are in every channel.
    anywhere: Vec<Arc<Message>>,
    last_ts: Micros,
}

impl Store {
    /// Takes the Slack collections out of a dataset.
    pub(crate) fn new(dataset: &mut Dataset) -> Self {
        let channels: Vec<Channel> = dataset
            .take(Collection::SlackChannels)
            .into_iter()
            .map(|mut item| {
                item.split_parents();
                Channel {
                    id: item.key("id"),
                    name: item.key("name"),
                    created: item.time("created").unwrap_or(TIMELESS),
                    item,
                }
            })
            .collect();
        let users = dataset
            .take(Collection::SlackUsers)
            .into_iter()
            .map(|mut item| {
                item.split_parents();
                item
            })
            .collect();
        let mut by_channel: HashMap<Box<str>, Vec<Message>> = HashMap::new();
        let mut anywhere = Vec::new();
        for mut item in dataset.take(Collection::SlackMessages) {
            let parents = item.split_parents();
            let named = parents.first_key(&["_channel", "_channel_id"]).or_else(|| item.first_key(&["channel"]));
            let Some(named) = named else {
                anywhere.push(Arc::new(Message::new(item, None)));
                continue;
            };
            let named = named.trim_start_matches('#');
            let id = channels
                .iter()
                .find(|c| &*c.id == named || &*c.name == named)
                .map_or_else(|| named.into(), |c| c.id.clone());
            by_channel.entry(id).or_default().push(Message::new(item, None));
        }
        Self {
            channels,
            users,
            anywhere,
            messages: by_channel.into_iter().map(|(id, messages)| (id, Timeline::new(messages))).collect(),
            ..Self::default()
        }
    }

    /// A visible channel by id.
    pub(crate) fn channel(&self, id: &str, horizon: Option<Micros>) -> Option<&Channel> {
        self.channels.iter().find(|c| &*c.id == id && horizon.is_none_or(|now| c.created <= now))
    }

    /// A visible channel by id, `#name` or name.
    pub(crate) fn channel_by_any(&self, text: &str, horizon: Option<Micros>) -> Option<&Channel> {
        self.channel(text, horizon).or_else(|| {
            let name = text.trim_start_matches('#');
            self.channels.iter().find(|c| &*c.name == name && horizon.is_none_or(|now| c.created <= now))
        })
    }

    /// Whether any message names a channel.
    pub(crate) fn has_messages(&self, channel: &str) -> bool {
        self.messages.get(channel).is_some_and(|messages| !messages.all().is_empty())
    }

    /// Whether the app may read and write a channel. A channel whose messages were recorded could
    /// be read, whatever its `is_member` says.
    pub(crate) fn is_member(&self, channel: &Channel) -> bool {
        channel.item.raw("is_member") != Some("false") || self.has_messages(&channel.id)
    }

    /// The visible messages of a channel with `oldest <= ts < end`, oldest first.
    pub(crate) fn messages(
        &self,
        channel: &str,
        oldest: Option<Micros>,
        end: Option<Micros>,
        horizon: Option<Micros>,
    ) -> Vec<Arc<Message>> {
        let ahead = horizon.map(|now| now.saturating_add(AHEAD));
        let mut found: Vec<Arc<Message>> = self
            .messages
            .get(channel)
            .map_or(&[][..], |messages| messages.between(oldest, end, ahead))
            .iter()
            .filter(|m| m.is_visible(horizon))
            .cloned()
            .collect();
        if !self.anywhere.is_empty() {
            found.extend(
                self.anywhere
                    .iter()
                    .filter(|m| {
                        m.is_visible(horizon)
                            && oldest.is_none_or(|oldest| m.at >= oldest)
                            && end.is_none_or(|end| m.at < end)
                    })
                    .cloned(),
            );
            found.sort_by(|a, b| a.order().cmp(&b.order()));
        }
        found
    }

    /// A visible message by its timestamp.
    pub(crate) fn message(&self, channel: &str, ts: &str, horizon: Option<Micros>) -> Option<Arc<Message>> {
        let at = from_epoch_seconds(ts)?;
        self.messages(channel, Some(at), Some(at + 1), horizon).into_iter().find(|m| &*m.ts == ts)
    }

    /// The visible replies to a message, oldest first.
    pub(crate) fn replies(&self, channel: &str, ts: &str, horizon: Option<Micros>) -> Vec<Arc<Message>> {
        self.messages(channel, None, None, horizon).into_iter().filter(|m| m.thread.as_deref() == Some(ts)).collect()
    }

    /// A message as the API would have it at the horizon.
    pub(crate) fn message_at<'a>(&self, channel: &str, message: &'a Message, horizon: Option<Micros>) -> Cow<'a, Item> {
        let Some(now) = horizon else {
            return Cow::Borrowed(&message.item);
        };
        let mut item = Cow::Borrowed(&message.item);
        let edited = item.value("edited");
        let edited_at = edited.get("ts").and_then(Value::as_str).and_then(from_epoch_seconds);
        if edited_at.is_some_and(|at| at > now) {
            item.to_mut().remove("edited");
        }
        let latest = from_epoch_seconds(&item.key("latest_reply"));
        if latest.is_some_and(|at| at > now) {
            let known = self.replies(channel, &message.ts, None);
            let seen = self.replies(channel, &message.ts, horizon);
            // A reply posted here may bear a time a little ahead, and has been made all the same.
            if known.is_empty() || seen.len() < known.len() {
                summarise(item.to_mut(), &seen);
            }
        }
        item
    }

    /// A timestamp that no message has yet.
    pub(crate) fn next_ts(&mut self, now: Micros) -> String {
        self.last_ts = now.max(self.last_ts.saturating_add(1));
        // A clock that was set back starts over, unless that moment is taken.
        if self.last_ts > now.saturating_add(AHEAD) {
            self.last_ts = now;
        }
        let taken = |ts: &str| self.messages.values().any(|messages| messages.all().iter().any(|m| &*m.ts == ts));
        let mut ts = time::slack_ts(self.last_ts);
        while taken(&ts) {
            self.last_ts += 1;
            ts = time::slack_ts(self.last_ts);
        }
        ts
    }

    /// Posts a message, and brings its thread's summary up to date.
    pub(crate) fn post(&mut self, channel: &str, item: Item, now: Micros) {
        let message = Message::new(item, Some(now));
        let thread = message.thread.clone();
        self.messages.entry(channel.into()).or_default().insert(Arc::new(message));
        if let Some(thread) = thread {
            let replies = self.replies(channel, &thread, None);
            self.change(channel, &thread, |item| summarise(item, &replies));
        }
    }

    /// Changes a message in place. Returns whether there was one.
    pub(crate) fn change(&mut self, channel: &str, ts: &str, change: impl FnOnce(&mut Item)) -> bool {
        let Some(old) = self.message(channel, ts, None) else {
            return false;
        };
        let mut item = old.item.clone();
        change(&mut item);
        let mut new = Message::new(item, Some(old.since));
        new.ours = old.ours;
        if let Some(messages) = self.messages.get_mut(channel) {
            messages.replace(&old, Arc::new(new));
        }
        true
    }

    /// Removes a message.
    pub(crate) fn delete(&mut self, channel: &str, ts: &str) {
        if let Some(old) = self.message(channel, ts, None)
            && let Some(messages) = self.messages.get_mut(channel)
        {
            messages.remove(&old);
        }
    }
}

/// Writes a thread's summary on its first message; without replies there is none.
fn summarise(item: &mut Item, replies: &[Arc<Message>]) {
    let Some(last) = replies.last() else {
        for key in
            ["thread_ts", "reply_count", "reply_users", "reply_users_count", "latest_reply", "subscribed", "is_locked"]
        {
            item.remove(key);
        }
        return;
    };
    let mut users: Vec<Box<str>> = Vec::new();
    for reply in replies {
        let user = reply.item.first_key(&["user", "bot_id"]).unwrap_or_default();
        if !users.contains(&user) {
            users.push(user);
        }
    }
    let ts = item.key("ts");
    item.set_text("thread_ts", &ts);
    item.set_raw("reply_count", replies.len().to_string());
    item.set_raw("reply_users_count", users.len().to_string());
    item.set_text("latest_reply", &last.ts);
    item.set_value("reply_users", &json!(users));
    item.set_raw("is_locked", "false");
    item.set_raw("subscribed", "true");
}
