//! Events of agents: `kill -9` while they are sent and sealed loses nothing acknowledged and doubles nothing.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::harness::{Serve, until};
use crate::seeded;

const SENDERS: usize = 8;
const BATCH: usize = 25;

/// Batches that are sent until they are acknowledged, over the life of several servers.
#[derive(Default)]
struct Sent {
    next: AtomicUsize,
    acknowledged: Mutex<BTreeSet<String>>,
    /// Batches that were sent and never answered: they are sent again.
    open: Mutex<Vec<Value>>,
}

impl Sent {
    fn batch(&self) -> Value {
        if let Some(batch) = self.open.lock().unwrap().pop() {
            return batch;
        }
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let event = |n: usize| {
            json!({"event_type": "tool.called", "run_id": format!("run {}", number % 7), "agent_id": "e2e",
                   "agent_version": "1", "step_index": n, "payload": {"tool_name": "t"},
                   "event_id": format!("{number} {n}")})
        };
        json!({"api_key": "", "agent_id": "e2e", "events": (0..BATCH).map(event).collect::<Vec<_>>()})
    }

    /// Sends until the server is gone.
    async fn send(&self, url: &str, client: &reqwest::Client) {
        loop {
            let batch = self.batch();
            let answer = client.post(format!("{url}/v1/ingest")).json(&batch).send().await;
            let Ok(answer) = answer else { return self.open.lock().unwrap().push(batch) };
            let status = answer.status().as_u16();
            let Ok(said) = answer.json::<Value>().await else { return self.open.lock().unwrap().push(batch) };
            assert_eq!((status, said["accepted"].as_u64()), (202, Some(BATCH as u64)), "{said}");
            let ids = batch["events"].as_array().unwrap().iter().map(|event| event["event_id"].as_str().unwrap());
            self.acknowledged.lock().unwrap().extend(ids.map(str::to_owned));
        }
    }

    fn count(&self) -> usize {
        self.acknowledged.lock().unwrap().len()
    }
}

async fn send_until_killed(serve: Serve, sent: &Arc<Sent>, more: usize, sealed: impl Fn() -> usize) {
    let tasks: Vec<_> = (0..SENDERS)
        .map(|_| {
            let (sent, url, client) = (Arc::clone(sent), serve.url.clone(), serve.client.clone());
            tokio::spawn(async move { sent.send(&url, &client).await })
        })
        .collect();
    let (begun, files) = (sent.count(), sealed());
    until("enough acknowledgements, and sealing", async || {
        (sent.count() >= begun + more && sealed() > files).then_some(())
    })
    .await;
    serve.kill().await;
    for task in tasks {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_while_events_are_sent_and_sealed_nothing_acknowledged_is_lost_and_nothing_is_doubled() {
    let scene = seeded::cascade().await;
    scene.site.settings(&json!({"ingest": {"seal_after": "1s", "seal_events": 1000}}));
    let segments = scene.site.path("state/segments");
    let sealed = || {
        let mut files = 0;
        let mut open = vec![segments.clone()];
        while let Some(folder) = open.pop() {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { open.push(entry.path()) } else { files += 1 }
            }
        }
        files
    };
    let sent = Arc::new(Sent::default());
    for round in 0..3 {
        let serve = scene.site.serve(scene.now + TimeDelta::minutes(round)).await;
        send_until_killed(serve, &sent, 1_500, sealed).await;
    }
    // What nobody answered is sent once more, and answered.
    let serve = scene.site.serve(scene.now + TimeDelta::minutes(5)).await;
    let open = std::mem::take(&mut *sent.open.lock().unwrap());
    for batch in open {
        assert_eq!(serve.post("/v1/ingest", &batch).await.status, 202);
    }
    let rows = scene.site.sql("SELECT event_id FROM ingest.events").await;
    let kept: BTreeSet<&str> = rows.iter().map(|row| row["event_id"].as_str().unwrap()).collect();
    assert_eq!(kept.len(), rows.len(), "an event is there twice");
    assert_eq!(kept.len(), sent.next.load(Ordering::SeqCst) * BATCH, "every event that was ever sent is there");
    for id in sent.acknowledged.lock().unwrap().iter() {
        assert!(kept.contains(id.as_str()), "{id} was acknowledged and is lost");
    }
    assert!(serve.terminate().await.success());
}
