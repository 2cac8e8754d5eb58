//! GitHub's form of commits and deploys: commits with files, pull requests, issues, releases,
//! deployments, workflow runs.

use serde_json::{Value, json};

use crate::dataset::Collection;
use crate::github::shapes::{account, repository};
use crate::item::Item;
use crate::scenario::company::{OWNER, Person, REPO, person};
use crate::scenario::plan::{Commit, Deploy, File, Plan};
use crate::scenario::random::{hex, part};
use crate::time::{HOUR, MINUTE, Micros, SECOND, seconds_z};

const API: &str = "https://api.github.com/repos/acme-shop/shopfront";
const HTML: &str = "https://github.com/acme-shop/shopfront";
const FIRST_NUMBER: u64 = 1840;
const REPOSITORY_ID: u64 = 640_001;

/// Writes everything GitHub has.
pub(crate) fn emit(plan: &mut Plan) {
    let commits = plan.commits.clone();
    let deploys = plan.deploys.clone();
    // Numbers are given in the order pull requests and issues were opened.
    let mut opened: Vec<(Micros, Option<usize>)> = commits
        .iter()
        .enumerate()
        .filter(|(_, commit)| commit.reviewed)
        .map(|(index, commit)| (opened_at(commit), Some(index)))
        .collect();
    opened.extend((0..REPORTS.len()).map(|index| (report_at(plan, index), None)));
    opened.sort_unstable();

    let mut numbers = vec![None; commits.len()];
    let mut report = 0;
    for (offset, (at, commit)) in opened.iter().enumerate() {
        let number = FIRST_NUMBER + offset as u64;
        match commit {
            Some(index) => {
                if let (Some(slot), Some(commit)) = (numbers.get_mut(*index), commits.get(*index)) {
                    *slot = Some(number);
                    pull(plan, commit, number);
                }
            }
            None => {
                issue(plan, report, *at, number);
                report += 1;
            }
        }
    }
    open_pull(plan, FIRST_NUMBER + opened.len() as u64);

    let mut parent = plan.sha("the beginning");
    for (index, commit) in commits.iter().enumerate() {
        let number = numbers.get(index).copied().flatten();
        commit_item(plan, commit, number, &parent);
        workflow_run(plan, commit, index, number);
        parent.clone_from(&commit.sha);
    }
    for (index, deploy) in deploys.iter().enumerate() {
        deployment(plan, deploy, index);
    }
}

fn push(plan: &mut Plan, collection: Collection, mut value: Value) {
    if let Some(object) = value.as_object_mut() {
        object.insert("_owner".to_owned(), json!(OWNER));
        object.insert("_repo".to_owned(), json!(REPO));
    }
    if let Some(item) = Item::from_value(&value) {
        plan.dataset.push(collection, item);
    }
}

fn account_of(person: &Person) -> Value {
    account(person.login, person.id, "User")
}

fn opened_at(commit: &Commit) -> Micros {
    commit.authored_at + 20 * MINUTE
}

/// The message with the number GitHub adds when it squashes a pull request.
fn squashed(commit: &Commit, number: Option<u64>) -> String {
    let (title, body) = commit.message.split_once('\n').unwrap_or((&commit.message, ""));
    match number {
        Some(number) if body.is_empty() => format!("{title} (#{number})"),
        Some(number) => format!("{title} (#{number})\n{body}"),
        None => commit.message.clone(),
    }
}

fn file_item(file: &File, sha: &str) -> Value {
    json!({
        "sha": sha, "filename": file.name, "status": "modified", "additions": file.additions,
        "deletions": file.deletions, "changes": file.additions + file.deletions,
        "blob_url": format!("{HTML}/blob/{sha}/{}", file.name), "raw_url": format!("{HTML}/raw/{sha}/{}", file.name),
        "contents_url": format!("{API}/contents/{}?ref={sha}", file.name), "patch": file.patch,
    })
}

