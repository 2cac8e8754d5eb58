//! The whole replay, on two hours of a small history: it is quick enough to be run each time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use tripline_engine::{ManualClock, Param, Params, QueryOptions, json_rows};
use tripline_simulator::{Content, Labelled, LabelledOptions, SimulatorOptions, start};

use super::replay::{Replayed, environment, replay, serve};
use super::score::Tally;
use super::truth::Truth;
use crate::app::Home;

/// A small history of which only the time around its first incident is replayed.
fn history(folder: &Path) {
    let options =
        LabelledOptions { seed: 7, features: Some(3), calls_per_hour: Some(60.0), ..LabelledOptions::default() };
    Labelled::tell(&options).write(folder).unwrap();
    let path = folder.join("truth.json");
    let mut truth: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let first = truth["incidents"][0].clone();
    let starts: chrono::DateTime<chrono::Utc> = first["starts_at"].as_str().unwrap().parse().unwrap();
    truth["clock_start"] = json!(starts - TimeDelta::minutes(40));
    truth["clock_end"] = json!(starts + TimeDelta::minutes(80));
    truth["incidents"] = json!([first]);
    truth["outages"] = json!([]);
    fs::write(path, truth.to_string()).unwrap();
}

/// Letters put thirteen places on: every name becomes another one, and what is alike stays alike.
fn other(text: &str) -> String {
    let turned = |letter: char, base: u8| char::from(base + (letter as u8 - base + 13) % 26);
    text.chars()
        .map(|letter| match letter {
            'a'..='z' => turned(letter, b'a'),
            'A'..='Z' => turned(letter, b'A'),
            _ => letter,
        })
        .collect()
}

/// Gives everything that people named another name: features, tools, models, files, people, projects, channels, messages.
fn rename(value: &mut Value, key: &str) {
    const NAMED: [&str; 21] = [
        "name",
        "promptName",
        "model",
        "slug",
        "_org",
        "_project",
        "_owner",
        "_repo",
        "title",
        "message",
        "culprit",
        "filename",
        "login",
        "text",
        "value",
        "owner",
        "repo",
        "sentry_project",
        "sentry_org",
        "entity",
        "feature",
    ];
    match value {
        Value::Object(map) => {
            // A tag's value is a level or a release.
            let is_tag = map.contains_key("key");
            map.iter_mut().filter(|(key, _)| !is_tag || *key != "value").for_each(|(key, value)| rename(value, key));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| rename(item, key)),
        // What caused it is told with its kind before its name.
        Value::String(text) if key == "culprit" && (text.starts_with("prompt:") || text.starts_with("model:")) => {
            let (kind, name) = text.split_once(':').unwrap_or_default();
            *text = format!("{kind}:{}", other(name));
        }
        Value::String(text) if NAMED.contains(&key) && text != "incidents" && text != "Error" => {
            let is_path = matches!(key, "filename" | "culprit");
            let is_id = text.len() == 32 && text.chars().all(|c| c.is_ascii_hexdigit());
            *text = match text.rsplit_once('.').filter(|_| is_path) {
                // What kind of file it is, is no name.
                Some((path, ending)) => format!("{}.{ending}", other(path)),
                None if is_id => return,
                None => other(text),
            };
        }
        _ => {}
    }
}

fn renamed(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir_all(&target).unwrap();
            renamed(&entry.path(), &target);
            continue;
        }
        let mut value: Value = serde_json::from_slice(&fs::read(entry.path()).unwrap()).unwrap();
        rename(&mut value, "");
        fs::write(target, value.to_string()).unwrap();
    }
}

