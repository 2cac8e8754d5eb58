//! What reading one run costs in a log of many thousand events.

use std::time::Instant;

use super::*;
use crate::ingest::runs::{LogEvents, RunEvents};
use crate::sqlite::tests::Home;

const EVENTS: i64 = 20_000;
const OF_A_RUN: i64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_read_from_where_it_began_and_not_from_the_start_of_the_log() {
    let home = Home::new();
    let store = home.serve();
    for from in (0..EVENTS).step_by(1_000) {
        let events =
            (from..from + 1_000).map(|n| event(Some(&format!("e{n}")), &format!("run {}", n / OF_A_RUN), n % OF_A_RUN));
        accept(&store.store(), events.collect()).await;
    }
    let log = LogEvents::new(store.store().events);
    let last = vec![format!("run {}", EVENTS / OF_A_RUN - 1)];
    for what in ["in the log", "sealed"] {
        let mut took = Vec::new();
        for seq in [0, EVENTS - OF_A_RUN] {
            let began = Instant::now();
            for _ in 0..5 {
                let batches = log.of_runs(&scope(), &last, seq).await.unwrap();
                assert_eq!(batches.iter().map(|batch| batch.num_rows() as i64).sum::<i64>(), OF_A_RUN, "{what}");
            }
            took.push(began.elapsed() / 5);
        }
        println!("{what}: from the start {:?}, from its first event {:?}", took[0], took[1]);
        if what == "in the log" {
            assert!(took[1] * 5 < took[0], "{took:?}");
            store.maintain_events(later(), &at_once(5_000)).await.unwrap();
        }
    }
}