fn commit_item(plan: &mut Plan, commit: &Commit, number: Option<u64>, parent: &str) {
    let who = person(commit.author);
    let sha = &commit.sha;
    let tree = hex(&mut part(plan.seed, &format!("tree {sha}")), 40);
    let email = format!("{}@acme-shop.example", who.login);
    let mut value = json!({
        "sha": sha, "node_id": format!("C_{sha}"), "url": format!("{API}/commits/{sha}"),
        "html_url": format!("{HTML}/commit/{sha}"), "comments_url": format!("{API}/commits/{sha}/comments"),
        "commit": {
            "author": {"name": who.name, "email": email, "date": seconds_z(commit.authored_at)},
            "committer": {"name": "GitHub", "email": "noreply@github.com", "date": seconds_z(commit.at)},
            "message": squashed(commit, number), "tree": {"sha": tree, "url": format!("{API}/git/trees/{tree}")},
            "url": format!("{API}/git/commits/{sha}"), "comment_count": 0,
            "verification": {"verified": true, "reason": "valid", "signature": null, "payload": null,
                             "verified_at": seconds_z(commit.at)},
        },
        "author": account_of(who), "committer": account("web-flow", 19_864_447, "User"),
        "parents": [{"sha": parent, "url": format!("{API}/commits/{parent}"), "html_url": format!("{HTML}/commit/{parent}")}],
    });
    // A commit that came through a pull request has its files there.
    if number.is_none()
        && let Some(object) = value.as_object_mut()
    {
        let files: Vec<Value> = commit.files.iter().map(|file| file_item(file, sha)).collect();
        object.insert("_files".to_owned(), Value::Array(files));
    }
    push(plan, Collection::GithubCommits, value);
}

/// What a pull request and the issue that goes with it share.
struct Opened<'a> {
    number: u64,
    title: &'a str,
    body: &'a str,
    who: &'static Person,
    created: Micros,
    closed: Option<Micros>,
}

fn issue_value(opened: &Opened<'_>, labels: Value) -> Value {
    let number = opened.number;
    let url = format!("{API}/issues/{number}");
    let stamp = opened.closed.map(seconds_z);
    json!({
        "url": url, "repository_url": API, "labels_url": format!("{url}/labels{{/name}}"),
        "comments_url": format!("{url}/comments"), "events_url": format!("{url}/events"),
        "timeline_url": format!("{url}/timeline"), "html_url": format!("{HTML}/issues/{number}"),
        "id": 2_600_000_000_u64 + number, "node_id": format!("I_{number}"), "number": number, "title": opened.title,
        "user": account_of(opened.who), "labels": labels, "state": if stamp.is_some() { "closed" } else { "open" },
        "state_reason": stamp.as_ref().map(|_| "completed"), "locked": false, "active_lock_reason": null,
        "assignee": null, "assignees": [], "milestone": null, "comments": 0, "body": opened.body,
        "created_at": seconds_z(opened.created), "updated_at": seconds_z(opened.closed.unwrap_or(opened.created)),
        "closed_at": stamp, "author_association": "MEMBER",
    })
}

fn pull_value(opened: &Opened<'_>, merged_as: Option<&str>, head_sha: &str, base_sha: &str) -> Value {
    let number = opened.number;
    let url = format!("{API}/pulls/{number}");
    let issue = format!("{API}/issues/{number}");
    let html = format!("{HTML}/pull/{number}");
    let branch = format!("change-{number}");
    let repo = repository(OWNER, REPO, REPOSITORY_ID);
    let owner = account(OWNER, 900, "Organization");
    let closed = opened.closed.map(seconds_z);
    let href = |href: String| json!({ "href": href });
    json!({
        "url": url, "id": 1_900_000_000_u64 + number, "node_id": format!("PR_{number}"), "html_url": html,
        "diff_url": format!("{html}.diff"), "patch_url": format!("{html}.patch"), "issue_url": issue,
        "number": number, "state": if closed.is_some() { "closed" } else { "open" }, "locked": false,
        "title": opened.title, "user": account_of(opened.who), "body": opened.body,
        "created_at": seconds_z(opened.created), "updated_at": seconds_z(opened.closed.unwrap_or(opened.created)),
        "closed_at": closed, "merged_at": merged_as.and(closed.clone()), "merge_commit_sha": merged_as,
        "assignee": null, "assignees": [], "requested_reviewers": [], "requested_teams": [], "labels": [],
        "milestone": null, "draft": false, "commits_url": format!("{url}/commits"),
        "review_comments_url": format!("{url}/comments"), "review_comment_url": format!("{API}/pulls/comments{{/number}}"),
        "comments_url": format!("{issue}/comments"), "statuses_url": format!("{API}/statuses/{head_sha}"),
        "head": {"label": format!("{OWNER}:{branch}"), "ref": branch, "sha": head_sha, "user": owner, "repo": repo},
        "base": {"label": format!("{OWNER}:main"), "ref": "main", "sha": base_sha, "user": owner, "repo": repo},
        "_links": {"self": href(url.clone()), "html": href(html), "issue": href(issue.clone()),
                   "comments": href(format!("{issue}/comments")), "review_comments": href(format!("{url}/comments")),
                   "review_comment": href(format!("{API}/pulls/comments{{/number}}")),
                   "commits": href(format!("{url}/commits")), "statuses": href(format!("{API}/statuses/{head_sha}"))},
        "author_association": "MEMBER", "auto_merge": null, "active_lock_reason": null,
    })
}