async fn replayed(folder: &Path, restart_every: Option<u32>) -> (Replayed, Value) {
    let truth = Truth::load(folder).unwrap();
    let replayed = replay(folder, &truth, restart_every).await.unwrap();
    let mut tally = Tally::default();
    tally.add(&truth, replayed.episodes.clone());
    let table = serde_json::to_value(tally.table()).unwrap();
    (replayed, table)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_names_and_restarts_change_no_figure_and_no_listing_is_asked_twice_for_the_same() {
    let (plain, other_names) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    history(plain.path());
    renamed(plain.path(), other_names.path());

    let (one, table) = replayed(plain.path(), None).await;
    let all = table["classes"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(
        (&all["found"], &all["false_incidents"], &all["culprit_top_3"]),
        (&json!(1), &json!(0), &json!(1.0)),
        "{table}"
    );
    // One listing per table, of what is new; also of outputs, of which the copy has the shapes.
    each_listing_once(&one);

    // Ended and started again after each cycle: what a process remembers is not what spares requests.
    let (two, again) = replayed(other_names.path(), Some(1)).await;
    assert_eq!(again, table);
    each_listing_once(&two);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happened_while_its_source_was_down_is_found_when_it_is_back_and_its_windows_are_told() {
    let folder = tempfile::tempdir().unwrap();
    history(folder.path());
    let path = folder.path().join("truth.json");
    let mut truth: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let time = |value: &Value| value.as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    let (starts, ends) = (time(&truth["incidents"][0]["starts_at"]), time(&truth["incidents"][0]["ends_at"]));
    let back = ends + TimeDelta::minutes(60);
    truth["outages"] = json!([{"source": "langfuse", "starts_at": starts - TimeDelta::minutes(20), "ends_at": back}]);
    truth["clock_end"] = json!(back + TimeDelta::minutes(40));
    fs::write(path, truth.to_string()).unwrap();

    let (replayed, table) = replayed(folder.path(), None).await;
    let all = table["classes"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&all["found"], &all["false_incidents"]), (&json!(1), &json!(0)), "{table}");
    let delay = all["median_delay_minutes"].as_f64().unwrap();
    assert!(delay >= (back - starts).num_minutes() as f64, "{delay} min");
    // Every detector reads Langfuse; each of its windows is counted once, however often it was tried.
    let cycles = u64::try_from((back - starts).num_minutes() / 15).unwrap();
    assert!((cycles..=5 * (cycles + 3)).contains(&replayed.incomplete_windows), "{}", replayed.incomplete_windows);
}

fn each_listing_once(replayed: &Replayed) {
    let listings: BTreeMap<&String, &u64> = replayed.calls.second_cycle_by_path.iter().collect();
    for path in ["/issues/", "/observations", "/scores"] {
        assert!(listings.keys().any(|listing| listing.ends_with(path)), "{path}: {listings:?}");
    }
    assert!(listings.values().all(|count| **count == 1), "{listings:?}");
}

/// Starts of the calls of a history, with the times at which Langfuse comes to know of them.
fn arrivals(folder: &Path) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    let rows: Value = serde_json::from_slice(&fs::read(folder.join("langfuse/observations.json")).unwrap()).unwrap();
    let time = |value: &Value| value.as_str().and_then(|text| text.parse().ok());
    let row = |row: &Value| {
        let start: DateTime<Utc> = time(&row["startTime"]).unwrap();
        (start, time(&row["_arrives_at"]).unwrap_or(start))
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_arrive_up_to_an_hour_late_are_in_the_local_copy_from_then_on() {
    let (folder, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = LabelledOptions {
        seed: 8,
        features: Some(3),
        calls_per_hour: Some(300.0),
        quiet: true,
        ..LabelledOptions::default()
    };
    Labelled::tell(&options).write(folder.path()).unwrap();
    let truth = Truth::load(folder.path()).unwrap();
    let arrivals = arrivals(folder.path());
    let content = Content::DataDir(folder.path().to_owned());
    let simulator = start(SimulatorOptions { content, ..SimulatorOptions::default() }).await.unwrap();
    let home = Home { environment: environment(&simulator, &truth), path: state.path().to_owned() };
    let clock = ManualClock::at(truth.clock_start);
    let running = serve(&home, &clock).await.unwrap();
    let from = truth.clock_start - TimeDelta::hours(3);
    let (mut late, mut behind) = (0, 0);
    for cycle in 0..24 {
        let now = truth.clock_start + TimeDelta::minutes(15 * cycle);
        simulator.set_clock(Some(now));
        clock.set(now);
        let params = [("from".to_owned(), Param::Timestamp(from)), ("now".to_owned(), Param::Timestamp(now))];
        let sql = "SELECT count(*) AS n FROM langfuse.observations WHERE start_time >= $from AND start_time < $now";
        let options = QueryOptions { params: Params::from(params), ..QueryOptions::default() };
        let result = running.server.context.engine.collect(sql, options).await.unwrap();
        let notes = result.report.scans[0].notes.join("; ");
        assert!(notes.contains("local copy"), "{notes}");
        let counted = json_rows(&result.schema, &result.batches).unwrap()[0]["n"].as_u64().unwrap();
        let there = arrivals.iter().filter(|(start, arrives)| *start >= from && *start < now && *arrives <= now);
        assert_eq!(counted, there.clone().count() as u64, "at {now}");
        let cycle_before = now - TimeDelta::minutes(15);
        let new = there.filter(|(start, arrives)| start < arrives && *arrives > cycle_before);
        late += new.clone().count();
        behind += new.filter(|(start, _)| *start < cycle_before - TimeDelta::minutes(30)).count();
    }
    assert!(late > 10 && behind > 0, "{late} came late, {behind} of them long after their time");
    running.shutdown().await;
    simulator.shutdown().await;
}
