//! What is promised of actions that are done side by side. The clock of timeouts stands still unless a test moves it.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tripline_store::ActionStatus;

use super::*;
use crate::actions::{Destinations, OutboxOptions, PullComment};
use crate::govern::Governance;
use crate::govern::testing::{Fault, House, cost_spike};

#[test]
fn every_type_of_action_has_exactly_one_lane() {
    let known = ActionType::ALL.map(ActionType::as_str);
    for action_type in known.into_iter().chain(["of a later version"]) {
        let takes = |lane: &&Lane| match lane.lease_types() {
            LeaseTypes::Any => true,
            LeaseTypes::Only(types) => types.iter().any(|one| one == action_type),
            LeaseTypes::Except(types) => types.iter().all(|one| one != action_type),
        };
        let lanes: Vec<&str> = LANES.iter().filter(takes).map(|lane| lane.name).collect();
        assert_eq!(lanes.len(), 1, "{action_type} goes down {lanes:?}");
        let needs_nobody = ["kill_loop", "record", "of a later version"].contains(&action_type);
        assert_eq!(lanes == ["here"], needs_nobody, "{action_type} goes down {lanes:?}");
    }
}

/// The worker, at work, while timeouts only pass when they are told to.
struct AtWork {
    stop: CancellationToken,
    worker: tokio::task::JoinHandle<()>,
    /// A clock that stands still leaps to the next timeout when the runtime is idle. This one never is.
    busy: tokio::task::JoinHandle<()>,
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.busy.abort();
    }
}

impl AtWork {
    fn start(governance: &Governance) -> Self {
        tokio::time::pause();
        let stop = CancellationToken::new();
        let busy = tokio::spawn(async {
            loop {
                tokio::task::yield_now().await;
            }
        });
        Self { worker: tokio::spawn(governance.outbox.clone().run(stop.clone())), stop, busy }
    }

    /// Nobody may be waited for by then: no time passes.
    async fn end(self) {
        self.stop.cancel();
        until("the worker ends", async || self.worker.is_finished()).await;
    }
}

/// Turns the wheel until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(60), "in vain: {what}");
        tokio::task::yield_now().await;
    }
}

async fn signals(house: &House, count: usize) {
    for index in 0..count {
        let body = json!({"signal": index}).to_string();
        house
            .governance
            .notices
            .webhook(&house.scope, format!("signal {index}"), None, body, house.now())
            .await
            .unwrap();
    }
}

