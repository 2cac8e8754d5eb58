//! Sentry's form of troubles and deploys: projects, issues with events, releases with deploys.

use serde_json::{Value, json};

use crate::dataset::Collection;
use crate::item::Item;
use crate::scenario::company::{ORG, PROJECTS};
use crate::scenario::plan::{Plan, Trouble};
use crate::scenario::random::{hex, part};
use crate::time::{DAY, MINUTE, Micros, micros_z};

/// The release a commit is deployed as.
fn version(sha: &str) -> String {
    format!("shopfront@{}", sha.get(..12).unwrap_or(sha))
}

/// Writes everything Sentry has.
pub(crate) fn emit(plan: &mut Plan) {
    projects(plan);
    let troubles = std::mem::take(&mut plan.troubles);
    for (index, trouble) in troubles.iter().enumerate() {
        issue(plan, index, trouble);
    }
    plan.troubles = troubles;
    releases(plan);
}

fn push(plan: &mut Plan, collection: Collection, value: &Value) {
    if let Some(item) = Item::from_value(value) {
        plan.dataset.push(collection, item);
    }
}

fn project_fields(index: usize) -> (&'static str, &'static str, &'static str) {
    PROJECTS.get(index).copied().unwrap_or(PROJECTS[0])
}

fn projects(plan: &mut Plan) {
    let created = micros_z(plan.start() - 400 * DAY);
    for (id, slug, platform) in PROJECTS {
        let mut project = json!({
            "id": id, "slug": slug, "name": slug, "platform": platform, "dateCreated": created,
            "isBookmarked": false, "isMember": true, "features": ["releases"], "firstEvent": created,
            "access": ["project:read", "event:read"], "hasAccess": true, "team": null,
            "teams": [{"id": "77", "name": "shop", "slug": "shop"}], "platforms": [platform],
            "environments": ["production"], "latestRelease": null, "status": "active", "_org": ORG,
        });
        if let Some(object) = project.as_object_mut() {
            for flag in [
                "firstTransactionEvent",
                "hasFeedbacks",
                "hasFlags",
                "hasMinifiedStackTrace",
                "hasMonitors",
                "hasNewFeedbacks",
                "hasProfiles",
                "hasReplays",
                "hasSessions",
                "hasInsightsHttp",
                "hasInsightsDb",
                "hasInsightsAssets",
                "hasInsightsAppStart",
                "hasInsightsScreenLoad",
                "hasInsightsVitals",
                "hasInsightsCaches",
                "hasInsightsQueues",
                "hasInsightsAgentMonitoring",
                "hasInsightsMCP",
                "hasLogs",
                "hasTraceMetrics",
                "hasUserReports",
            ] {
                object.insert(flag.to_owned(), json!(false));
            }
        }
        push(plan, Collection::SentryProjects, &project);
    }
}

fn issue(plan: &mut Plan, index: usize, trouble: &Trouble) {
    let (Some(first), Some(last)) = (trouble.seen.first(), trouble.seen.last()) else {
        return;
    };
    let (project_id, slug, platform) = project_fields(trouble.project);
    let id = (6_610_000_000_u64 + index as u64).to_string();
    let title = format!("{}: {}", trouble.kind, trouble.value);
    let culprit = format!("{} in {}", trouble.filename.trim_end_matches(".py").replace('/', "."), trouble.function);
    let metadata = json!({"type": trouble.kind, "value": trouble.value, "filename": trouble.filename,
                          "function": trouble.function});
    let fresh = *first > plan.anchor - 7 * DAY;
    let value = json!({
        "id": id, "shareId": null, "shortId": format!("{}-{}", slug.to_uppercase(), index + 1), "title": title,
        "culprit": culprit, "permalink": format!("https://{ORG}.sentry.io/issues/{id}/"), "logger": null,
        "level": trouble.level, "status": trouble.status, "statusDetails": {},
        "substatus": if trouble.status == "resolved" { Value::Null } else { json!(if fresh { "new" } else { "ongoing" }) },
        "isPublic": false, "platform": platform, "priority": if trouble.level == "error" { "high" } else { "low" },
        "priorityLockedAt": null, "seerFixabilityScore": null, "seerAutofixLastTriggered": null,
        "seerExplorerAutofixLastTriggered": null,
        "project": {"id": project_id, "name": slug, "slug": slug, "platform": platform},
        "type": "error", "issueType": "error", "issueCategory": "error", "metadata": metadata, "numComments": 0,
        "assignedTo": null, "isBookmarked": false, "isSubscribed": false, "subscriptionDetails": null,
        "hasSeen": false, "annotations": [], "isUnhandled": trouble.level == "error",
        "count": trouble.seen.len().to_string(), "userCount": trouble.seen.len().min(31),
        "firstSeen": micros_z(*first), "lastSeen": micros_z(*last), "_org": ORG, "_project": slug,
    });
    push(plan, Collection::SentryIssues, &value);
    let mut rng = part(plan.seed, &format!("events {index} {title}"));
    for at in &trouble.seen {
        let event_id = hex(&mut rng, 32);
        event(plan, trouble, &id, &title, &culprit, &metadata, *at, &event_id);
    }
}

