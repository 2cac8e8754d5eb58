//! Whole GitHub objects that others embed: accounts and repositories, with every required field.

use serde_json::{Map, Value, json};

/// An account as GitHub embeds it.
pub(crate) fn account(login: &str, id: u64, kind: &str) -> Value {
    let api = format!("https://api.github.com/users/{login}");
    json!({
        "login": login, "id": id, "node_id": format!("U_{id}"),
        "avatar_url": format!("https://avatars.githubusercontent.com/u/{id}"), "gravatar_id": "",
        "url": api, "html_url": format!("https://github.com/{login}"),
        "followers_url": format!("{api}/followers"),
        "following_url": format!("{api}/following{{/other_user}}"),
        "gists_url": format!("{api}/gists{{/gist_id}}"),
        "starred_url": format!("{api}/starred{{/owner}}{{/repo}}"),
        "subscriptions_url": format!("{api}/subscriptions"),
        "organizations_url": format!("{api}/orgs"), "repos_url": format!("{api}/repos"),
        "events_url": format!("{api}/events{{/privacy}}"),
        "received_events_url": format!("{api}/received_events"),
        "type": kind, "site_admin": false,
    })
}

/// A repository as GitHub embeds it and as its own endpoint shows it.
pub(crate) fn repository(owner: &str, repo: &str, id: u64) -> Value {
    let api = format!("https://api.github.com/repos/{owner}/{repo}");
    let html = format!("https://github.com/{owner}/{repo}");
    let mut object = Map::new();
    for (key, path) in [
        ("archive_url", "/{archive_format}{/ref}"),
        ("assignees_url", "/assignees{/user}"),
        ("blobs_url", "/git/blobs{/sha}"),
        ("branches_url", "/branches{/branch}"),
        ("collaborators_url", "/collaborators{/collaborator}"),
        ("comments_url", "/comments{/number}"),
        ("commits_url", "/commits{/sha}"),
        ("compare_url", "/compare/{base}...{head}"),
        ("contents_url", "/contents/{+path}"),
        ("contributors_url", "/contributors"),
        ("deployments_url", "/deployments"),
        ("downloads_url", "/downloads"),
        ("events_url", "/events"),
        ("forks_url", "/forks"),
        ("git_commits_url", "/git/commits{/sha}"),
        ("git_refs_url", "/git/refs{/sha}"),
        ("git_tags_url", "/git/tags{/sha}"),
        ("hooks_url", "/hooks"),
        ("issue_comment_url", "/issues/comments{/number}"),
        ("issue_events_url", "/issues/events{/number}"),
        ("issues_url", "/issues{/number}"),
        ("keys_url", "/keys{/key_id}"),
        ("labels_url", "/labels{/name}"),
        ("languages_url", "/languages"),
        ("merges_url", "/merges"),
        ("milestones_url", "/milestones{/number}"),
        ("notifications_url", "/notifications{?since,all,participating}"),
        ("pulls_url", "/pulls{/number}"),
        ("releases_url", "/releases{/id}"),
        ("stargazers_url", "/stargazers"),
        ("statuses_url", "/statuses/{sha}"),
        ("subscribers_url", "/subscribers"),
        ("subscription_url", "/subscription"),
        ("tags_url", "/tags"),
        ("teams_url", "/teams"),
        ("trees_url", "/git/trees{/sha}"),
        ("url", ""),
    ] {
        object.insert(key.to_owned(), json!(format!("{api}{path}")));
    }
    let rest = json!({
        "id": id, "node_id": format!("R_{id}"), "name": repo, "full_name": format!("{owner}/{repo}"),
        "private": false, "owner": account(owner, 900, "Organization"), "html_url": html,
        "description": "The shop front", "fork": false, "clone_url": format!("{html}.git"),
        "git_url": format!("git://github.com/{owner}/{repo}.git"), "ssh_url": format!("git@github.com:{owner}/{repo}.git"),
        "svn_url": html, "homepage": null, "size": 18_000, "stargazers_count": 4, "watchers_count": 4,
        "watchers": 4, "language": "Python", "has_issues": true, "has_projects": true, "has_downloads": true,
        "has_wiki": false, "has_pages": false, "has_discussions": false, "forks_count": 0, "forks": 0,
        "mirror_url": null, "archived": false, "disabled": false, "open_issues_count": 3, "open_issues": 3,
        "license": null, "allow_forking": true, "is_template": false, "web_commit_signoff_required": false,
        "topics": [], "visibility": "public", "default_branch": "main", "pushed_at": "2024-01-08T09:00:00Z",
        "created_at": "2023-03-01T09:00:00Z", "updated_at": "2024-01-08T09:00:00Z", "network_count": 0,
        "subscribers_count": 8, "permissions": {"admin": false, "push": true, "pull": true},
    });
    if let Value::Object(rest) = rest {
        object.extend(rest);
    }
    Value::Object(object)
}
