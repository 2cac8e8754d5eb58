use super::*;
use crate::govern::testing::{APPROVER, House, SECRET, agent_loop, cost_spike};
use chrono::TimeDelta;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use tripline_store::{ApprovalStatus, Incident};

/// A signed request.
struct Signed {
    headers: SignatureHeaders,
    body: String,
}

impl Signed {
    fn new(payload: &Value, at: i64) -> Self {
        let body =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("payload", &payload.to_string()).finish();
        Self::of_body(body, at)
    }

    fn of_body(body: String, at: i64) -> Self {
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(format!("v0:{at}:{body}").as_bytes());
        let signature = format!("v0={}", hex::encode(mac.finalize().into_bytes()));
        let headers = SignatureHeaders {
            timestamps: vec![at.to_string().into_bytes()],
            signatures: vec![signature.into_bytes()],
        };
        Self { headers, body }
    }
}

/// An open incident whose message was posted, and what a press of one of its buttons looks like.
async fn posted(house: &House, finding: tripline_store::NewAnomaly) -> Incident {
    let incident = house.open(finding).await;
    house.drain().await;
    incident
}

fn press(house: &House, button: &str, user: &str, serial: u32) -> Value {
    let message = house.vendors.messages().remove(0);
    let element = message["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|block| block["type"] == "actions")
        .flat_map(|block| block["elements"].as_array().unwrap())
        .find(|element| element["action_id"] == button)
        .unwrap_or_else(|| panic!("the message has no {button}"))
        .clone();
    json!({
        "type": "block_actions", "user": {"id": user}, "trigger_id": format!("t{serial}"),
        "container": {"type": "message", "channel_id": "C0INCIDENTS", "message_ts": message["ts"]},
        "response_url": house.vendors.response_url(),
        "actions": [{"action_id": element["action_id"], "value": element["value"], "type": "button"}],
    })
}

async fn send(house: &House, payload: &Value) -> ClickAnswer {
    let at = tripline_engine::Clock::now(&*house.system_clock).timestamp();
    deliver(house, &Signed::new(payload, at)).await
}

async fn deliver(house: &House, signed: &Signed) -> ClickAnswer {
    let click = Click { headers: signed.headers.clone(), body: signed.body.as_bytes() };
    house.governance.clicks.handle(click).await.unwrap()
}

/// What the person who clicked was told.
fn told(house: &House) -> Vec<Value> {
    house.vendors.seen("/response/").into_iter().map(|seen| seen.body).collect()
}

#[tokio::test]
async fn an_approval_runs_its_action_once_and_replaces_the_message() {
    let house = House::new().await;
    posted(&house, cost_spike()).await;
    assert_eq!(send(&house, &press(&house, "tripline_approve", APPROVER, 1)).await, ClickAnswer::Accepted);
    house.drain().await;

    let approval = house.approvals().await.remove(0);
    assert_eq!(approval.status, ApprovalStatus::Approved);
    assert_eq!(approval.resolved_by.as_deref(), Some(APPROVER));
    assert_eq!(house.vendors.issues().len(), 1);
    let replaced = told(&house).remove(0);
    assert_eq!(replaced["replace_original"], true);
    assert!(replaced["text"].as_str().unwrap().starts_with("✅ Approved by <@U0APPROVER1>"), "{replaced}");
    assert!(!replaced["blocks"].to_string().contains("tripline_approve"));
    // The thread tells of the issue, and the message shows it.
    assert!(house.vendors.messages()[1]["text"].as_str().unwrap().contains("/issues/1"));
    assert!(house.vendors.messages()[0]["blocks"].to_string().contains("/issues/1"));
}

#[tokio::test]
async fn a_rejection_runs_nothing() {
    let house = House::new().await;
    posted(&house, cost_spike()).await;
    send(&house, &press(&house, "tripline_reject", APPROVER, 1)).await;
    house.drain().await;
    assert_eq!(house.approvals().await[0].status, ApprovalStatus::Rejected);
    assert!(house.vendors.issues().is_empty());
    assert!(told(&house)[0]["text"].as_str().unwrap().starts_with("❌ Rejected by <@U0APPROVER1>"));
}

#[tokio::test]
async fn the_kill_button_claims_the_same_approval_as_approve() {
    let house = House::new().await;
    let incident = posted(&house, agent_loop(15)).await;
    let (kill, approve) =
        (press(&house, "tripline_kill_loop", APPROVER, 1), press(&house, "tripline_approve", APPROVER, 2));
    send(&house, &kill).await;
    send(&house, &approve).await;
    house.drain().await;
    assert_eq!(house.actions("kill_loop").await.len(), 1);
    let kill = house.store.kills.get(&house.scope, &incident.entity).await.unwrap().unwrap();
    assert_eq!(kill.requested_by, APPROVER);
    let told = told(&house);
    assert!(told[0]["text"].as_str().unwrap().starts_with("🛑 Kill requested by <@U0APPROVER1>"), "{told:?}");
    assert!(told[1]["text"].as_str().unwrap().starts_with("This was already approved by <@U0APPROVER1>"), "{told:?}");
    assert_eq!(told[1]["response_type"], "ephemeral");
}

#[tokio::test]
async fn who_is_not_on_the_list_changes_nothing_and_is_on_the_record() {
    let house = House::new().await;
    posted(&house, cost_spike()).await;
    assert_eq!(send(&house, &press(&house, "tripline_approve", "U0STRANGER1", 1)).await, ClickAnswer::Accepted);
    house.drain().await;
    assert_eq!(house.approvals().await[0].status, ApprovalStatus::Pending);
    assert!(house.vendors.issues().is_empty());
    assert!(told(&house)[0]["text"].as_str().unwrap().contains("not on the list of approvers"));
    let record = house.record("approval.denied").await;
    assert_eq!((record.len(), record[0].entry.actor.as_str()), (1, "U0STRANGER1"));
}

#[tokio::test]
async fn an_empty_list_of_approvers_means_nobody() {
    let house = House::with(|settings| settings.governance.approvers.clear(), |_| {}).await;
    posted(&house, cost_spike()).await;
    send(&house, &press(&house, "tripline_approve", APPROVER, 1)).await;
    assert_eq!(house.approvals().await[0].status, ApprovalStatus::Pending);
}

#[tokio::test]
async fn a_forged_stale_replayed_or_unsigned_click_is_refused_and_on_the_record() {
    let house = House::new().await;
    posted(&house, cost_spike()).await;
    let payload = press(&house, "tripline_approve", APPROVER, 1);
    let now = tripline_engine::Clock::now(&*house.system_clock).timestamp();

    let mut forged = Signed::new(&payload, now);
    forged.body.push('x');
    assert_eq!(deliver(&house, &forged).await, ClickAnswer::Refused(Refusal::Forged));
    for offset in [-301, 301] {
        let stale = Signed::new(&payload, now + offset);
        assert_eq!(deliver(&house, &stale).await, ClickAnswer::Refused(Refusal::Stale));
    }
    let unsigned = Signed { headers: SignatureHeaders::default(), body: forged.body.clone() };
    assert_eq!(deliver(&house, &unsigned).await, ClickAnswer::Refused(Refusal::Unsigned));
    assert_eq!(house.approvals().await[0].status, ApprovalStatus::Pending);

    // Signed for the future edge: accepted once, and still remembered 600 seconds later.
    let genuine = Signed::new(&payload, now + 300);
    assert_eq!(deliver(&house, &genuine).await, ClickAnswer::Accepted);
    house.system_clock.set(tripline_engine::Clock::now(&*house.system_clock) + TimeDelta::seconds(600));
    assert_eq!(deliver(&house, &genuine).await, ClickAnswer::Refused(Refusal::Replayed));
    house.drain().await;
    assert_eq!(house.vendors.issues().len(), 1);

    let reasons: Vec<Value> = house
        .record("webhook.refused")
        .await
        .iter()
        .map(|row| row.entry.detail.value().unwrap()["reason"].clone())
        .collect();
    assert_eq!(reasons, ["forged", "stale", "stale", "unsigned", "replayed"]);
    assert_eq!(house.governance.clicks.counts(), ClickCounts { accepted: 1, refused: 5 });
    let whole_record = format!("{:?}", house.store.audit.list(&house.scope, &Default::default(), 1000).await.unwrap());
    assert!(!whole_record.contains("v0=") && !whole_record.contains(SECRET));
}

#[tokio::test]
async fn without_a_signing_secret_every_click_is_refused() {
    let house = House::with(|_| {}, |environment| environment.set("SLACK_SIGNING_SECRET", "")).await;
    posted(&house, cost_spike()).await;
    let answer = send(&house, &press(&house, "tripline_approve", APPROVER, 1)).await;
    assert_eq!(answer, ClickAnswer::Refused(Refusal::NoSecret));
    assert_eq!(house.record("webhook.refused").await.len(), 1);
    assert_eq!(house.approvals().await[0].status, ApprovalStatus::Pending);
}

#[tokio::test]
async fn the_payload_approved_is_the_payload_shown() {
    let house = House::new().await;
    posted(&house, cost_spike()).await;
    let mut payload = press(&house, "tripline_approve", APPROVER, 1);
    let id = house.approvals().await[0].id.to_string();
    payload["actions"][0]["value"] = json!(format!("{id}:{}", "0".repeat(64)));
    send(&house, &payload).await;
    house.drain().await;
    assert_eq!(house.approvals().await[0].status, ApprovalStatus::Pending);
    assert!(told(&house)[0]["text"].as_str().unwrap().contains("is not what would run now"));
}

#[tokio::test]
async fn a_click_after_the_last_second_is_too_late() {
    for (milliseconds, status) in [(-1, ApprovalStatus::Approved), (0, ApprovalStatus::Expired)] {
        let house = House::new().await;
        posted(&house, cost_spike()).await;
        let payload = press(&house, "tripline_approve", APPROVER, 1);
        house.advance(TimeDelta::hours(4) + TimeDelta::milliseconds(milliseconds));
        send(&house, &payload).await;
        house.drain().await;
        assert_eq!(house.approvals().await[0].status, status);
        assert_eq!(house.vendors.issues().len(), usize::from(status == ApprovalStatus::Approved));
    }
}

#[tokio::test]
async fn what_is_not_a_button_of_ours_is_answered_and_does_nothing() {
    let house = House::new().await;
    posted(&house, cost_spike()).await;
    let genuine = press(&house, "tripline_approve", APPROVER, 1);
    let mut other_button = genuine.clone();
    other_button["actions"][0]["action_id"] = json!("somebody_elses");
    let mut other_kind = genuine.clone();
    other_kind["type"] = json!("view_submission");
    let mut no_action = genuine.clone();
    no_action["actions"] = json!([]);
    let mut odd_user = genuine.clone();
    odd_user["user"]["id"] = json!("U1> <!channel");
    for payload in [other_button, other_kind, no_action, odd_user] {
        assert_eq!(send(&house, &payload).await, ClickAnswer::Accepted);
    }
    house.drain().await;
    assert_eq!(house.approvals().await[0].status, ApprovalStatus::Pending);
    assert_eq!(told(&house).len(), 4);
    assert!(told(&house).iter().all(|told| told["text"].as_str().unwrap().contains("does not know this button")));
}

#[tokio::test]
async fn a_signed_body_that_is_not_slacks_is_refused() {
    let house = House::new().await;
    let now = tripline_engine::Clock::now(&*house.system_clock).timestamp();
    for body in [
        String::new(),
        "payload=".to_owned(),
        "payload=%7B%7D".to_owned(),
        "other=1".to_owned(),
        "payload=%7B%7D&payload=%7B%7D".to_owned(),
        "payload=not-json".to_owned(),
        "x".repeat(MAX_BODY + 1),
    ] {
        let answer = deliver(&house, &Signed::of_body(body, now)).await;
        assert_eq!(answer, ClickAnswer::Refused(Refusal::MalformedBody));
    }
}

#[tokio::test]
async fn an_address_that_is_not_slacks_is_never_fetched() {
    let house = House::new().await;
    posted(&house, cost_spike()).await;
    let elsewhere = House::new().await;
    let mut payload = press(&house, "tripline_approve", APPROVER, 1);
    payload["response_url"] = json!(elsewhere.vendors.response_url());
    send(&house, &payload).await;
    house.drain().await;
    // The decision stands, and the message is replaced the other way.
    assert_eq!(house.approvals().await[0].status, ApprovalStatus::Approved);
    assert!(elsewhere.vendors.seen("").is_empty());
    assert!(house.vendors.messages()[0]["text"].as_str().unwrap().starts_with("✅ Approved by"));
}

#[tokio::test]
async fn a_click_tells_where_a_message_is_whose_posting_was_never_answered() {
    use crate::govern::testing::Fault;
    // Once: it waits to be posted again. Three times: that is given up.
    for (times, status, fault) in
        [(1, ActionStatus::Pending, Fault::DoneBut(500)), (3, ActionStatus::Unknown, Fault::DropAnswer)]
    {
        let house = House::new().await;
        for _ in 0..times {
            house.vendors.fault("chat.postMessage", fault);
            house.vendors.fault("conversations.history", Fault::SlackError("missing_scope"));
        }
        let incident = posted(&house, cost_spike()).await;
        for _ in 1..times {
            house.advance(chrono::TimeDelta::seconds(60));
            house.drain().await;
        }
        assert_eq!(house.actions("slack_post_message").await[0].status, status);
        let posts = || {
            let seen = house.vendors.seen("chat.postMessage");
            seen.iter().filter(|seen| seen.body.get("thread_ts").is_none()).count()
        };
        let sent = posts();
        send(&house, &press(&house, "tripline_approve", APPROVER, 1)).await;
        house.advance(chrono::TimeDelta::seconds(60));
        house.drain().await;
        assert_eq!(house.actions("slack_post_message").await[0].status, ActionStatus::Done);
        assert_eq!(posts(), sent, "it is there: nothing is posted again");
        let incident = house.store.incidents.get(&house.scope, &incident.id).await.unwrap().unwrap();
        assert_eq!(incident.slack_channel.as_deref(), Some("C0INCIDENTS"));
        assert_eq!(house.vendors.issues().len(), 1);
    }
}

#[tokio::test]
async fn a_hundred_clicks_at_once_execute_once() {
    let house = House::new().await;
    posted(&house, cost_spike()).await;
    let presses: Vec<Value> = (0..100)
        .map(|serial| {
            let button = if serial % 3 == 0 { "tripline_reject" } else { "tripline_approve" };
            press(&house, if serial == 0 { "tripline_approve" } else { button }, APPROVER, serial)
        })
        .collect();
    let answers = futures::future::join_all(presses.iter().map(|payload| send(&house, payload))).await;
    assert!(answers.iter().all(|answer| *answer == ClickAnswer::Accepted));
    house.drain().await;
    let approved = house.approvals().await[0].status == ApprovalStatus::Approved;
    assert_eq!(house.vendors.issues().len(), usize::from(approved));
    assert_eq!(house.actions("open_github_issue").await.len(), usize::from(approved));
    assert_eq!(house.record("approval.claim_refused").await.len(), 99);
}
