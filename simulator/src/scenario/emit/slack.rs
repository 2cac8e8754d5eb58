//! Slack's form of what people say: channels, users, messages with threads.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::dataset::Collection;
use crate::item::Item;
use crate::scenario::company::{CHANNELS, PEOPLE, channel, person};
use crate::scenario::plan::{Plan, Say};
use crate::slack::TEAM;
use crate::time::{DAY, MINUTE, Micros, SECOND, slack_ts};

/// Writes everything Slack has.
pub(crate) fn emit(plan: &mut Plan) {
    let created = (plan.start() - 500 * DAY) / SECOND;
    for (id, name, topic, _) in CHANNELS {
        let note = json!({"value": topic, "creator": PEOPLE[0].slack, "last_set": created});
        let value = json!({
            "id": id, "name": name, "name_normalized": name, "created": created, "creator": PEOPLE[0].slack,
            "is_archived": false, "is_channel": true, "is_general": name == "engineering", "is_group": false,
            "is_im": false, "is_mpim": false, "is_private": false, "is_member": true, "is_shared": false,
            "is_org_shared": false, "is_ext_shared": false, "is_pending_ext_shared": false, "pending_shared": [],
            "unlinked": 0, "num_members": 9, "previous_names": [], "shared_team_ids": [TEAM], "topic": note, "purpose": note,
        });
        push(plan, Collection::SlackChannels, &value);
    }
    for person in &PEOPLE {
        let value = json!({
            "id": person.slack, "team_id": TEAM, "name": person.login, "real_name": person.name, "deleted": false,
            "color": "9f69e7", "tz": "Europe/Amsterdam", "tz_label": "Central European Time", "tz_offset": 3600,
            "is_admin": false, "is_owner": false, "is_primary_owner": false, "is_restricted": false,
            "is_ultra_restricted": false, "is_bot": false, "is_app_user": false, "updated": created,
            "profile": {"real_name": person.name, "real_name_normalized": person.name, "display_name": person.login,
                        "display_name_normalized": person.login, "title": "", "phone": "", "skype": "", "status_text": "",
                        "status_emoji": "", "avatar_hash": "g0000000", "fields": {}, "team": TEAM,
                        "email": format!("{}@acme-shop.example", person.login)},
        });
        push(plan, Collection::SlackUsers, &value);
    }
    let mut says = std::mem::take(&mut plan.says);
    says.sort_by(|a, b| (a.at, &a.text).cmp(&(b.at, &b.text)));
    let mut taken = HashSet::new();
    for say in &says {
        message(plan, say, &mut taken);
    }
    plan.says = says;
}

fn push(plan: &mut Plan, collection: Collection, value: &Value) {
    if let Some(item) = Item::from_value(value) {
        plan.dataset.push(collection, item);
    }
}

/// A timestamp nobody has yet: Slack's are unique.
fn unique(at: Micros, taken: &mut HashSet<Micros>) -> String {
    let mut at = at;
    while !taken.insert(at) {
        at += 100;
    }
    slack_ts(at)
}

fn plain(text: &str, who: usize, ts: &str, channel: &str) -> Value {
    json!({
        "type": "message", "user": person(who).slack, "text": text, "ts": ts, "team": TEAM,
        "client_msg_id": format!("msg-{ts}"),
        "blocks": [{"type": "rich_text", "block_id": "rt", "elements": [{"type": "rich_text_section",
                    "elements": [{"type": "text", "text": text}]}]}],
        "_channel": channel,
    })
}

fn message(plan: &mut Plan, say: &Say, taken: &mut HashSet<Micros>) {
    let id = channel(say.channel);
    let ts = unique(say.at, taken);
    let mut first = plain(&say.text, say.person, &ts, id);
    let mut replies = Vec::new();
    let mut latest = ts.clone();
    for (index, (who, text)) in say.replies.iter().enumerate() {
        let at = say.at + (index as i64 + 1) * 4 * MINUTE + 700_000;
        latest = unique(at, taken);
        let mut reply = plain(text, *who, &latest, id);
        if let Some(object) = reply.as_object_mut() {
            object.insert("thread_ts".to_owned(), json!(ts));
            object.insert("parent_user_id".to_owned(), json!(person(say.person).slack));
        }
        replies.push(reply);
    }
    if let (Some(object), false) = (first.as_object_mut(), replies.is_empty()) {
        let mut users: Vec<&str> = say.replies.iter().map(|(who, _)| person(*who).slack).collect();
        users.sort_unstable();
        users.dedup();
        object.insert("thread_ts".to_owned(), json!(ts));
        object.insert("reply_count".to_owned(), json!(replies.len()));
        object.insert("reply_users_count".to_owned(), json!(users.len()));
        object.insert("reply_users".to_owned(), json!(users));
        object.insert("latest_reply".to_owned(), json!(latest));
        object.insert("is_locked".to_owned(), json!(false));
        object.insert("subscribed".to_owned(), json!(false));
    }
    push(plan, Collection::SlackMessages, &first);
    for reply in &replies {
        push(plan, Collection::SlackMessages, reply);
    }
}
