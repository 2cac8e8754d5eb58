use tripline_engine::Environment;

use super::vendor::{Manners, SPEC, toy};
use crate::testing::{World, environment};
use crate::{ConnectorOptions, Connectors, lint};

fn load(files: &[(&str, &str)]) -> (Connectors, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let options = ConnectorOptions {
        environment: &Environment::default(),
        sources_dir: Some(dir.path().to_owned()),
        cache_dir: None,
        clock: std::sync::Arc::new(tripline_engine::SystemClock),
        retry_seed: 0,
    };
    (Connectors::load(&options), dir)
}

fn names(connectors: &Connectors) -> Vec<&str> {
    connectors.sources().iter().map(crate::Source::name).collect()
}

#[test]
fn the_bundled_sources_are_there_without_any_configuration() {
    let (connectors, _dir) = load(&[]);
    assert_eq!(names(&connectors), ["datadog", "github", "langfuse", "linear", "pagerduty", "sentry", "slack"]);
    let tables = |source: &str| -> Vec<String> {
        connectors.source(source).unwrap().tables().iter().map(|t| t.name().to_owned()).collect()
    };
    assert_eq!(tables("langfuse"), ["projects", "traces", "observations", "scores", "sessions", "prompts"]);
    assert_eq!(tables("sentry"), ["projects", "issues", "issue_events", "releases", "deploys"]);
    assert_eq!(
        tables("github"),
        ["commits", "commit_files", "pulls", "pull_files", "issues", "releases", "deployments", "workflow_runs"]
    );
    assert_eq!(tables("slack"), ["channels", "messages", "users"]);
}

#[test]
fn a_users_file_adds_a_source_and_one_of_the_same_name_replaces_the_bundled_one() {
    let renamed = SPEC.replace("source: toy", "source: slack");
    let (connectors, _dir) = load(&[("toy.yaml", SPEC), ("slack.yaml", &renamed), ("notes.txt", "not a spec")]);
    assert!(connectors.problems().is_empty());
    assert_eq!(names(&connectors), ["datadog", "github", "langfuse", "linear", "pagerduty", "sentry", "slack", "toy"]);
    assert!(connectors.source("slack").unwrap().table("numbered").is_some());
}

#[test]
fn a_broken_file_is_reported_with_its_line_and_takes_only_its_own_source_down() {
    let (connectors, _dir) = load(&[("toy.yaml", SPEC), ("slack.yaml", "source: slack\nnonsense: 1\n")]);
    assert_eq!(names(&connectors), ["datadog", "github", "langfuse", "linear", "pagerduty", "sentry", "toy"]);
    assert_eq!(connectors.problems().len(), 1);
    let shown = connectors.problems()[0].to_string();
    assert!(shown.contains("slack.yaml:2:1: a source has no field `nonsense`"), "{shown}");
}

#[test]
fn two_files_for_one_source_are_reported() {
    let (connectors, _dir) = load(&[("a.yaml", SPEC), ("b.yaml", SPEC)]);
    assert!(connectors.problems()[0].to_string().contains("another file already describes the source `toy`"));
}

#[test]
fn two_spellings_of_one_file_name_are_reported_and_the_first_is_used() {
    let other = SPEC.replace("source: toy", "source: other");
    let (connectors, _dir) = load(&[("toy.yaml", SPEC), ("toy.yml", &other)]);
    assert!(connectors.source("toy").is_some() && connectors.source("other").is_none());
    let shown = connectors.problems()[0].to_string();
    assert!(shown.contains("toy.yml: there are toy.yaml and toy.yml"), "{shown}");
}

#[test]
fn a_spec_file_can_be_checked_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("toy.yaml");
    std::fs::write(&path, SPEC).unwrap();
    assert_eq!(lint(&path).unwrap().name, "toy");
    std::fs::write(&path, "source: toy").unwrap();
    assert!(lint(&path).unwrap_err().to_string().contains("toy.yaml:1:1: a source needs the field `tables`"));
    assert!(lint(&dir.path().join("none.yaml")).unwrap_err().to_string().contains("cannot be read"));
}

#[test]
fn an_address_that_is_no_url_is_a_missing_setting_not_a_crash() {
    let mut environment = environment();
    environment.set("TOY_URL", "localhost:3000/x");
    let world = World::with(toy(Manners::default()), &[("toy.yaml", SPEC)], &environment);
    let status = world.connectors.source("toy").unwrap().status();
    let expected = crate::SourceStatus::Missing {
        variables: vec!["TOY_URL".to_owned()],
        detail: "TOY_URL is not an http or https URL".to_owned(),
    };
    assert_eq!(status, expected);
}

#[test]
fn a_secret_that_no_header_can_carry_is_refused_without_being_shown() {
    let mut environment = environment();
    environment.set("TOY_TOKEN", "hunter2\nX-Evil: 1");
    let world = World::with(toy(Manners::default()), &[("toy.yaml", SPEC)], &environment);
    let shown = format!("{:?}", world.connectors.source("toy").unwrap().status());
    assert!(shown.contains("TOY_TOKEN") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn every_column_says_what_it_holds() {
    let (connectors, _dir) = load(&[]);
    for table in connectors.sources().iter().flat_map(crate::Source::tables) {
        for field in table.schema().fields() {
            let about = table.capabilities().columns.get(field.name());
            assert!(
                about.is_some_and(|about| !about.is_empty()),
                "{}.{}.{}",
                table.source(),
                table.name(),
                field.name()
            );
        }
    }
}
