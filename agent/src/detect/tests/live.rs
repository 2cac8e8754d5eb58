//! The bundled scenarios over HTTP, in both generations of Langfuse.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use tripline_simulator::{LangfuseGeneration, Scenario, default_anchor};

use crate::detect::Persist;
use crate::testing::Live;

const DETECTORS: [&str; 5] = ["agent_loop", "cost_spike", "error_cascade", "prompt_drift", "silent_tool_failure"];

async fn walk(scenarios: &[Scenario], generation: LangfuseGeneration, hours: i64, step: i64) {
    let mut tick = default_anchor() - TimeDelta::hours(hours);
    let live = Live::start(scenarios, generation, tick).await;
    let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    while tick < default_anchor() {
        tick += TimeDelta::minutes(step);
        live.set_clock(tick);
        for detector in DETECTORS {
            let started = std::time::Instant::now();
            let judged = live.scene.detectors.run_once(detector, tick, Persist::Baselines).await.unwrap();
            if std::env::var("TIMES").is_ok() {
                println!("{detector} {tick} {:?} requests {}", started.elapsed(), judged.requests);
            }
            assert!(judged.is_complete(), "{:?}", judged.gaps);
            for f in judged.findings {
                found
                    .entry((f.kind, f.entity))
                    .or_default()
                    .push(format!("{tick} {} onset {:?}", f.description, f.onset));
            }
        }
    }
    for (what, times) in &found {
        println!("{what:?}\n   {}", times.join("\n   "));
    }
    println!("{:#?}", live.truth.incidents);
    let truth: Vec<_> = live
        .truth
        .incidents
        .iter()
        .map(|i| (serde_json::to_value(i.class).unwrap().as_str().unwrap().to_owned(), i.entity.clone()))
        .collect();
    let mut truth = truth;
    truth.sort();
    assert_eq!(found.keys().cloned().collect::<Vec<_>>(), truth);
}

#[tokio::test]
async fn all_scenarios_v4() {
    walk(&Scenario::ALL, LangfuseGeneration::V4, 11, 15).await;
}

#[tokio::test]
async fn all_scenarios_v3() {
    walk(&Scenario::ALL, LangfuseGeneration::V3, 11, 30).await;
}

#[tokio::test]
#[ignore = "prints"]
async fn figures_of_the_cascade() {
    let live = Live::start(&[Scenario::ErrorCascade], LangfuseGeneration::V4, default_anchor()).await;
    let sql = "SELECT date_bin(INTERVAL '15 minutes', start_time) h, count(*) n, count(DISTINCT trace_id) t, sum(total_cost) c FROM langfuse.observations WHERE type='GENERATION' AND name='checkout-assistant' AND start_time >= now() - INTERVAL '7 hours' GROUP BY 1 ORDER BY 1";
    let rows = live.scene.ctx.engine.collect(sql, Default::default()).await.unwrap();
    println!("{}", arrow::util::pretty::pretty_format_batches(&rows.batches).unwrap());
    let sql = "SELECT date_part('hour', h) hod, count(*), median(n), max(n), avg(n) FROM (SELECT date_trunc('hour', start_time) h, count(*) n FROM langfuse.observations WHERE type='GENERATION' AND name='checkout-assistant' AND start_time >= now() - INTERVAL '9 days' AND start_time < now() - INTERVAL '2 hours' GROUP BY 1) GROUP BY 1 ORDER BY 1";
    let rows = live.scene.ctx.engine.collect(sql, Default::default()).await.unwrap();
    println!("{}", arrow::util::pretty::pretty_format_batches(&rows.batches).unwrap());
}
