//! The whole replay, on two hours of a small history: it is quick enough to be run each time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use chrono::TimeDelta;
use serde_json::{Value, json};
use tripline_simulator::{Labelled, LabelledOptions};

use super::replay::{Replayed, replay};
use super::score::Tally;
use super::truth::Truth;

/// A small history of which only the time around its first incident is replayed.
fn history(folder: &Path) {
    let options = LabelledOptions { seed: 7, features: Some(3), calls_per_hour: Some(60.0), quiet: false };
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
    const NAMED: [&str; 20] = [
        "name",
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
    let replayed = replay(folder, &truth, restart_every, false).await.unwrap();
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

fn each_listing_once(replayed: &Replayed) {
    let listings: BTreeMap<&String, &u64> = replayed.calls.second_cycle_by_path.iter().collect();
    for path in ["/issues/", "/observations", "/scores"] {
        assert!(listings.keys().any(|listing| listing.ends_with(path)), "{path}: {listings:?}");
    }
    assert!(listings.values().all(|count| **count == 1), "{listings:?}");
}
