//! Who may do what.

use reqwest::Method;
use serde_json::{Value, json};
use tripline_store::KeyScope;

use super::site::{Plan, Site, cost_spike};
use crate::{Access, AuthMode, RouteInfo, ServeError, WebState, route_table, serve};

/// A path of a route, with something in the place of what varies.
fn example(route: &RouteInfo) -> String {
    let path = route.path.replace("{id}", "0199aaaa-0000-7000-8000-000000000001").replace("{name}", "cost_spike");
    let asks_for_an_agent = ["/v1/policies", "/v1/detector-config"].contains(&route.path);
    if asks_for_an_agent { format!("{path}?agent_id=a") } else { path }
}

fn body(route: &RouteInfo) -> Option<Value> {
    match route.path {
        "/api/v1/sql" => Some(json!({"sql": "SELECT 1"})),
        "/v1/ingest" => Some(json!({"agent_id": "a", "events": [{"event_type": "run.started", "run_id": "r",
            "agent_id": "a", "agent_version": "v", "step_index": 0}]})),
        "/v1/deploy" => Some(json!({"agent_id": "a", "version": "1"})),
        "/v1/runs/{id}/control" => Some(json!({"state": "stopped"})),
        "/api/v1/actions/{id}/settle" => Some(json!({"status": "done"})),
        "/api/v1/detectors/dry-run" => Some(json!({"name": "mine", "text": "SELECT 1"})),
        "/api/v1/detectors/{name}" => Some(json!({"text": "SELECT 1"})),
        "/api/v1/projects" => Some(json!({"id": "made"})),
        "/api/v1/keys" => Some(json!({"name": "another", "scopes": ["read"]})),
        "/api/v1/queries/{name}" => Some(json!({"sql": "SELECT 1"})),
        "/api/v1/session" => Some(json!({"secret": "tl_nobody"})),
        "/v1/signals/{id}/record-copy" => Some(json!({"fix_content": "x"})),
        "/v1/signals/{id}/feedback" => Some(json!({"correct": true})),
        _ => Some(json!({})),
    }
    .filter(|_| route.method != Method::GET)
}

