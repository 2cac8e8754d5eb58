//! A story as the vendors' own JSON.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::story::Rollout;
use super::{Collections, Vocabulary};
use crate::harness::Account;

/// A model call.
pub(super) struct Call {
    pub(super) id: String,
    pub(super) trace: String,
    pub(super) name: String,
    pub(super) model: String,
    pub(super) started: DateTime<Utc>,
    pub(super) ended: DateTime<Utc>,
    pub(super) cost_usd: f64,
    pub(super) output: Value,
}

/// One observation.
pub(super) enum Step {
    Call(Call),
    Tool { id: String, trace: String, name: String, started: DateTime<Utc>, output: String },
}

/// One issue with its events.
pub(super) struct Failure {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) number: usize,
    pub(super) events: Vec<(String, DateTime<Utc>)>,
    /// The file of its stack frames, where it is one of the repository's.
    pub(super) file: Option<usize>,
}

/// One commit.
pub(super) struct Change {
    pub(super) sha: String,
    pub(super) committed_at: DateTime<Utc>,
    pub(super) live_at: DateTime<Utc>,
    /// None of them: a page of documentation.
    pub(super) files: Vec<usize>,
    pub(super) number: usize,
    pub(super) author: usize,
}

/// Everything that happened.
#[derive(Default)]
pub(super) struct Happened {
    pub(super) steps: Vec<Step>,
    pub(super) failures: Vec<Failure>,
    pub(super) changes: Vec<Change>,
    /// When, which words, which channel.
    pub(super) talk: Vec<(DateTime<Utc>, usize, usize)>,
}