fn push_pull(plan: &mut Plan, opened: &Opened<'_>, value: Value) {
    let number = opened.number;
    let mut as_issue = issue_value(opened, json!([]));
    if let Some(object) = as_issue.as_object_mut() {
        let html = format!("{HTML}/pull/{number}");
        object.insert("html_url".to_owned(), json!(html));
        object.insert("draft".to_owned(), json!(false));
        object.insert(
            "pull_request".to_owned(),
            json!({"url": format!("{API}/pulls/{number}"), "html_url": html, "diff_url": format!("{html}.diff"),
                   "patch_url": format!("{html}.patch"), "merged_at": value.get("merged_at")}),
        );
    }
    push(plan, Collection::GithubPulls, value);
    push(plan, Collection::GithubIssues, as_issue);
}

fn pull(plan: &mut Plan, commit: &Commit, number: u64) {
    let head = hex(&mut part(plan.seed, &format!("head {}", commit.sha)), 40);
    let base = hex(&mut part(plan.seed, &format!("base {}", commit.sha)), 40);
    let (title, body) = commit.message.split_once('\n').unwrap_or((&commit.message, ""));
    let opened = Opened {
        number,
        title,
        body: body.trim(),
        who: person(commit.author),
        created: opened_at(commit),
        closed: Some(commit.at),
    };
    let value = pull_value(&opened, Some(&commit.sha), &head, &base);
    push_pull(plan, &opened, value);
    for file in &commit.files {
        let mut item = file_item(file, &head);
        if let Some(object) = item.as_object_mut() {
            object.insert("_number".to_owned(), json!(number));
        }
        push(plan, Collection::GithubPullFiles, item);
    }
}

/// A pull request that is still open at the end, and touches what has hurt before.
fn open_pull(plan: &mut Plan, number: u64) {
    let head = plan.sha("open pull head");
    let base = plan.sha("open pull base");
    let opened = Opened {
        number,
        title: "Retry pricing calls from a queue",
        body: "Draft for discussion.",
        who: person(3),
        created: plan.ago(35),
        closed: None,
    };
    let value = pull_value(&opened, None, &head, &base);
    push_pull(plan, &opened, value);
    let file = File::patched("services/checkout/retry.py", "+    queue.enqueue(call)\n-    return call()");
    let mut item = file_item(&file, &head);
    if let Some(object) = item.as_object_mut() {
        object.insert("_number".to_owned(), json!(number));
    }
    push(plan, Collection::GithubPullFiles, item);
}

const REPORTS: [(&str, &str); 8] = [
    ("Voucher field loses focus on iOS", "bug"),
    ("Document the nightly batch", "docs"),
    ("Search results flicker on slow networks", "bug"),
    ("Add a dark theme", "enhancement"),
    ("Order mails show the wrong currency sign", "bug"),
    ("Upgrade the base image", "chore"),
    ("Wishlist: share by link", "enhancement"),
    ("Flaky test in basket suite", "bug"),
];

fn report_at(plan: &Plan, index: usize) -> Micros {
    plan.start() + (index as i64 * 23 + 5) * HOUR + 13 * MINUTE
}

fn issue(plan: &mut Plan, index: usize, at: Micros, number: u64) {
    let Some((title, label)) = REPORTS.get(index) else {
        return;
    };
    let opened = Opened {
        number,
        title,
        body: "Seen by support; details in the ticket.",
        who: person(index + 2),
        created: at,
        closed: index.is_multiple_of(2).then_some(at + 19 * HOUR),
    };
    let labels = json!([{"id": 300 + index, "node_id": format!("LA_{index}"), "url": format!("{API}/labels/{label}"),
                         "name": label, "color": "d73a4a", "default": false, "description": ""}]);
    push(plan, Collection::GithubIssues, issue_value(&opened, labels));
}