async fn status(site: &Site, route: &RouteInfo, key: Option<&str>) -> u16 {
    let mut request = site.client.request(route.method.clone(), site.url(&example(route)));
    if let Some(key) = key {
        request = request.header("x-api-key", key);
    }
    if let Some(body) = body(route) {
        request = request.json(&body);
    }
    // A tunnel: not this machine, as far as access goes.
    request.header("x-forwarded-for", "192.0.2.1").send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn every_endpoint_answers_exactly_the_keys_it_is_for() {
    let site = Site::new().await;
    let keys: [(&str, &[KeyScope]); 5] = [
        ("read", &[KeyScope::Read]),
        ("ingest", &[KeyScope::Ingest]),
        ("operate", &[KeyScope::Read, KeyScope::Operate]),
        ("admin", KeyScope::ALL),
        ("other", KeyScope::ALL),
    ];
    let mut public = Vec::new();
    for route in route_table() {
        let allowed: &[KeyScope] = match route.access {
            Access::Public => {
                public.push(route.path);
                assert_eq!(status(&site, &route, None).await, 200, "{route:?}");
                continue;
            }
            Access::Page => {
                let there = if route.path == "/assets/{name}" { 404 } else { 200 };
                assert_eq!(status(&site, &route, None).await, there, "{route:?}");
                continue;
            }
            Access::SignIn => {
                assert_eq!(status(&site, &route, Some(&site.keys["admin"])).await, 401, "what counts is in the body");
                continue;
            }
            Access::Signed => {
                assert_eq!(status(&site, &route, Some(&site.keys["admin"])).await, 403, "a key is no signature");
                continue;
            }
            Access::ReadOrLocal => &[KeyScope::Read],
            Access::AnyOf(scopes) | Access::Basic(scopes) | Access::Sender(scopes) => scopes,
        };
        for wrong in [None, Some("tl_nobody"), Some(""), Some("x")] {
            assert_eq!(status(&site, &route, wrong).await, 401, "{route:?} with {wrong:?}");
        }
        for (name, scopes) in keys {
            let may = scopes.iter().any(|scope| allowed.contains(scope));
            let status = status(&site, &route, Some(&site.keys[name])).await;
            assert_ne!(status, 401, "{route:?} with {name}");
            let installation_only = [
                "/api/v1/settings",
                "/api/v1/sources",
                "/api/v1/sources/{name}/test",
                "/api/v1/settings/preview",
                "/api/v1/keys",
                "/api/v1/keys/{id}",
                "/api/v1/projects",
                "/api/v1/sampling/policy",
                "/api/v1/jobs",
                "/api/v1/jobs/{name}/run",
                "/api/v1/quality/scan",
                "/api/v1/detectors/dry-run",
                "/api/v1/detectors/{name}",
                "/api/v1/queries",
                "/api/v1/queries/{name}",
                "/api/v1/quality/feature/{name}/validation",
                "/api/v1/risk/current/{pr}",
                "/api/v1/forensics/worst-traces",
                "/api/v1/forensics/trace/{id}",
                "/metrics",
            ];
            if name == "other" && installation_only.contains(&route.path) {
                assert_eq!(status, 403, "{route:?} with a key of another project");
            } else if may && status == 403 {
                // The only other reason for a 403 is the list of approvers.
                assert!(route.path.contains("/approve") || route.path.contains("/reject"), "{route:?} with {name}");
            } else {
                assert_eq!(status != 403, may, "{route:?} with {name}: {status}");
            }
        }
    }
    public.sort_unstable();
    assert_eq!(public, ["/api/docs", "/api/health", "/api/openapi.json", "/health", "/healthz"]);
}

#[tokio::test]
async fn a_revoked_key_is_none() {
    let site = Site::new().await;
    let key = site.store.keys.list().await.unwrap().into_iter().find(|key| key.name == "key-read").unwrap();
    assert_eq!(site.request("read", Method::GET, "/api/v1/session").send().await.unwrap().status(), 200);
    site.store.keys.revoke(&key.id, "test", tripline_engine::Clock::now(&*site.clock)).await.unwrap();
    assert_eq!(site.request("read", Method::GET, "/api/v1/session").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn two_keys_or_another_kind_of_credential_are_refused() {
    let site = Site::new().await;
    let get = || site.client.get(site.url("/api/v1/session"));
    let both = get().bearer_auth(&site.keys["read"]).header("x-api-key", &site.keys["admin"]);
    assert_eq!(both.send().await.unwrap().status(), 401);
    let basic = get().header("authorization", format!("Basic {}", site.keys["read"]));
    assert_eq!(basic.send().await.unwrap().status(), 401);
    let in_address = site.client.get(site.url(&format!("/api/v1/session?key={}", site.keys["read"])));
    assert_eq!(in_address.send().await.unwrap().status(), 401);
    let same = get().bearer_auth(&site.keys["read"]).header("x-api-key", &site.keys["read"]);
    assert_eq!(same.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_key_sees_its_own_project_only() {
    let site = Site::new().await;
    let incident = site.open(cost_spike()).await;
    let approval = site.approval().await;
    for path in ["/api/v1/incidents", "/api/v1/approvals", "/api/v1/actions", "/api/v1/anomalies", "/api/v1/audit"] {
        let ours = site.get(path).await["items"].as_array().unwrap().len();
        let theirs: Value = site.request("other", Method::GET, path).send().await.unwrap().json().await.unwrap();
        let own = |row: &Value| row["event"] == "api_key.created" || row["subject_id"] == "other";
        let about_us = theirs["items"].as_array().unwrap().iter().filter(|row| !own(row)).count();
        assert!(ours > 0 && about_us == 0, "{path}: {ours} {theirs}");
    }
    for path in [format!("/api/v1/incidents/{}", incident.id), format!("/api/v1/approvals/{}", approval.id)] {
        assert_eq!(site.request("other", Method::GET, &path).send().await.unwrap().status(), 404);
    }
    let path = format!("/api/v1/approvals/{}/approve", approval.id);
    assert_eq!(site.post("other", &path, &json!({})).await.0, 404);
    let sql = json!({"sql": "SELECT count(*) AS n FROM agent.incidents"});
    assert_eq!(site.post("read", "/api/v1/sql", &sql).await.1["rows"][0]["n"], 1);
    assert_eq!(site.post("other", "/api/v1/sql", &sql).await.1["rows"][0]["n"], 0);
}

async fn dev() -> Site {
    Site::with(Plan { auth: AuthMode::Dev, approvers: vec!["dev"], ..Plan::default() }).await
}

#[tokio::test]
async fn dev_mode_needs_no_key_on_this_machine() {
    let site = dev().await;
    site.open(cost_spike()).await;
    let session: Value = site.client.get(site.url("/api/v1/session")).send().await.unwrap().json().await.unwrap();
    assert_eq!(
        (&session["person"], &session["approver"], &session["dev"]),
        (&json!("dev"), &json!(true), &json!(true))
    );
    let path = format!("/api/v1/approvals/{}/approve", site.approval().await.id);
    let approved = site.client.post(site.url(&path)).json(&json!({})).send().await.unwrap();
    assert_eq!(approved.status(), 200);
    assert_eq!(site.approval().await.resolved_by.as_deref(), Some("dev"));
}

#[tokio::test]
async fn dev_mode_answers_no_other_page_host_or_tunnel() {
    let site = dev().await;
    let get = || site.client.get(site.url("/api/v1/incidents"));
    for (name, value) in [
        ("host", "evil.example"),
        ("host", "tripline.evil.example:8000"),
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
        ("x-forwarded-for", "192.0.2.1"),
        ("forwarded", "for=192.0.2.1"),
    ] {
        assert_eq!(get().header(name, value).send().await.unwrap().status(), 401, "{name}: {value}");
        // With a key it is not about this machine.
        let with_key = get().header(name, value).bearer_auth(&site.keys["read"]).send().await.unwrap();
        assert_eq!(with_key.status(), 200, "{name}: {value}");
    }
    assert_eq!(get().header("x-api-key", "tl_wrong").send().await.unwrap().status(), 401);
}

#[tokio::test]
async fn what_a_form_of_another_page_can_send_changes_nothing() {
    let site = dev().await;
    site.open(cost_spike()).await;
    let approve = site.url(&format!("/api/v1/approvals/{}/approve", site.approval().await.id));
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let sent = site.client.post(&approve).header("content-type", kind).body("{}").send().await.unwrap();
        assert_eq!(sent.status(), 403, "{kind}");
    }
    assert_eq!(site.client.post(&approve).send().await.unwrap().status(), 403);
    assert_eq!(site.approval().await.status, tripline_store::ApprovalStatus::Pending);
    // With the header that only a page of ours or a program sends, an empty body will do.
    let own = site.client.post(&approve).header("x-tripline", "1").send().await.unwrap();
    assert_eq!(own.status(), 200);
}

#[tokio::test]
async fn dev_mode_does_not_start_where_others_reach_it() {
    let site = dev().await;
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let refused = serve(listener, site.state.clone(), site.stop.clone()).await.unwrap_err();
    assert!(matches!(refused, ServeError::DevOnPublicAddress { .. }), "{refused}");
    assert!(refused.to_string().contains("127.0.0.1"));
    // The state is what decides, so nothing else may make one that lies about it.
    let _: &WebState = &site.state;
}

#[tokio::test]
async fn figures_are_for_this_machine_and_for_keys_that_read() {
    let site = Site::new().await;
    site.open(cost_spike()).await;
    let missing = site.request("read", Method::GET, "/api/v1/anomalies/a-value-of-the-caller").send().await.unwrap();
    assert_eq!(missing.status(), 404);
    let local = site.client.get(site.url("/metrics"));
    let text = local.send().await.unwrap().text().await.unwrap();
    for line in [
        "tripline_approvals{status=\"pending\"} 1",
        "tripline_actions{kind=\"notification\",status=\"pending\"} 1",
        "route=\"/api/v1/anomalies/{id}\",status=\"404\"} 1",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} in\n{text}");
    }
    assert!(!text.contains("a-value-of-the-caller"));
    let tunnel = || site.client.get(site.url("/metrics")).header("x-forwarded-for", "192.0.2.1");
    assert_eq!(tunnel().send().await.unwrap().status(), 401);
    assert_eq!(tunnel().bearer_auth(&site.keys["read"]).send().await.unwrap().status(), 200);
    assert_eq!(tunnel().bearer_auth(&site.keys["ingest"]).send().await.unwrap().status(), 403);
}

#[test]
fn the_page_about_the_api_lists_every_endpoint_and_no_other() {
    let page = include_str!("../../../docs/api.md");
    let mut listed: Vec<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(endpoint, _)| endpoint.to_owned())
        .filter(|endpoint| endpoint.contains(" /"))
        .collect();
    let mut routes: Vec<String> = route_table()
        .iter()
        .filter(|route| route.access != Access::Page)
        .map(|route| format!("{} {}", route.method, route.path))
        .collect();
    listed.sort();
    routes.sort();
    assert_eq!(listed, routes);
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_are_made_by_administrators_of_the_installation_and_it_is_on_the_record() {
    let site = Site::new().await;
    let acme = json!({"id": "acme", "name": "Acme"});
    assert_eq!(site.post("operate", "/api/v1/projects", &acme).await.0, 403);
    assert_eq!(site.post("other", "/api/v1/projects", &acme).await.0, 403, "an administrator of another project");
    let (status, made) = site.post("admin", "/api/v1/projects", &acme).await;
    assert_eq!((status, &made["id"], &made["name"]), (201, &json!("acme"), &json!("Acme")));
    assert_eq!(site.post("admin", "/api/v1/projects", &acme).await.0, 409);
    assert_eq!(site.post("admin", "/api/v1/projects", &json!({"id": "../x"})).await.0, 422);
    assert_eq!(site.post("admin", "/api/v1/projects", &json!({"id": "b", "name": "a\nb"})).await.0, 422);
    let scope = tripline_store::Scope::project(tripline_store::ProjectId::new("acme"));
    let log = site.store.audit.list(&scope, &Default::default(), 10).await.unwrap();
    assert_eq!(
        log.iter().map(|row| (row.entry.event.as_str(), row.entry.actor.as_str())).collect::<Vec<_>>(),
        [("project.created", "admin")]
    );

    let key = json!({"name": "agents", "scopes": ["read", "ingest"], "project": "acme"});
    let (status, created) = site.post("admin", "/api/v1/keys", &key).await;
    assert_eq!((status, &created["project_id"]), (201, &json!("acme")), "{created}");
    let secret = created["secret"].as_str().unwrap();
    let theirs = site.client.get(site.url("/v1/agents")).bearer_auth(secret).send().await.unwrap();
    assert_eq!(theirs.status(), 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_stand_alone_in_the_header_and_anything_else_is_refused() {
    let site = Site::new().await;
    let ask = async |value: String| {
        let request = site.client.get(site.url("/v1/agents")).header("authorization", value);
        request.send().await.unwrap().status().as_u16()
    };
    let key = &site.keys["read"];
    for good in [key.clone(), format!("Bearer {key}"), format!("bearer  {key}")] {
        assert_eq!(ask(good.clone()).await, 200, "{good}");
    }
    for bad in ["Bearer", "Bearer ", "nonsense", "Basic abc", &format!("Token {key}"), &format!("{key} {key}")] {
        assert_eq!(ask((*bad).to_owned()).await, 401, "{bad}");
    }
}