fn millis(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub(super) fn collections(account: &Account, words: &Vocabulary, rollout: Rollout, happened: &Happened) -> Collections {
    let mut collections = vec![
        ("langfuse/projects", vec![json!({"id": "p1", "name": words.plain("langfuse", 0)})]),
        ("langfuse/observations", happened.steps.iter().map(observation).collect()),
        ("langfuse/traces", happened.steps.iter().filter_map(trace).collect()),
    ];
    collections.extend(sentry(account, words, &happened.failures));
    collections.extend(github(account, words, rollout, &happened.changes));
    collections.extend(slack(words, &happened.talk));
    collections
}

fn observation(step: &Step) -> Value {
    match step {
        Step::Call(call) => json!({
            "id": call.id, "traceId": call.trace, "type": "GENERATION", "name": call.name, "model": call.model,
            "startTime": millis(call.started), "endTime": millis(call.ended), "level": "DEFAULT", "statusMessage": null,
            "parentObservationId": null, "environment": "production", "input": {"question": "?"},
            "output": call.output, "metadata": {}, "modelParameters": {},
            "usage": {"input": 90, "output": 60, "total": 150, "unit": "TOKENS"},
            "usageDetails": {"input": 90, "output": 60, "total": 150},
            "costDetails": {"total": call.cost_usd}, "calculatedTotalCost": call.cost_usd,
        }),
        Step::Tool { id, trace, name, started, output } => json!({
            "id": id, "traceId": trace, "type": "SPAN", "name": name, "model": null, "startTime": millis(*started),
            "endTime": millis(*started + TimeDelta::milliseconds(350)), "level": "DEFAULT", "statusMessage": null,
            "parentObservationId": null, "environment": "production", "input": {}, "output": output, "metadata": {},
        }),
    }
}

fn trace(step: &Step) -> Option<Value> {
    let Step::Call(call) = step else { return None };
    Some(json!({
        "id": call.trace, "timestamp": millis(call.started), "name": call.name, "tags": [], "public": false,
        "environment": "production", "totalCost": call.cost_usd, "observations": [call.id], "scores": [],
        "metadata": {}, "userId": null, "sessionId": null, "htmlPath": "/trace",
    }))
}

fn sentry(account: &Account, words: &Vocabulary, failures: &[Failure]) -> Collections {
    let organisation = account.sentry_org.as_str();
    let project = |number: usize| {
        let name = words.plain("project", number);
        json!({"_org": organisation, "id": (700 + number).to_string(), "slug": name, "name": name, "platform": "ruby"})
    };
    let (mut issues, mut events) = (Vec::new(), Vec::new());
    for failure in failures {
        let of = failure.number % 2;
        let name = words.plain("project", of);
        let elsewhere = || format!("lib/{}.rb", words.plain("frame", failure.number));
        let file = failure.file.map_or_else(elsewhere, |file| words.file(file));
        let (first, last) = (failure.events[0].1, failure.events[failure.events.len() - 1].1);
        issues.push(json!({
            "_org": organisation, "_project": name,
            "id": failure.id, "shortId": format!("X-{}", failure.number), "title": failure.title, "culprit": file,
            "level": "error", "status": "unresolved", "platform": "ruby", "type": "error",
            "project": {"id": (700 + of).to_string(), "slug": name, "name": name},
            "metadata": {"type": "Error", "value": failure.title, "filename": file}, "userCount": 3,
            "count": failure.events.len().to_string(), "firstSeen": millis(first), "lastSeen": millis(last),
            "permalink": format!("https://sentry.example/issues/{}/", failure.id),
        }));
        let frame = json!({"filename": file, "function": "call", "lineNo": 7, "inApp": true});
        let exception = json!({"type": "Error", "value": failure.title, "stacktrace": {"frames": [frame]}});
        for (id, time) in &failure.events {
            events.push(json!({
                "_org": organisation, "_project": name, "_issue_id": failure.id,
                "id": id, "eventID": id, "groupID": failure.id, "title": failure.title, "message": failure.title,
                "dateCreated": millis(*time), "projectID": (700 + of).to_string(), "platform": "ruby",
                "culprit": file, "tags": [{"key": "level", "value": "error"}],
                "entries": [{"type": "exception", "data": {"values": [exception]}}],
            }));
        }
    }
    vec![("sentry/projects", (0..2).map(project).collect()), ("sentry/issues", issues), ("sentry/issue_events", events)]
}

fn github(account: &Account, words: &Vocabulary, rollout: Rollout, changes: &[Change]) -> Collections {
    let (owner, repo) = (account.owner.as_str(), account.repo.as_str());
    let commit = |change: &Change| {
        let page = || vec![format!("docs/{}.md", words.plain("page", change.number))];
        let named = || change.files.iter().map(|file| words.file(*file)).collect();
        let files: Vec<String> = if change.files.is_empty() { page() } else { named() };
        let file = |name| json!({"filename": name, "status": "modified", "additions": 6, "deletions": 2, "changes": 8});
        let login = words.plain("login", change.author);
        let person = json!({"name": login, "email": "a@b.example", "date": seconds(change.committed_at)});
        json!({
            "_owner": owner, "_repo": repo, "_files": files.into_iter().map(file).collect::<Vec<Value>>(),
            "sha": change.sha, "html_url": format!("https://github.com/{owner}/{repo}/commit/{}", change.sha),
            "commit": {"message": words.sentence("commit", change.number, 5), "author": person, "committer": person},
            "author": {"login": login}, "committer": null, "parents": [{"sha": "0"}],
        })
    };
    let deployment = |change: &Change| {
        json!({
            "_owner": owner, "_repo": repo, "id": 5000 + change.number, "sha": change.sha, "ref": "main",
            "task": "deploy", "environment": "live", "created_at": seconds(change.live_at),
            "updated_at": seconds(change.live_at), "payload": {}, "description": null,
        })
    };
    let release = |change: &Change| {
        json!({
            "_owner": owner, "_repo": repo, "id": 6000 + change.number, "tag_name": format!("v0.{}", change.number),
            "name": words.sentence("release", change.number, 2), "target_commitish": change.sha, "draft": false,
            "prerelease": false, "created_at": seconds(change.committed_at), "published_at": seconds(change.live_at),
        })
    };
    let pull = |change: &Change| {
        let merged = seconds(change.committed_at);
        json!({
            "_owner": owner, "_repo": repo, "id": 7000 + change.number, "number": 10 + change.number,
            "state": "closed", "title": words.sentence("pull", change.number, 4),
            "body": words.sentence("body", change.number, 20), "draft": false, "labels": [],
            "created_at": seconds(change.committed_at - TimeDelta::hours(1)), "updated_at": merged,
            "merged_at": merged, "closed_at": merged, "merge_commit_sha": change.sha,
            "user": {"login": words.plain("login", change.author)},
            "head": {"ref": "topic", "sha": change.sha}, "base": {"ref": "main", "sha": "0"},
        })
    };
    let mut collections = vec![("github/commits", changes.iter().map(commit).collect())];
    match rollout {
        Rollout::Commits => {}
        Rollout::Deployments => collections.push(("github/deployments", changes.iter().map(deployment).collect())),
        Rollout::Releases => collections.push(("github/releases", changes.iter().map(release).collect())),
        Rollout::Pulls => collections.push(("github/pulls", changes.iter().map(pull).collect())),
    }
    collections
}

fn slack(words: &Vocabulary, talk: &[(DateTime<Utc>, usize, usize)]) -> Collections {
    let channel = |id: String, name: String| {
        json!({
            "id": id, "name": name, "is_channel": true, "is_member": true, "is_archived": false, "is_private": false,
            "created": 1_600_000_000,
        })
    };
    let mut channels: Vec<Value> =
        (0..4).map(|number| channel(format!("C0{number:04}"), words.plain("channel", number))).collect();
    // Where incidents are told by default.
    channels.push(channel("C09999".to_owned(), "incidents".to_owned()));
    let message = |(time, number, channel): &(DateTime<Utc>, usize, usize)| {
        json!({
            "_channel": format!("C0{channel:04}"), "type": "message", "user": "U0000",
            "text": words.sentence("talk", *number, 9), "ts": format!("{}.{:06}", time.timestamp(), number),
        })
    };
    let users = vec![json!({"id": "U0000", "name": words.plain("login", 0), "real_name": words.plain("login", 0)})];
    vec![("slack/channels", channels), ("slack/messages", talk.iter().map(message).collect()), ("slack/users", users)]
}
