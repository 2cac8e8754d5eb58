//! The weekly digest from outside: every figure equals its SQL, one week is posted once, a missing source is unknown.

use serde_json::{Value, json};
use tripline_simulator::{Scenario, default_anchor};

use crate::harness::{Site, Vendors};

/// The Friday evening of the bundled history: the week that ended last before it ends on the Monday.
const NOW: &str = "2026-11-20T18:00:00Z";

async fn site() -> (Site, Vendors) {
    let vendors = Vendors::with(&Scenario::ALL, default_anchor()).await;
    let site = Site::over(&vendors);
    // The week of the incidents, by clocks that are not UTC's.
    site.settings(&json!({"time_zone": "Europe/Berlin", "schedules": {"weekly_digest": "0 0 18 * * FRI"}}));
    (site, vendors)
}

#[tokio::test]
async fn every_figure_of_a_digest_equals_the_sql_behind_it() {
    let (site, _vendors) = site().await;
    let made = site.run(&["digest", "--dry-run", "--json", "--now", NOW]).await.json();
    let digest = &made["digest"];
    assert_eq!(
        (&digest["week_start"], &digest["week_end"]),
        (&json!("2026-11-13T17:00:00Z"), &json!("2026-11-20T17:00:00Z"))
    );
    let queries = digest["queries"].as_array().unwrap();
    assert!(queries.len() >= 6 && queries.iter().all(|query| query["status"] != "unknown"), "{queries:#?}");
    for query in queries {
        let mut args: Vec<String> = ["sql", "--format", "json", "--now", NOW, "--file"].map(str::to_owned).to_vec();
        args.push(query["name"].as_str().unwrap().to_owned());
        for (name, value) in query["params"].as_object().unwrap() {
            args.extend(["--param".to_owned(), format!("{name}={}", value.as_str().unwrap())]);
        }
        let rows = site.run(&args).await.json();
        assert_eq!(rows, query["rows"], "{}", query["name"]);
    }
    let figures = digest["figures"].as_object().unwrap();
    assert!(figures.len() >= 13);
    for (name, figure) in figures {
        let query = queries.iter().find(|query| query["name"] == figure["query"]).unwrap();
        let found = match figure["row"].as_u64() {
            Some(row) => query["rows"][usize::try_from(row).unwrap()][figure["field"].as_str().unwrap()].clone(),
            None => json!(query["rows"].as_array().unwrap().len()),
        };
        assert_eq!(found, figure["value"], "{name}");
        assert!(!found.is_null(), "{name}");
    }
}

#[tokio::test]
async fn one_week_is_one_post_and_what_a_dead_source_knows_is_unknown() {
    let (site, vendors) = site().await;
    assert_eq!(site.run(&["digest", "--dry-run", "--now", NOW]).await.code(), 0);
    assert!(vendors.writes().await.is_empty(), "a dry run writes nothing");
    vendors.fault("sentry", "", "status:503").await;
    let partly = site.run(&["digest", "--json", "--now", NOW]).await;
    assert_eq!(partly.code(), 3, "incomplete");
    let made: Value = serde_json::from_str(&partly.stdout).unwrap();
    assert!(
        made["digest"]["report"].as_str().unwrap().contains("Errors: unknown, sentry could not be asked."),
        "{made}"
    );
    assert_eq!(made["digest"]["figures"]["error_events"]["value"], Value::Null);
    assert!(vendors.writes().await.is_empty(), "it waits for the source before it is posted");
    vendors.heal().await;
    for _ in 0..3 {
        assert_eq!(site.run(&["digest", "--now", NOW]).await.code(), 0);
    }
    let writes = vendors.writes().await;
    assert_eq!(writes.len(), 1, "one post however often it is made");
    let kept = site.sql("SELECT id, gaps FROM agent.digests").await;
    assert_eq!(kept, [json!({"id": "weekly-2026-11-20", "gaps": "[]"})]);
}
