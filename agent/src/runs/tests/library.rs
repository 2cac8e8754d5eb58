//! Files of one's own.

use chrono::Utc;

use super::events::{Script, batch};
use crate::queries::QueryLibrary;
use crate::runs::{RunBatch, detect};
use crate::settings::Settings;
use crate::testing::{Home, World};

#[test]
fn the_fifteen_bundled_detectors_are_the_fifteen_that_are_explained() {
    let set = QueryLibrary::open(None).unwrap().current();
    let mut kinds: Vec<&str> = set.runs.values().map(|spec| spec.kind.as_str()).collect();
    let mut bundled = crate::runs::explain::BUNDLED.to_vec();
    kinds.sort_unstable();
    bundled.sort_unstable();
    assert_eq!(kinds, bundled);
    assert!(set.runs.values().all(|spec| !spec.is_own() && spec.kind == spec.name.to_uppercase()));
}

#[test]
fn every_bundled_detector_has_its_page() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/detectors");
    let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
    for spec in QueryLibrary::open(None).unwrap().current().runs.values() {
        let page = std::fs::read_to_string(folder.join(format!("{}.md", spec.name)));
        let page = page.unwrap_or_else(|error| panic!("docs/detectors/{}.md: {error}", spec.name));
        assert!(page.contains(&spec.kind), "{} does not name its failure type", spec.name);
        for param in &spec.bindings.params {
            assert!(page.contains(&format!("`{}`", param.setting)), "{} lacks {}", spec.name, param.setting);
        }
        assert!(index.contains(&format!("({}.md)", spec.name)), "the index lacks {}", spec.name);
    }
}

#[tokio::test]
async fn a_file_of_one_s_own_is_a_detector_at_once_and_a_wrong_one_is_refused_with_its_line() {
    let home = Home::new();
    let library = QueryLibrary::open(Some(home.path())).unwrap();
    assert_eq!(library.current().runs.len(), 15);
    home.write(
        "queries/runs/busy.sql",
        "-- name: busy\n-- severity: medium\n-- default: calls = 2\n\
         SELECT run_id, step_count AS at_step, 0.6 AS confidence, tool_calls FROM ingest.runs WHERE tool_calls >= $calls\n",
    );
    home.write("queries/runs/many.sql", "-- name: many\n-- severity: high\n-- when: tool_calls >= 3\n");
    home.write("queries/runs/wrong.sql", "-- name: wrong\n-- severity: high\n-- input: history\nSELECT 1\n");
    let set = library.current();
    assert_eq!(set.runs.len(), 17);
    let errors = library.status().errors.join("\n");
    assert!(errors.contains("wrong.sql:3: there is no input 'history' for runs"), "{errors}");

    let now = Utc::now();
    let scene = World::default().scene(now);
    let events = [
        Script::new("a", now).tool("search", true).tool("db", true).end("completed"),
        Script::new("b", now).tool("search", true).tool("db", true).tool("db", true).end("completed"),
        Script::new("c", now).end("completed"),
    ];
    let runs = RunBatch::new(vec![batch(&events.concat(), 1)], now, chrono::TimeDelta::seconds(90)).unwrap();
    let mut names = Vec::new();
    for detector in ["busy", "many"] {
        for one in detect(&scene.ctx.engine, &set.runs[detector], &runs, &Settings::default(), now).await.unwrap() {
            names.push(format!("{detector} {} {} {}", one.run_id, one.confidence, one.evidence["tool_calls"]));
        }
    }
    names.sort();
    assert_eq!(names, ["busy a 0.6 2", "busy b 0.6 3", "many b 0.5 3"]);
}