#[allow(clippy::too_many_arguments, reason = "one event of one issue; the parts are the caller's own")]
fn event(
    plan: &mut Plan,
    trouble: &Trouble,
    issue_id: &str,
    title: &str,
    culprit: &str,
    metadata: &Value,
    at: Micros,
    event_id: &str,
) {
    let (project_id, slug, platform) = project_fields(trouble.project);
    let release = trouble.release_sha.as_deref().map(version);
    let mut tags = vec![
        json!({"key": "environment", "value": "production"}),
        json!({"key": "level", "value": trouble.level}),
        json!({"key": "server_name", "value": format!("{slug}-{}", event_id.get(..2).unwrap_or_default())}),
        json!({"key": "transaction", "value": trouble.transaction}),
    ];
    if let Some(release) = &release {
        tags.push(json!({"key": "release", "value": release}));
    }
    let module = trouble.filename.trim_end_matches(".py").replace('/', ".");
    let frames = json!([
        {"filename": "shopfront/app.py", "absPath": "/srv/shopfront/app.py", "module": "shopfront.app",
         "function": "handle", "lineNo": 88, "inApp": true},
        {"filename": trouble.filename, "absPath": format!("/srv/{}", trouble.filename), "module": module,
         "function": trouble.function, "lineNo": 41, "inApp": true},
    ]);
    let entries = json!([{"type": "exception", "data": {"values": [{
        "type": trouble.kind, "value": trouble.value, "module": null,
        "mechanism": {"type": "generic", "handled": trouble.level != "error"},
        "stacktrace": {"frames": frames}, "rawStacktrace": null, "threadId": null}]}}]);
    let value = json!({
        "id": event_id, "event.type": "error", "groupID": issue_id, "eventID": event_id, "projectID": project_id,
        "message": title, "title": title, "location": trouble.filename, "culprit": culprit, "user": null,
        "tags": tags, "platform": platform, "dateCreated": micros_z(at), "crashFile": null, "metadata": metadata,
        "_issue_id": issue_id, "_project": slug, "_org": ORG,
        "_full": {"entries": entries, "release": release.map_or(Value::Null, |version| json!({"version": version})),
                  "size": 4096, "contexts": {}, "sdk": {"name": "sentry.python", "version": "2.40.0"}},
    });
    push(plan, Collection::SentryIssueEvents, &value);
}

fn releases(plan: &mut Plan) {
    let deploys = plan.deploys.clone();
    let projects: Vec<Value> = PROJECTS
        .iter()
        .map(|(id, slug, platform)| {
            json!({"id": id.parse::<u64>().unwrap_or_default(), "slug": slug, "name": slug, "platform": platform,
                   "platforms": [platform], "hasHealthData": false, "newGroups": 0})
        })
        .collect();
    for (index, deploy) in deploys.iter().enumerate() {
        let version = version(&deploy.sha);
        let started = deploy.at - 3 * MINUTE;
        let form = json!({"id": (910_000 + index).to_string(), "environment": "production", "dateStarted": micros_z(started),
                          "dateFinished": micros_z(deploy.at), "name": format!("deploy-{}", index + 1), "url": null});
        let release = json!({
            "id": 310_000 + index, "version": version, "shortVersion": version, "status": "open", "ref": deploy.sha,
            "url": null, "dateReleased": micros_z(started), "dateCreated": micros_z(started), "dateStarted": null,
            "owner": null, "data": {}, "newGroups": 0, "commitCount": 1, "deployCount": 1, "lastCommit": {"id": deploy.sha},
            "lastDeploy": form, "authors": [], "projects": projects, "firstEvent": null, "lastEvent": null,
            "currentProjectMeta": null, "userAgent": null, "adoptionStages": null,
            "versionInfo": {"package": "shopfront", "version": {"raw": deploy.sha.get(..12)}, "buildHash": null,
                            "description": version},
            "_org": ORG,
        });
        push(plan, Collection::SentryReleases, &release);
        let mut form = form;
        if let Some(object) = form.as_object_mut() {
            object.insert("_version".to_owned(), json!(version));
            object.insert("_org".to_owned(), json!(ORG));
        }
        push(plan, Collection::SentryDeploys, &form);
    }
}