async fn standing(house: &House, status: ActionStatus) -> usize {
    house.actions("signal_webhook").await.iter().filter(|action| action.status == status).count()
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_neither_slack_nor_the_other_signals() {
    let house = House::with_webhook().await;
    house.vendors.fault("/hook", Fault::Hang);
    signals(&house, 5).await;
    let work = AtWork::start(&house.governance);
    house.open(cost_spike()).await;
    until("the others are told, and Slack", async || {
        standing(&house, ActionStatus::Done).await == 4 && house.vendors.messages().len() == 1
    })
    .await;
    assert_eq!(standing(&house, ActionStatus::Sending).await, 1, "the one that hangs");

    // Its own attempt ends with the request's time, and is repeated under the same key.
    tokio::time::advance(Duration::from_secs(11)).await;
    until("the attempt ends", async || standing(&house, ActionStatus::Pending).await == 1).await;
    let hung =
        house.actions("signal_webhook").await.into_iter().find(|one| one.status == ActionStatus::Pending).unwrap();
    assert_eq!(hung.attempts, 1);
    assert!(hung.error.as_deref().unwrap().contains("no answer in time"), "{:?}", hung.error);
    house.advance(TimeDelta::seconds(5));
    house.governance.notices.waker().wake();
    until("it is told in the end", async || standing(&house, ActionStatus::Done).await == 5).await;
    let keys: Vec<String> = house
        .vendors
        .seen("/hook")
        .iter()
        .map(|seen| seen.headers["idempotency-key"].clone())
        .filter(|key| *key == hung.idempotency_key)
        .collect();
    assert_eq!(keys.len(), 2);
    work.end().await;
}

#[tokio::test]
async fn of_a_dead_receiver_a_few_are_waited_for_at_once_and_every_signal_gets_its_turn() {
    let house = House::with_webhook().await;
    for _ in 0..20 {
        house.vendors.fault("/hook", Fault::Hang);
    }
    signals(&house, 20).await;
    let work = AtWork::start(&house.governance);
    until("eight are under way", async || house.vendors.seen("/hook").len() == 8).await;
    house.open(cost_spike()).await;
    until("Slack is told", async || house.vendors.messages().len() == 1).await;
    assert_eq!((house.vendors.seen("/hook").len(), standing(&house, ActionStatus::Sending).await), (8, 8));
    for turn in [16, 20] {
        tokio::time::advance(Duration::from_secs(11)).await;
        until("the next ones have their turn", async || house.vendors.seen("/hook").len() == turn).await;
    }
    tokio::time::advance(Duration::from_secs(11)).await;
    until("nobody is waited for", async || standing(&house, ActionStatus::Pending).await == 20).await;
    assert!(house.actions("signal_webhook").await.iter().all(|action| action.attempts == 1));
    work.end().await;
}

#[tokio::test]
async fn an_attempt_ends_at_its_deadline_whatever_the_receiver_does_and_stopping_waits_no_longer() {
    let house = House::new().await;
    let mut variables = house.vendors.environment();
    variables.set("WEBHOOK_URL", house.vendors.hook());
    let options = OutboxOptions { attempt_deadline: Duration::from_secs(3), ..House::options() };
    let destinations = Destinations::from_environment(&variables);
    let governance = Governance::new(&house.context, house.system_clock.clone(), destinations, options).unwrap();
    house.vendors.fault("/hook", Fault::Hang);
    signals(&house, 1).await;
    let work = AtWork::start(&governance);
    until("it hangs", async || house.vendors.seen("/hook").len() == 1).await;
    work.stop.cancel();
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert!(!work.worker.is_finished(), "what is under way is finished");
    tokio::time::advance(Duration::from_millis(3_010)).await;
    work.end().await;
    // It may have arrived: whoever looks after it next waits for the lease, then repeats it under its key.
    assert_eq!(standing(&house, ActionStatus::Sending).await, 1);
    house.advance(TimeDelta::minutes(2));
    assert_eq!(governance.outbox.drain(house.now()).await.unwrap().done, 1);
}

#[tokio::test]
async fn a_comment_that_is_tried_again_later_never_replaces_a_newer_one() {
    let house = House::new().await;
    let comment = |body: &str| PullComment {
        key: "pull 7".to_owned(),
        repository: "acme/shop".to_owned(),
        number: 7,
        body: body.to_owned(),
    };
    let notices = &house.governance.notices;
    for _ in 0..7 {
        house.vendors.add_issue("a pull request", "");
    }
    house.vendors.fault_of("POST", "/issues/7/comments", Fault::Status(503));
    notices.pull_comment(&house.scope, "acme/shop#7", comment("older"), house.now()).await.unwrap();
    house.drain().await;
    house.advance(TimeDelta::milliseconds(10));
    notices.pull_comment(&house.scope, "acme/shop#7", comment("newer"), house.now()).await.unwrap();
    house.drain().await;
    let stands = async || {
        house.actions("github_pull_comment").await.iter().map(|one| (one.status, one.attempts)).collect::<Vec<_>>()
    };
    assert_eq!(stands().await, [(ActionStatus::Pending, 1), (ActionStatus::Pending, 0)], "the newer one waits");
    house.advance(TimeDelta::seconds(10));
    house.drain().await;
    let written: Vec<String> = house
        .vendors
        .seen("/issues/")
        .iter()
        .filter(|seen| seen.method != "GET")
        .map(|seen| seen.body["body"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(written.last().map(String::as_str), Some("newer"), "{written:?}");
    assert!(written.contains(&"older".to_owned()));
}
