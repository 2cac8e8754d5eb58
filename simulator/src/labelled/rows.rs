//! A story as the vendors' own JSON.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Value, json};

use super::LabelledTruth;
use super::story::{Call, Change, Happened, Score, ToolCall};

type Collections = Vec<(&'static str, Vec<Value>)>;

fn millis(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn seconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

pub(super) fn collections(truth: &LabelledTruth, happened: &Happened) -> Collections {
    let late = |row: Value, id: &str| arriving(row, happened.late.get(id));
    let mut observations: Vec<Value> = happened.calls.iter().map(|it| late(call(it), &it.id)).collect();
    observations.extend(happened.tools.iter().map(|it| late(tool(it), &it.id)));
    let scores = happened.scores.iter().map(|it| late(score(it), &it.call)).collect();
    let mut collections = vec![
        ("langfuse/projects", vec![json!({"id": "p1", "name": truth.repo})]),
        ("langfuse/observations", observations),
        ("langfuse/traces", traces(happened)),
        ("langfuse/scores", scores),
    ];
    collections.extend(sentry(truth, happened));
    collections.extend(github(truth, &happened.changes));
    collections.extend(slack(happened));
    collections
}

/// The row, with the time at which the vendor comes to know of it.
fn arriving(mut row: Value, at: Option<&DateTime<Utc>>) -> Value {
    if let (Some(fields), Some(at)) = (row.as_object_mut(), at) {
        fields.insert("_arrives_at".to_owned(), json!(millis(*at)));
    }
    row
}

fn call(call: &Call) -> Value {
    let ended = call.started + TimeDelta::milliseconds((call.seconds * 1000.0) as i64);
    let tokens = (call.cost_usd * 50_000.0).ceil() as u64;
    let prompt = call.prompt.as_ref();
    json!({
        "promptId": prompt.map(|(name, version)| format!("{name}-{version}")),
        "promptName": prompt.map(|(name, _)| name), "promptVersion": prompt.map(|(_, version)| version),
        "id": call.id, "traceId": call.trace, "type": "GENERATION", "name": call.name, "model": call.model,
        "startTime": millis(call.started), "endTime": millis(ended), "level": "DEFAULT", "statusMessage": null,
        "parentObservationId": null, "environment": "production", "input": {"question": "?"},
        "output": call.output, "metadata": {}, "modelParameters": {},
        "usage": {"input": tokens, "output": tokens, "total": 2 * tokens, "unit": "TOKENS"},
        "usageDetails": {"input": tokens, "output": tokens, "total": 2 * tokens},
        "costDetails": {"total": call.cost_usd}, "calculatedTotalCost": call.cost_usd,
    })
}

fn score(score: &Score) -> Value {
    let given = millis(score.given);
    json!({
        "id": score.id, "traceId": score.trace, "observationId": score.call, "name": score.name, "value": score.value,
        "dataType": "NUMERIC", "source": "API", "timestamp": given, "createdAt": given, "updatedAt": given,
        "environment": "production", "comment": null,
    })
}

fn tool(tool: &ToolCall) -> Value {
    json!({
        "id": tool.id, "traceId": tool.trace, "type": "SPAN", "name": tool.name, "model": null,
        "startTime": millis(tool.started), "endTime": millis(tool.started + TimeDelta::milliseconds(350)),
        "level": "DEFAULT", "statusMessage": null, "parentObservationId": null, "environment": "production",
        "input": {}, "output": tool.output, "metadata": {},
    })
}

/// One trace for all its calls. They are in the order of time.
fn traces(happened: &Happened) -> Vec<Value> {
    let mut by_trace: std::collections::BTreeMap<&str, Vec<&Call>> = std::collections::BTreeMap::new();
    for call in &happened.calls {
        by_trace.entry(&call.trace).or_default().push(call);
    }
    let rows = by_trace.into_iter().filter_map(|(id, calls)| {
        let first = calls.first()?;
        let ids: Vec<&str> = calls.iter().map(|call| call.id.as_str()).collect();
        let cost_usd: f64 = calls.iter().map(|call| call.cost_usd).sum();
        let known = |call: &&Call| happened.late.get(&call.id).copied().unwrap_or(call.started);
        let arrives = calls.iter().map(known).min().filter(|at| *at > first.started);
        let row = json!({
            "id": id, "timestamp": millis(first.started), "name": first.name, "tags": [], "public": false,
            "environment": "production", "totalCost": cost_usd, "observations": ids, "scores": [], "metadata": {},
            "userId": format!("user-{}", first.user), "sessionId": null, "htmlPath": "/trace",
        });
        Some(arriving(row, arrives.as_ref()))
    });
    rows.collect()
}

fn sentry(truth: &LabelledTruth, happened: &Happened) -> Collections {
    let (organisation, project) = (&truth.sentry_org, &truth.sentry_project);
    let projects =
        vec![json!({"_org": organisation, "id": "700", "slug": project, "name": project, "platform": "python"})];
    let (mut issues, mut events) = (Vec::new(), Vec::new());
    for (number, trouble) in happened.troubles.iter().enumerate() {
        let (Some((_, first)), Some((_, last))) = (trouble.seen.first(), trouble.seen.last()) else { continue };
        issues.push(json!({
            "_org": organisation, "_project": project, "id": trouble.id, "shortId": format!("X-{number}"),
            "title": trouble.title, "culprit": trouble.file, "level": "error", "status": "unresolved",
            "platform": "python", "type": "error", "project": {"id": "700", "slug": project, "name": project},
            "metadata": {"type": "Error", "value": trouble.title, "filename": trouble.file}, "userCount": 3,
            "count": trouble.seen.len().to_string(), "firstSeen": millis(*first), "lastSeen": millis(*last),
            "permalink": format!("https://sentry.example/issues/{}/", trouble.id),
        }));
        let frame = json!({"filename": trouble.file, "function": "call", "lineNo": 7, "inApp": true});
        let exception = json!({"type": "Error", "value": trouble.title, "stacktrace": {"frames": [frame]}});
        let mut tags = vec![json!({"key": "level", "value": "error"})];
        if let Some(release) = &trouble.release {
            tags.push(json!({"key": "release", "value": release}));
        }
        for (id, time) in &trouble.seen {
            let event = json!({
                "_org": organisation, "_project": project, "_issue_id": trouble.id, "id": id, "eventID": id,
                "groupID": trouble.id, "title": trouble.title, "message": trouble.title, "dateCreated": millis(*time),
                "projectID": "700", "platform": "python", "culprit": trouble.file, "tags": tags,
                "entries": [{"type": "exception", "data": {"values": [exception]}}],
            });
            events.push(arriving(event, happened.late.get(id)));
        }
    }
    vec![("sentry/projects", projects), ("sentry/issues", issues), ("sentry/issue_events", events)]
}

fn github(truth: &LabelledTruth, changes: &[Change]) -> Collections {
    let (owner, repo) = (&truth.owner, &truth.repo);
    let commit = |change: &Change| {
        let file = |name: &String| json!({"filename": name, "status": "modified", "additions": 6, "deletions": 2, "changes": 8});
        let person = json!({"name": change.author, "email": "a@b.example", "date": seconds(change.committed_at)});
        json!({
            "_owner": owner, "_repo": repo, "_files": change.files.iter().map(file).collect::<Vec<Value>>(),
            "sha": change.sha, "html_url": format!("https://github.com/{owner}/{repo}/commit/{}", change.sha),
            "commit": {"message": change.message, "author": person, "committer": person},
            "author": {"login": change.author}, "committer": null, "parents": [{"sha": "0"}],
        })
    };
    let deployment = |(number, change): (usize, &Change)| {
        let live = seconds(change.live_at?);
        Some(json!({
            "_owner": owner, "_repo": repo, "id": 5000 + number, "sha": change.sha, "ref": "main", "task": "deploy",
            "environment": "live", "created_at": live, "updated_at": live, "payload": {}, "description": null,
        }))
    };
    let pull = |(number, change): (usize, &Change)| {
        let merged = seconds(change.committed_at);
        json!({
            "_owner": owner, "_repo": repo, "id": 7000 + number, "number": 10 + number, "state": "closed",
            "title": change.message, "body": "", "draft": false, "labels": [],
            "created_at": seconds(change.committed_at - TimeDelta::hours(1)), "updated_at": merged,
            "merged_at": merged, "closed_at": merged, "merge_commit_sha": change.sha,
            "user": {"login": change.author}, "head": {"ref": "topic", "sha": change.sha},
            "base": {"ref": "main", "sha": "0"},
        })
    };
    vec![
        ("github/commits", changes.iter().map(commit).collect()),
        ("github/deployments", changes.iter().enumerate().filter_map(deployment).collect()),
        ("github/pulls", changes.iter().enumerate().map(pull).collect()),
    ]
}

fn slack(happened: &Happened) -> Collections {
    let channel = |id: String, name: &str| {
        json!({
            "id": id, "name": name, "is_channel": true, "is_member": true, "is_archived": false, "is_private": false,
            "created": 1_600_000_000,
        })
    };
    let mut channels: Vec<Value> =
        happened.channels.iter().enumerate().map(|(number, name)| channel(format!("C0{number:04}"), name)).collect();
    // Where incidents are told by default.
    channels.push(channel("C09999".to_owned(), "incidents"));
    let message = |(number, (time, text, channel)): (usize, &(DateTime<Utc>, String, usize))| {
        json!({
            "_channel": format!("C0{channel:04}"), "type": "message", "user": "U0000", "text": text,
            "ts": format!("{}.{number:06}", time.timestamp()),
        })
    };
    let users = vec![json!({"id": "U0000", "name": "somebody", "real_name": "somebody"})];
    let messages = happened.talk.iter().enumerate().map(message).collect();
    vec![("slack/channels", channels), ("slack/messages", messages), ("slack/users", users)]
}
