//! What a question costs: requests, counted by the vendor, of a cold process without local copies.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tempfile::TempDir;
use tripline_simulator::LangfuseGeneration;

use crate::harness::{Account, Request, Site, Vendors, at, text};

/// A listing of a hundred pages on the generation that serves a hundred rows a page: one generation a minute.
const ROWS: i64 = 10_000;
const END: &str = "2026-05-20T12:00:00Z";

struct Shop {
    vendors: Vendors,
    site: Site,
    _folder: TempDir,
}

async fn shop(langfuse: LangfuseGeneration) -> Shop {
    let folder = TempDir::new().unwrap();
    let row = |minute: i64| {
        let started = at(END) - TimeDelta::minutes(minute + 1);
        json!({
            "id": format!("o{minute:05}"), "traceId": format!("t{minute:05}"), "type": "GENERATION", "name": "answer",
            "startTime": text(started), "endTime": text(started + TimeDelta::seconds(2)), "level": "DEFAULT",
            "calculatedTotalCost": 0.01, "output": "fine",
        })
    };
    let rows: Vec<Value> = (0..ROWS).map(row).collect();
    std::fs::create_dir_all(folder.path().join("langfuse")).unwrap();
    std::fs::write(folder.path().join("langfuse/observations.json"), serde_json::to_vec(&rows).unwrap()).unwrap();
    let account = Account { owner: "o".to_owned(), repo: "r".to_owned(), sentry_org: "s".to_owned() };
    let vendors = Vendors::of_folder(folder.path(), account, Some(at(END)), langfuse).await;
    let site = Site::over(&vendors);
    Shop { vendors, site, _folder: folder }
}

/// What one cold process asked for.
struct Asked {
    rows: usize,
    /// Without the probe of the vendor's version.
    pages: Vec<Request>,
    report: Value,
}

impl Shop {
    /// Asks in a process and a home of its own.
    async fn ask(&self, query: &str) -> Asked {
        let cold = Site::over(&self.vendors);
        self.vendors.forget().await;
        let outcome = cold.run(&["sql", "--format", "json", "--report", "json", "--now", END, query]).await;
        let rows = outcome.json().as_array().unwrap().len();
        let report = outcome.report();
        let requests = self.vendors.requests().await;
        let probes: u64 = report["scans"].as_array().unwrap().iter().map(|scan| scan["probes"].as_u64().unwrap()).sum();
        let reported = report["requests"].as_u64().unwrap();
        assert_eq!(reported + probes, requests.len() as u64, "the report counts what the vendor counts: {requests:#?}");
        // The probe comes first, asks for the least there is, and is none of the answer's pages.
        let pages = requests.into_iter().skip(usize::try_from(probes).unwrap()).collect();
        Asked { rows, pages, report }
    }
}

async fn a_limit_costs_one_request(langfuse: LangfuseGeneration) {
    let shop = shop(langfuse).await;
    for query in [
        "SELECT id, name FROM langfuse.observations LIMIT 10",
        "SELECT id, start_time FROM langfuse.observations ORDER BY start_time DESC LIMIT 10",
    ] {
        let asked = shop.ask(query).await;
        assert_eq!(asked.rows, 10);
        assert_eq!(asked.pages.len(), 1, "{query}: {:#?}", asked.pages);
        assert_eq!(asked.report["complete"], true, "{}", asked.report);
    }
}

#[tokio::test]
async fn ten_rows_cost_one_request_on_langfuse_v4() {
    a_limit_costs_one_request(LangfuseGeneration::V4).await;
}

#[tokio::test]
async fn ten_rows_cost_one_request_on_langfuse_v3() {
    a_limit_costs_one_request(LangfuseGeneration::V3).await;
}

async fn a_window_costs_its_pages(langfuse: LangfuseGeneration, most: usize) {
    let shop = shop(langfuse).await;
    // In the middle of the listing, where nothing but the time range leads to.
    let until = at(END) - TimeDelta::hours(80);
    let (from, until) = (text(until - TimeDelta::hours(2)), text(until));
    let query = format!("SELECT id FROM langfuse.observations WHERE start_time >= '{from}' AND start_time < '{until}'");
    let asked = shop.ask(&query).await;
    assert_eq!(asked.rows, 120);
    assert!((1..=most).contains(&asked.pages.len()), "{} of 100 pages: {:#?}", asked.pages.len(), asked.pages);
    let fetched: u64 =
        asked.report["scans"].as_array().unwrap().iter().map(|scan| scan["rows"].as_u64().unwrap()).sum();
    assert_eq!(fetched, 120, "no row was fetched for nothing: {}", asked.report);
}

#[tokio::test]
async fn two_hours_of_a_long_listing_cost_the_pages_of_two_hours_on_langfuse_v4() {
    // A page holds a thousand rows.
    a_window_costs_its_pages(LangfuseGeneration::V4, 1).await;
}

#[tokio::test]
async fn two_hours_of_a_long_listing_cost_the_pages_of_two_hours_on_langfuse_v3() {
    // A page holds a hundred rows.
    a_window_costs_its_pages(LangfuseGeneration::V3, 2).await;
}

#[tokio::test]
async fn an_explained_query_asks_for_nothing() {
    let shop = shop(LangfuseGeneration::V4).await;
    let explained = shop.site.run(&["sql", "EXPLAIN SELECT id FROM langfuse.observations LIMIT 10"]).await;
    assert!(explained.status.success(), "{explained:?}");
    assert!(explained.stdout.contains("observations"), "{explained:?}");
    assert!(shop.vendors.requests().await.is_empty());
}

/// What one cycle of a detector that looks back seven days asks the vendor for.
async fn cycle(shop: &Shop, now: DateTime<Utc>) -> Vec<Request> {
    shop.vendors.forget().await;
    let run = shop.site.run(&["detectors", "run", "cost_spike", "--at", &text(now), "--json"]).await;
    assert!(run.status.success(), "{run:?}");
    shop.vendors.requests().await
}

#[tokio::test]
async fn with_a_local_copy_a_second_detector_cycle_costs_only_the_new_pages() {
    let shop = shop(LangfuseGeneration::V4).await;
    let (first, second) = (at(END) - TimeDelta::minutes(15), at(END));
    // Without a copy each cycle reads a week: ten pages of a thousand rows.
    cycle(&shop, first).await;
    let again = cycle(&shop, second).await;
    assert!(again.len() >= 10, "{again:#?}");

    shop.site.settings(&json!({"sync": {"langfuse.observations": {"window": "9d", "overlap": "10m"}}}));
    let filling = cycle(&shop, first).await;
    assert!(filling.len() >= 10, "{filling:#?}");
    let new = cycle(&shop, second).await;
    assert!((1..=2).contains(&new.len()), "25 rows are new or in the overlap: {new:#?}");
    // What was fetched just now is fresh enough for who accepts it. The clock goes on: no row may be at the edge.
    shop.vendors.forget().await;
    let soon = text(at(END) + TimeDelta::seconds(30));
    let count = "SELECT count(*) AS n FROM langfuse.observations WHERE start_time >= now() - INTERVAL '7200 seconds'";
    let rows = shop.site.run(&["sql", "--format", "json", "--now", &soon, "--freshness", "60s", count]).await;
    assert_eq!(rows.json()[0]["n"], 119, "{rows:?}");
    assert!(shop.vendors.requests().await.is_empty());
}
