//! Feedback, digests, quality and changes of settings.

use reqwest::Method;
use serde_json::{Value, json};
use tripline_store::{AuditFilter, Digest, NarrationKind, NarrationOutcome, NewNarration, NewSchemaSnapshot, Window};

use super::site::{Site, cost_spike, finding};

async fn send(site: &Site, key: &str, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let response = site.request(key, method, path).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
}

async fn recorded(site: &Site, event: &str) -> Vec<tripline_store::AuditEntry> {
    let filter = AuditFilter { event: Some(event.to_owned()), ..AuditFilter::default() };
    site.store.audit.list(&site.scope, &filter, 100).await.unwrap()
}

#[tokio::test]
async fn responders_mark_an_incident_and_the_detectors_precision_follows() {
    let site = Site::new().await;
    let incident = site.open(cost_spike()).await;
    site.drain().await;
    let path = format!("/api/v1/incidents/{}/feedback", incident.id);
    let (status, kept) = site.post("operate", &path, &json!({"correct": false, "comment": "a load test"})).await;
    assert_eq!((status, &kept["given_by"], &kept["via"]), (200, &json!("operator"), &json!("api")), "{kept}");
    let precision = site.get("/api/v1/quality/precision").await;
    assert_eq!(precision["items"][0]["precision"], json!(0.0), "{precision}");
    // Somebody who is no approver says otherwise in Slack: it decides nothing, and it is the newest.
    site.advance(chrono::TimeDelta::seconds(1));
    assert_eq!(site.click("tripline_incident_right", "U0ANYBODY1").await, 200);
    site.drain().await;
    let precision = site.get("/api/v1/quality/precision").await;
    assert_eq!((&precision["items"][0]["precision"], &precision["items"][0]["marked_right"]), (&json!(1.0), &json!(1)));
    let detail = site.get(&format!("/api/v1/incidents/{}", incident.id)).await;
    assert_eq!(detail["feedback"].as_array().unwrap().len(), 2);
    assert_eq!(recorded(&site, "incident.feedback").await.len(), 2);
    assert!(recorded(&site, "approval.denied").await.is_empty());
    let message = site.writes("chat.update").await.pop().unwrap();
    assert!(message["body"]["blocks"].to_string().contains("Marked right by <@U0ANYBODY1> (newest of 2)"), "{message}");
}

#[tokio::test]
async fn feedback_that_is_none_is_refused() {
    let site = Site::new().await;
    let incident = site.open(cost_spike()).await;
    let path = format!("/api/v1/incidents/{}/feedback", incident.id);
    assert_eq!(site.post("read", &path, &json!({"correct": true})).await.0, 403);
    assert_eq!(site.post("operate", &path, &json!({"correct": "yes"})).await.0, 422);
    assert_eq!(site.post("operate", &path, &json!({"right": true})).await.0, 422);
    let long = json!({"correct": true, "comment": "x".repeat(1_001)});
    assert_eq!(site.post("operate", &path, &long).await.0, 422);
    assert_eq!(site.post("operate", "/api/v1/incidents/none/feedback", &json!({"correct": true})).await.0, 404);
    assert!(recorded(&site, "incident.feedback").await.is_empty());
}

#[tokio::test]
async fn what_was_sent_to_a_model_is_shown_with_its_incident() {
    let site = Site::new().await;
    let incident = site.open(cost_spike()).await;
    let new = NewNarration {
        kind: NarrationKind::Incident,
        subject_id: incident.id.to_string(),
        provider: "anthropic".to_owned(),
        model: "m".to_owned(),
        host: "api.anthropic.com".to_owned(),
        outcome: NarrationOutcome::Rejected,
        reason: Some("'9' is not claimed".to_owned()),
        requests: 2,
        prompt_tokens: 10,
        completion_tokens: 5,
        sent: "[{}]".to_owned(),
        sent_sha256: "0".repeat(64),
        redactions: json!({"e-mail": 1}),
        answer: None,
    };
    site.store.narrations.append(&site.scope, new, tripline_engine::Clock::now(&*site.clock)).await.unwrap();
    let detail = site.get(&format!("/api/v1/incidents/{}", incident.id)).await;
    let shown = &detail["narrations"][0];
    assert_eq!(
        (&shown["outcome"], &shown["sent"], &shown["host"]),
        (&json!("rejected"), &json!("[{}]"), &json!("api.anthropic.com"))
    );
}