fn workflow_run(plan: &mut Plan, commit: &Commit, index: usize, number: Option<u64>) {
    let id = 11_400_000_000_u64 + index as u64;
    let url = format!("{API}/actions/runs/{id}");
    let failed = index % 17 == 11;
    let title = squashed(commit, number);
    let repo = repository(OWNER, REPO, REPOSITORY_ID);
    let who = account_of(person(commit.author));
    let value = json!({
        "id": id, "name": "ci", "node_id": format!("WFR_{id}"), "head_branch": "main", "head_sha": commit.sha,
        "path": ".github/workflows/ci.yml", "display_title": title.lines().next(), "run_number": 5200 + index,
        "run_attempt": 1, "event": "push", "status": "completed", "conclusion": if failed { "failure" } else { "success" },
        "workflow_id": 88_001, "check_suite_id": 21_000_000_000_u64 + index as u64, "check_suite_node_id": format!("CS_{id}"),
        "url": url, "html_url": format!("{HTML}/actions/runs/{id}"), "pull_requests": [],
        "created_at": seconds_z(commit.at + 4 * SECOND), "updated_at": seconds_z(commit.at + 6 * MINUTE),
        "run_started_at": seconds_z(commit.at + 4 * SECOND), "actor": who, "triggering_actor": who,
        "jobs_url": format!("{url}/jobs"), "logs_url": format!("{url}/logs"),
        "check_suite_url": format!("{API}/check-suites/{id}"), "artifacts_url": format!("{url}/artifacts"),
        "cancel_url": format!("{url}/cancel"), "rerun_url": format!("{url}/rerun"), "previous_attempt_url": null,
        "workflow_url": format!("{API}/actions/workflows/88001"),
        "head_commit": {"id": commit.sha, "tree_id": commit.sha, "message": title, "timestamp": seconds_z(commit.at),
                        "author": {"name": person(commit.author).name, "email": "ci@acme-shop.example"},
                        "committer": {"name": "GitHub", "email": "noreply@github.com"}},
        "repository": repo, "head_repository": repo,
    });
    push(plan, Collection::GithubWorkflowRuns, value);
}

fn deployment(plan: &mut Plan, deploy: &Deploy, index: usize) {
    let id = 1_710_000_000_u64 + index as u64;
    let url = format!("{API}/deployments/{id}");
    let who = account_of(person(deploy.by));
    let started = deploy.at - 3 * MINUTE;
    let value = json!({
        "url": url, "id": id, "node_id": format!("DE_{id}"), "task": "deploy", "original_environment": "production",
        "environment": "production", "description": "Deploy of the main branch", "created_at": seconds_z(started),
        "updated_at": seconds_z(deploy.at), "statuses_url": format!("{url}/statuses"), "repository_url": API,
        "creator": who, "sha": deploy.sha, "ref": "main", "payload": {}, "transient_environment": false,
        "production_environment": true, "performed_via_github_app": null,
    });
    push(plan, Collection::GithubDeployments, value);
    let tag = format!("v3.{}.0", 40 + index);
    let release_id = 182_000_000_u64 + index as u64;
    let url = format!("{API}/releases/{release_id}");
    let release = json!({
        "url": url, "assets_url": format!("{url}/assets"),
        "upload_url": format!("https://uploads.github.com/repos/{OWNER}/{REPO}/releases/{release_id}/assets{{?name,label}}"),
        "html_url": format!("{HTML}/releases/tag/{tag}"), "id": release_id, "author": who, "node_id": format!("RE_{release_id}"),
        "tag_name": tag, "target_commitish": deploy.sha, "name": tag, "draft": false, "prerelease": false,
        "immutable": false, "created_at": seconds_z(started), "published_at": seconds_z(deploy.at),
        "updated_at": seconds_z(deploy.at), "assets": [], "tarball_url": format!("{API}/tarball/{tag}"),
        "zipball_url": format!("{API}/zipball/{tag}"), "body": "Deployed to production.",
    });
    push(plan, Collection::GithubReleases, release);
}
