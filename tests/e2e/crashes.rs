//! `kill -9` between the click and the action: executed exactly once, or *unknown* where the vendor cannot tell.

use serde_json::Value;

use crate::harness::{APPROVER, Serve, until};
use crate::seeded::{self, Scene};

/// Somebody approves; the decision is on disk when Slack is answered.
async fn approved(scene: &Scene) -> Serve {
    let (serve, approval) = scene.asked("error_cascade").await;
    assert_eq!(scene.vendors.click(&serve, APPROVER, &approval, "tripline_approve").await, 200);
    serve
}

/// Waits until GitHub was asked to open the issue so often.
async fn asked_to_open(scene: &Scene, times: usize) {
    until("the request to open the issue", async || (scene.vendors.attempts_to_open().await >= times).then_some(()))
        .await;
}

async fn assert_done_once(scene: &Scene, serve: &Serve) -> Value {
    let action = serve.remediation("done").await;
    let issues = scene.vendors.issues().await;
    assert_eq!(issues.len(), 1, "{issues:#?}");
    assert!(action["result"]["number"].is_number(), "{action}");
    let verified = scene.site.run(&["audit", "verify"]).await;
    assert!(verified.status.success(), "{verified:?}");
    action
}

#[tokio::test]
async fn killed_before_the_request_could_be_sent_it_is_sent_once_after_the_restart() {
    let mut scene = seeded::cascade().await;
    let (serve, approval) = scene.asked("error_cascade").await;
    serve.kill().await;
    // Nobody listens there: nothing can leave.
    let github = format!("{}/github", scene.vendors.base());
    scene.site.set("GITHUB_API_URL", "http://127.0.0.1:1");
    let serve = scene.again(1).await;
    assert_eq!(scene.vendors.click(&serve, APPROVER, &approval, "tripline_approve").await, 200);
    until("an attempt", async || {
        let actions = serve.remediations().await;
        actions.first().filter(|action| !action["error"].is_null() || action["status"] == "sending").map(|_| ())
    })
    .await;
    serve.kill().await;
    assert_eq!(scene.vendors.attempts_to_open().await, 0);

    scene.site.set("GITHUB_API_URL", github);
    let serve = scene.again(30).await;
    assert_done_once(&scene, &serve).await;
    assert_eq!(scene.vendors.attempts_to_open().await, 1);
}

#[tokio::test]
async fn killed_while_a_vendor_that_did_nothing_keeps_silent_it_is_done_once_after_the_restart() {
    let scene = seeded::cascade().await;
    scene.vendors.fault("github", "/issues", "hang").await;
    let serve = approved(&scene).await;
    asked_to_open(&scene, 1).await;
    serve.kill().await;
    assert_eq!(scene.vendors.issues().await.len(), 0, "the vendor carried nothing out");

    scene.vendors.heal().await;
    let serve = scene.again(5).await;
    assert_done_once(&scene, &serve).await;
    assert_eq!(scene.vendors.attempts_to_open().await, 2, "the one that hung, and the one that did it");
}

/// The vendor does it and its answer is lost; the process dies before it could look.
async fn answer_lost(fault: &str) {
    let scene = seeded::cascade().await;
    scene.vendors.fault("github", "/issues", fault).await;
    let serve = approved(&scene).await;
    until("the issue", async || (scene.vendors.issues().await.len() == 1).then_some(())).await;
    serve.kill().await;

    scene.vendors.heal().await;
    let serve = scene.again(5).await;
    let action = assert_done_once(&scene, &serve).await;
    assert_eq!(scene.vendors.attempts_to_open().await, 1, "it was found, not sent again: {action}");
}

#[tokio::test]
async fn killed_after_the_vendor_did_it_without_an_answer_it_is_found_and_not_sent_again() {
    answer_lost("drop-answer").await;
}

#[tokio::test]
async fn killed_after_the_vendor_did_it_with_half_an_answer_it_is_found_and_not_sent_again() {
    answer_lost("truncate").await;
}

#[tokio::test]
async fn an_answer_lost_without_a_crash_is_looked_for_and_not_sent_again() {
    let scene = seeded::cascade().await;
    scene.vendors.fault_once("github", "/issues", "drop-answer").await;
    let serve = approved(&scene).await;
    assert_done_once(&scene, &serve).await;
    assert_eq!(scene.vendors.attempts_to_open().await, 1);
}

#[tokio::test]
async fn where_the_vendor_cannot_tell_the_action_is_unknown_and_never_sent_again() {
    let scene = seeded::cascade().await;
    scene.vendors.fault("github", "/issues", "hang").await;
    let serve = approved(&scene).await;
    asked_to_open(&scene, 1).await;
    serve.kill().await;

    // The token may not list issues any more: whether ours is there cannot be found out.
    scene.vendors.heal().await;
    scene.vendors.fault("github", "/issues", "status:404").await;
    let serve = scene.again(5).await;
    let action = serve.remediation("unknown").await;
    assert!(action["error"].as_str().is_some_and(|why| why.contains("404")), "{action}");

    // Neither time, nor a restart, nor a vendor that can tell again sends it.
    scene.vendors.heal().await;
    serve.kill().await;
    let serve = scene.again(60).await;
    serve.judged().await;
    assert_eq!(serve.remediation("unknown").await["id"], action["id"]);
    assert!(serve.terminate().await.success());
    assert_eq!(scene.vendors.attempts_to_open().await, 1);

    // Somebody looked and says so.
    let serve = scene.again(61).await;
    let id = action["id"].as_str().unwrap();
    let settled = serve
        .post(&format!("/api/v1/actions/{id}/settle"), &serde_json::json!({"status": "failed", "note": "not there"}))
        .await;
    assert_eq!(settled.status, 200, "{settled:?}");
    serve.remediation("failed").await;
    assert_eq!(scene.vendors.attempts_to_open().await, 1);
}

#[tokio::test]
async fn a_decision_survives_a_crash_right_after_its_answer() {
    let scene = seeded::cascade().await;
    let serve = approved(&scene).await;
    serve.kill().await;
    let serve = scene.again(5).await;
    assert_done_once(&scene, &serve).await;
}