#[tokio::test]
async fn settings_are_changed_by_admins_checked_in_force_at_once_and_on_the_record() {
    let site = Site::new().await;
    let path = "/api/v1/settings";
    let good = json!({"cost_spike_multiplier": 3.5, "governance": {"max_auto_actions_per_hour": 1}});
    for key in ["read", "operate", "ingest"] {
        assert_eq!(send(&site, key, Method::PATCH, path, &good).await.0, 403, "{key}");
    }
    let (status, answer) = send(&site, "admin", Method::PATCH, path, &good).await;
    assert_eq!((status, &answer["settings"]["cost_spike_multiplier"]), (200, &json!(3.5)), "{answer}");
    assert_eq!(answer["settings"]["governance"]["approvers"][0], super::site::APPROVER, "what was not named stays");
    assert_eq!(site.get(path).await["settings"]["cost_spike_multiplier"], json!(3.5));
    let row = recorded(&site, "settings.changed").await.remove(0);
    let detail = row.entry.detail.value().unwrap();
    assert_eq!(row.entry.actor, "admin");
    assert_eq!(
        detail["changes"],
        json!([{"key": "cost_spike_multiplier", "before": 2.5, "after": 3.5},
            {"key": "governance.max_auto_actions_per_hour", "before": 3, "after": 1}])
    );
    for bad in [
        json!({"cost_spike_multiplier": -2}),
        json!({"cost_spike_multiplier": "NaN"}),
        json!({"pr_risk_threshold": 70.5}),
        json!({"no_such_setting": 1}),
        json!({"cost_spike_multiplier": 4, "pr_risk_threshold": 1000}),
    ] {
        let (status, answer) = send(&site, "admin", Method::PUT, path, &bad).await;
        assert_eq!(status, 422, "{bad}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().len() > 20, "{answer}");
    }
    let nan = site.request("admin", Method::PUT, path).header("content-type", "application/json");
    assert_eq!(nan.body(r#"{"cost_spike_multiplier": NaN}"#).send().await.unwrap().status(), 400);
    assert_eq!(send(&site, "other", Method::PATCH, path, &good).await.0, 403, "a customer's admin is none of ours");
    assert_eq!(recorded(&site, "settings.changed").await.len(), 1);
    assert_eq!(site.get(path).await["settings"]["cost_spike_multiplier"], json!(3.5));
    // The four keys of the reference product, all at once; what is the same is no change.
    let four = json!({"cost_spike_multiplier": 3.5, "pr_risk_threshold": 80, "agent_loop_generation_threshold": 12,
        "error_cascade_threshold": 10.0});
    let (status, answer) = send(&site, "admin", Method::PUT, path, &four).await;
    assert_eq!((status, answer["changes"].as_array().unwrap().len()), (200, 2), "{answer}");
}

#[tokio::test]
async fn digests_are_listed_newest_first_and_there_is_none_at_first() {
    let site = Site::new().await;
    let response = site.request("read", Method::GET, "/api/v1/digest/latest").send().await.unwrap();
    assert_eq!(response.status(), 404);
    let end: chrono::DateTime<chrono::Utc> = "2026-11-23T09:00:00Z".parse().unwrap();
    for week in 0..3 {
        let week_end = end - chrono::TimeDelta::weeks(week);
        let digest = Digest {
            id: format!("weekly-{}", week_end.date_naive()),
            week_start: week_end - chrono::TimeDelta::weeks(1),
            week_end,
            time_zone: "UTC".to_owned(),
            created_at: week_end,
            narrator: "template".to_owned(),
            report: "## What Shipped".to_owned(),
            sections: json!({}),
            figures: json!({"merged": {"value": 7, "query": "digest_merges", "row": null, "field": "row_count"}}),
            queries: json!([]),
            gaps: Vec::new(),
            cost_usd: Some(1.5),
        };
        site.store.digests.put(&site.scope, digest).await.unwrap();
    }
    let latest = site.get("/api/v1/digest/latest").await;
    assert_eq!(
        (&latest["id"], &latest["report_text"], &latest["cost_impact"]),
        (&json!("weekly-2026-11-23"), &json!("## What Shipped"), &json!(1.5))
    );
    let page = site.get("/api/v1/digest/history?limit=2").await;
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = site.get(&format!("/api/v1/digest/history?cursor={cursor}")).await;
    assert_eq!(rest["items"][0]["id"], "weekly-2026-11-09");
    assert_eq!(site.get("/api/v1/digest/weekly-2026-11-16").await["figures"]["merged"]["value"], json!(7));
}

#[tokio::test]
async fn kept_schemas_and_drift_are_listed_and_unknown_outputs_are_no_clean_ones() {
    let site = Site::new().await;
    let now = tripline_engine::Clock::now(&*site.clock);
    for (feature, keys) in [("support-bot", 1), ("support-bot", 2), ("other", 1)] {
        let window = Window::new(now - chrono::TimeDelta::days(7), now).unwrap();
        let schema = json!({"kind": "object", "fail_share": 0.0, "keys": {format!("k{keys}"): {"required": true, "types": ["string"]}}});
        let new = NewSchemaSnapshot { feature: feature.to_owned(), schema, sample_count: 50, window };
        site.store.schemas.put(&site.scope, new, now).await.unwrap();
    }
    let newest = site.get("/api/v1/quality/snapshots").await;
    let ids: Vec<&str> = newest["items"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["other@1", "support-bot@2"]);
    let all = site.get("/api/v1/quality/snapshots?feature=support-bot&all_versions=true").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 2);

    let evidence = json!({"drift_type": "schema_break", "fail_rate": 0.5, "feature": "support-bot"});
    site.open(finding("prompt_drift", "support-bot", tripline_store::Severity::Medium, evidence)).await;
    let drift = site.get("/api/v1/quality/drift").await;
    let first = &drift["items"][0];
    assert_eq!(
        (&first["feature_name"], &first["drift_type"], &first["validation_fail_rate"]),
        (&json!("support-bot"), &json!("schema_break"), &json!(0.5))
    );
    assert!(first["blame_commit_sha"].as_str().unwrap().starts_with("9f2c1ab0"));

    // This site has no Langfuse at all.
    let path = "/api/v1/quality/feature/support-bot/validation";
    let response = site.request("read", Method::GET, path).send().await.unwrap();
    assert!(response.status().is_server_error(), "{}", response.status());
    let (status, answer) = site.post("operate", "/api/v1/quality/scan", &json!({})).await;
    assert_eq!((status, &answer["error"]["code"]), (404, &json!("not_found")), "this site has no such job: {answer}");
    assert_eq!(site.post("read", "/api/v1/quality/scan", &json!({})).await.0, 403);
}
