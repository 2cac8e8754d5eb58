//! The approval gate: one decision, whoever and however many press.

use std::future::IntoFuture;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::HeaderMap;
use chrono::Utc;
use futures::future::join_all;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::net::TcpListener;

use crate::harness::{APPROVER, SIGNING_SECRET, Serve, Site, until};
use crate::seeded;

const HALF: usize = 50;

/// What became of a hundred presses at once.
struct Rush {
    /// Answers of the API.
    api: Vec<(u16, Value)>,
}

impl Rush {
    fn claimed(&self) -> usize {
        self.api.iter().filter(|(status, _)| *status == 200).count()
    }
}

/// A press as Slack signed it, on its way.
#[derive(Debug, Clone)]
struct Signed {
    stamp: String,
    signature: String,
    body: String,
}

impl Signed {
    async fn arrive(self, serve: &Serve) -> u16 {
        let request = serve
            .client
            .post(format!("{}/api/slack/actions", serve.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-slack-request-timestamp", self.stamp)
            .header("x-slack-signature", self.signature)
            .body(self.body);
        request.send().await.unwrap().status().as_u16()
    }
}

/// Fifty presses on a message that still has its buttons. They are held back, so that all can arrive at once.
async fn pressed(scene: &seeded::Scene, approval: &Value, buttons: &[&str]) -> Vec<Signed> {
    let held: Arc<Mutex<Vec<Signed>>> = Arc::default();
    let kept = Arc::clone(&held);
    let hold = async move |headers: HeaderMap, body: String| {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let (stamp, signature) = (header("x-slack-request-timestamp"), header("x-slack-signature"));
        kept.lock().unwrap().push(Signed { stamp, signature, body });
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(axum::serve(listener, Router::new().fallback(hold)).into_future());
    for press in 0..HALF {
        let button = format!("tripline_{}", buttons[press % buttons.len()]);
        assert_eq!(scene.vendors.click_at(&address, APPROVER, approval, &button).await, 200);
    }
    server.abort();
    let signed = held.lock().unwrap().clone();
    assert_eq!(signed.len(), HALF);
    signed
}

/// Fifty presses in Slack arrive while fifty requests come in at the API.
async fn rush(scene: &seeded::Scene, serve: &Serve, approval: &Value, slack: &[&str], api: &[&str]) -> Rush {
    let id = approval["id"].as_str().unwrap();
    let presses = pressed(scene, approval, slack).await;
    let presses = presses.into_iter().map(|press| async move {
        assert_eq!(press.arrive(serve).await, 200, "Slack is always answered");
    });
    let calls = (0..HALF).map(|call| async move {
        let answer = serve.post(&format!("/api/v1/approvals/{id}/{}", api[call % api.len()]), &json!({})).await;
        (answer.status, answer.body)
    });
    let (_, api) = futures::join!(join_all(presses), join_all(calls));
    for (status, body) in &api {
        match status {
            200 => {}
            409 => assert_eq!(body["error"]["code"], "already_resolved", "{body}"),
            _ => panic!("{status} {body}"),
        }
    }
    Rush { api }
}

/// Those who came too late, or pressed another button, are told so in Slack, and nobody else is.
async fn told_too_late(scene: &seeded::Scene) -> usize {
    let writes = scene.vendors.writes().await;
    let told = writes.iter().filter(|w| w.source == "slack" && w.path.contains("/response/"));
    told.filter(|w| w.body["response_type"] == "ephemeral").count()
}

async fn assert_chain_holds(site: &Site) {
    let verified = site.run(&["audit", "verify"]).await;
    assert!(verified.status.success() && verified.stdout.starts_with("intact:"), "{verified:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_approvals_at_once_are_one_execution() {
    let scene = seeded::cascade().await;
    let (serve, approval) = scene.asked("error_cascade").await;
    let rush = rush(&scene, &serve, &approval, &["approve"], &["approve"]).await;
    assert!(rush.claimed() <= 1);

    let action = serve.remediation("done").await;
    assert_eq!(
        action["attempts"].as_array().map_or_else(|| action["attempts"].as_i64(), |a| Some(a.len() as i64)),
        Some(1)
    );
    // One press claimed; if it was Slack's, one of the fifty is not told that it came too late.
    let expected = if rush.claimed() == 1 { HALF } else { HALF - 1 };
    until("everybody else to be told", async || (told_too_late(&scene).await == expected).then_some(())).await;

    assert_eq!(scene.vendors.issues().await.len(), 1, "one issue at GitHub");
    assert_eq!(scene.vendors.attempts_to_open().await, 1);
    assert_eq!(serve.remediations().await.len(), 1, "one action row");
    let decided = serve.items("/api/v1/audit?event=approval.approved").await;
    assert_eq!(decided.len(), 1, "{decided:#?}");
    assert_chain_holds(&scene.site).await;
    assert!(serve.terminate().await.success());
    assert_chain_holds(&scene.site).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_and_rejections_at_once_are_one_decision_and_at_most_one_execution() {
    let scene = seeded::spike().await;
    let (serve, approval) = scene.asked("cost_spike").await;
    rush(&scene, &serve, &approval, &["approve", "reject"], &["reject", "approve"]).await;
    let id = approval["id"].as_str().unwrap();
    let decided = serve.get(&format!("/api/v1/approvals/{id}")).await;
    let approved = decided["status"] == "approved";
    assert!(approved || decided["status"] == "rejected", "{decided}");
    if approved {
        serve.remediation("done").await;
    }
    assert_eq!(serve.remediations().await.len(), usize::from(approved));
    assert_eq!(scene.vendors.attempts_to_open().await, usize::from(approved));
    let approvals = serve.items("/api/v1/audit?event=approval.approved").await;
    let rejections = serve.items("/api/v1/audit?event=approval.rejected").await;
    assert_eq!(approvals.len() + rejections.len(), 1);
    assert_chain_holds(&scene.site).await;
}

/// A press as Slack sends it, by somebody who may know the secret and the time, or not.
struct Press<'a> {
    secret: Option<&'a str>,
    seconds_off: i64,
    /// Makes the body, and so the signature, different from others.
    trigger: &'a str,
    approval: &'a Value,
}

impl Press<'_> {
    fn body(&self) -> String {
        let value =
            format!("{}:{}", self.approval["id"].as_str().unwrap(), self.approval["payload_sha256"].as_str().unwrap());
        let payload = json!({
            "type": "block_actions",
            "user": {"id": APPROVER},
            "trigger_id": self.trigger,
            "actions": [{"type": "button", "action_id": "tripline_approve", "value": value}],
        });
        url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish()
    }

    async fn send(&self, serve: &Serve) -> u16 {
        let stamp = (Utc::now().timestamp() + self.seconds_off).to_string();
        self.send_as(serve, &self.body(), &stamp).await
    }

    async fn send_as(&self, serve: &Serve, body: &str, stamp: &str) -> u16 {
        let mut request = serve
            .client
            .post(format!("{}/api/slack/actions", serve.url))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body.to_owned());
        if let Some(secret) = self.secret {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(format!("v0:{stamp}:{body}").as_bytes());
            let signature = format!("v0={}", hex::encode(mac.finalize().into_bytes()));
            request = request.header("x-slack-request-timestamp", stamp).header("x-slack-signature", signature);
        }
        request.send().await.unwrap().status().as_u16()
    }
}

async fn refusals(serve: &Serve) -> Vec<String> {
    let rows = serve.items("/api/v1/audit?event=webhook.refused&limit=100").await;
    let mut reasons: Vec<String> =
        rows.iter().map(|row| row["detail"]["reason"].as_str().unwrap_or_default().to_owned()).collect();
    reasons.sort();
    reasons
}

#[tokio::test]
async fn presses_that_are_forged_stale_replayed_or_unsigned_are_refused_and_on_the_record() {
    let scene = seeded::cascade().await;
    let (serve, approval) = scene.asked("error_cascade").await;
    let press = |secret, seconds_off, trigger| Press { secret, seconds_off, trigger, approval: &approval };

    assert_eq!(press(Some("another-secret"), 0, "1").send(&serve).await, 403, "forged");
    assert_eq!(press(Some(SIGNING_SECRET), -301, "2").send(&serve).await, 403, "too old");
    // One second of room: the stamp is read a moment later than it was written.
    assert_eq!(press(Some(SIGNING_SECRET), 302, "3").send(&serve).await, 403, "from the future");
    assert_eq!(press(None, 0, "4").send(&serve).await, 403, "unsigned");
    // A signature of the right form that is none.
    let honest = press(Some(SIGNING_SECRET), 0, "5");
    let (body, stamp) = (honest.body(), Utc::now().timestamp().to_string());
    let invented = serve
        .client
        .post(format!("{}/api/slack/actions", serve.url))
        .header("x-slack-request-timestamp", &stamp)
        .header("x-slack-signature", format!("v0={}", "0".repeat(64)))
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(invented.status(), 403);
    let id = approval["id"].as_str().unwrap();
    let still = serve.get(&format!("/api/v1/approvals/{id}")).await;
    assert_eq!(still["status"], "pending", "none of them decided anything");
    assert_eq!(serve.remediations().await, Vec::<Value>::new());

    assert_eq!(honest.send_as(&serve, &body, &stamp).await, 200, "the honest one");
    assert_eq!(honest.send_as(&serve, &body, &stamp).await, 403, "and again, byte for byte");
    serve.remediation("done").await;
    assert_eq!(scene.vendors.issues().await.len(), 1);
    assert_eq!(refusals(&serve).await, ["forged", "forged", "replayed", "stale", "stale", "unsigned"]);
    assert_chain_holds(&scene.site).await;

    // What was seen stays seen over a restart.
    serve.kill().await;
    let serve = scene.again(5).await;
    assert_eq!(honest.send_as(&serve, &body, &stamp).await, 403, "replayed after a restart");
    assert_eq!(scene.vendors.issues().await.len(), 1);
}

#[tokio::test]
async fn without_a_signing_secret_nobody_decides_in_slack() {
    let mut scene = seeded::cascade().await;
    scene.site.unset("SLACK_SIGNING_SECRET");
    let (serve, approval) = scene.asked("error_cascade").await;
    let press = |secret| Press { secret, seconds_off: 0, trigger: "1", approval: &approval };
    for secret in [Some(SIGNING_SECRET), Some("x"), None] {
        assert_eq!(press(secret).send(&serve).await, 403, "{secret:?}");
    }
    assert_eq!(refusals(&serve).await, ["no_secret", "no_secret", "no_secret"]);
    assert_eq!(serve.pending("error_cascade").await["id"], approval["id"]);
    assert_chain_holds(&scene.site).await;
}

#[tokio::test]
async fn a_press_by_somebody_who_is_no_approver_decides_nothing() {
    let scene = seeded::cascade().await;
    let (serve, approval) = scene.asked("error_cascade").await;
    assert_eq!(scene.vendors.click(&serve, "U0SOMEBODY", &approval, "tripline_approve").await, 200);
    until("the person to be told", async || (told_too_late(&scene).await == 1).then_some(())).await;
    assert_eq!(serve.pending("error_cascade").await["id"], approval["id"]);
    assert_eq!(serve.remediations().await, Vec::<Value>::new());
}

#[tokio::test]
async fn a_loop_is_stopped_by_policy_and_its_agent_reads_so() {
    let scene = seeded::agent_loop().await;
    let serve = scene.site.serve(scene.now).await;
    let action = serve.remediation("requested").await;
    let trace = serve.incident("agent_loop").await["entity"].as_str().unwrap().to_owned();
    assert_eq!(action["target"], trace.as_str());
    let control = serve.get(&format!("/v1/runs/{trace}/control")).await;
    assert_eq!(control["state"], "kill_requested", "{control}");
    // The id as a UUID, as some SDKs write it.
    let dashed = [&trace[..8], &trace[8..12], &trace[12..16], &trace[16..20], &trace[20..]].join("-");
    assert_eq!(serve.get(&format!("/v1/runs/{dashed}/control")).await["state"], "kill_requested");
    let stopped = serve.post(&format!("/v1/runs/{dashed}/control"), &json!({"state": "stopped"})).await;
    assert_eq!(stopped.status, 200, "{stopped:?}");
    serve.remediation("done").await;
    assert_eq!(scene.vendors.attempts_to_open().await, 0);
}
