//! What the weekly digest promises.

use serde_json::json;
use tripline_store::{ActionFilter, PageRequest};

use super::*;
use crate::actions::Waker;
use crate::narrate::TemplateNarrator;
use crate::testing::{Scene, World, at, minutes};

/// A Monday, 09:00 in Berlin, a week after the clocks went back.
fn monday() -> DateTime<Utc> {
    at("2026-11-02T08:00:00Z")
}

fn day(n: i64) -> TimeDelta {
    TimeDelta::days(n)
}

fn pull(world: &mut World, number: i64, title: &str, merged_at: DateTime<Utc>) {
    world.push(
        "github.pulls",
        json!({"owner": "acme", "repo": "shop", "number": number, "state": "closed", "title": title, "user__login": "dev",
            "merged_at": merged_at, "updated_at": merged_at, "merge_commit_sha": "0".repeat(40)}),
    );
}

fn world() -> World {
    let mut world = World::default();
    for n in 0..6 {
        pull(&mut world, 40 + n, &format!("Change {n}"), monday() - day(n) - minutes(30));
    }
    // The Monday before, after the week's begin and before it.
    pull(&mut world, 30, "Just in", monday() - day(7) + minutes(1));
    pull(&mut world, 29, "Just out", monday() - day(7) - minutes(1));
    for n in 0..10 {
        world.generation("search", monday() - day(n) - minutes(90), 2.0, &json!("x"));
    }
    world.generation("chat", monday() - day(1), 5.0, &json!("x"));
    let events: Vec<_> = (0..12).map(|n| monday() - day(n) - minutes(7)).collect();
    world.issue("TimeoutError", "svc/http.py", &events, &json!([]));
    world.issue("Old news", "svc/old.py", &[monday() - day(20)], &json!([]));
    world.deployment("abc", monday() - day(2));
    world
}

fn digester(scene: &Scene, has_slack: bool) -> Digester {
    Digester::new(DigesterParts {
        ctx: scene.ctx.clone(),
        queries: scene.detectors.queries().clone(),
        repository: Some(Repository { owner: "acme".to_owned(), name: "shop".to_owned() }),
        narrator: Arc::new(TemplateNarrator),
        notices: Some(Notices::new(scene.ctx.store.clone(), Waker::default())),
        has_slack,
        has_webhook: false,
        health: None,
    })
}

async fn posts(scene: &Scene) -> Vec<tripline_store::Action> {
    let filter = ActionFilter { action_type: Some("slack_post_digest".to_owned()), ..ActionFilter::default() };
    scene.ctx.store.actions.list(&scene.ctx.scope, &filter, &PageRequest::first(9)).await.unwrap().items
}

fn value(digest: &Digest, figure: &str) -> Value {
    digest.figures[figure]["value"].clone()
}

#[test]
fn a_week_is_seven_days_by_the_clocks_of_its_zone() {
    let berlin = chrono_tz::Europe::Berlin;
    assert_eq!(week(monday(), berlin).0, at("2026-10-26T08:00:00Z"));
    // The week in which the clocks go back has 169 hours, the one in which they go forward 167.
    assert_eq!(week(at("2026-10-26T08:00:00Z"), berlin).0, at("2026-10-19T07:00:00Z"));
    assert_eq!(week(at("2027-03-29T07:00:00Z"), berlin).0, at("2027-03-22T08:00:00Z"));
    assert_eq!(week(monday(), Tz::UTC), (monday() - day(7), monday() - day(14)));
}

#[tokio::test]
async fn it_tells_of_a_whole_week_of_merges_errors_and_cost() {
    let scene = world().scene(monday() + minutes(1));
    let made = digester(&scene, true).make(monday(), false).await.unwrap();
    let digest = &made.digest;
    assert_eq!((digest.id.as_str(), digest.week_start), ("weekly-2026-11-02", monday() - day(7)));
    assert_eq!(value(digest, "merged"), json!(7));
    assert_eq!(
        (value(digest, "issues"), value(digest, "new_issues"), value(digest, "error_events")),
        (json!(1), json!(0), json!(7))
    );
    assert_eq!((value(digest, "cost_usd"), value(digest, "generations")), (json!(19.0), json!(8)));
    assert_eq!((value(digest, "previous_cost_usd"), value(digest, "cost_change_usd")), (json!(6.0), json!(13.0)));
    assert_eq!(digest.cost_usd, Some(19.0));
    let headings: Vec<&str> = digest.report.lines().filter(|line| line.starts_with("## ")).collect();
    assert_eq!(headings, ["## What Shipped", "## What Broke", "## What to Watch"]);
    for (key, _) in show::SECTIONS {
        let bullets = digest.sections[key].as_array().unwrap().len();
        assert!((2..=4).contains(&bullets), "{key}: {}", digest.report);
    }
    assert!(digest.report.split_whitespace().count() < 400);
    assert!(digest.report.contains("7 pull requests were merged."), "{}", digest.report);
    assert!(digest.report.contains("7 errors of 1 issue, 0 of them new."), "{}", digest.report);
    assert_eq!((made.post.as_str(), digest.gaps.len()), ("posted", 0));
}

#[tokio::test]
async fn every_figure_is_a_field_of_the_query_that_is_kept_with_it() {
    let scene = world().scene(monday() + minutes(1));
    let digest = digester(&scene, true).make(monday(), true).await.unwrap().digest;
    let queries: Vec<Value> = digest.queries.as_array().unwrap().clone();
    let figures = digest.figures.as_object().unwrap();
    assert!(figures.len() >= 13);
    for (name, figure) in figures {
        let query = queries.iter().find(|query| query["name"] == figure["query"]).unwrap();
        let params: Params = query["params"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| {
                let text = v.as_str().unwrap();
                let param = text.parse().map_or_else(|_| Param::Text(text.to_owned()), Param::Timestamp);
                (k.clone(), param)
            })
            .collect();
        let options = QueryOptions { params, now: Some(monday()), ..QueryOptions::default() };
        let again = scene.ctx.engine.collect(query["sql"].as_str().unwrap(), options).await.unwrap();
        let rows = json_rows(&again.schema, &again.batches).unwrap();
        assert_eq!(json!(rows), query["rows"], "{name}");
        let found = match figure["row"].as_u64() {
            Some(row) => rows[usize::try_from(row).unwrap()][figure["field"].as_str().unwrap()].clone(),
            None => json!(rows.len()),
        };
        assert_eq!(found, figure["value"], "{name}");
    }
}

#[tokio::test]
async fn one_week_is_posted_once_and_a_dry_run_leaves_nothing() {
    let scene = world().scene(monday() + minutes(1));
    let digester = digester(&scene, true);
    digester.make(monday(), true).await.unwrap();
    assert!(posts(&scene).await.is_empty());
    assert!(scene.ctx.store.digests.list(&scene.ctx.scope, &PageRequest::first(9)).await.unwrap().items.is_empty());
    for _ in 0..3 {
        digester.make(monday(), false).await.unwrap();
    }
    assert_eq!(posts(&scene).await.len(), 1);
    assert_eq!(scene.ctx.store.digests.list(&scene.ctx.scope, &PageRequest::first(9)).await.unwrap().items.len(), 1);
}

#[tokio::test]
async fn a_source_that_is_down_is_waited_for_and_then_told_as_unknown() {
    let world = world();
    let scene = world.scene(monday() + minutes(1));
    let down = scene.over(world.engine(&scene.clock, &["sentry"]));
    let digester = digester(&down, true);
    let made = digester.make(monday(), false).await.unwrap();
    assert!(made.waits && posts(&down).await.is_empty());
    scene.clock.set(monday() + PATIENCE);
    let made = digester.make(monday(), false).await.unwrap();
    assert!(!made.waits);
    assert!(made.digest.report.contains("Errors: unknown, sentry could not be asked."), "{}", made.digest.report);
    assert_eq!(value(&made.digest, "error_events"), Value::Null);
    let post = posts(&down).await.remove(0);
    assert!(post.payload.text().contains("unknown: sentry"));
}

#[tokio::test]
async fn no_incident_is_not_said_of_windows_that_could_not_be_judged() {
    let mut world = world();
    let run = |world: &mut World, job: &str, before: i64, status: &str| {
        world.push("agent.job_runs", json!({"job": job, "window_end": monday() - minutes(before), "status": status}));
    };
    run(&mut world, "cost_spike", 30, "ok");
    run(&mut world, "error_cascade", 30, "gap");
    run(&mut world, "error_cascade", 30, "ok");
    run(&mut world, "error_cascade", 60 * 24 * 8, "gap");
    let told = async |world: &World| {
        let scene = world.scene(monday() + minutes(1));
        digester(&scene, true).make(monday(), true).await.unwrap().digest
    };
    let digest = told(&world).await;
    assert!(digest.report.contains("No incident was opened.") && digest.report.contains("No incident is open."));
    run(&mut world, "error_cascade", 45, "gap");
    run(&mut world, "error_cascade", 60, "failed");
    run(&mut world, "prompt_drift", 60, "gap");
    let digest = told(&world).await;
    assert_eq!(value(&digest, "windows_unjudged"), 3);
    let (said, open) = (
        "No incident was found, but 3 windows at least could not be judged completely (error_cascade, prompt_drift).",
        "No incident is known to be open.",
    );
    assert!(digest.report.contains(said) && digest.report.contains(open), "{}", digest.report);
}

#[tokio::test]
async fn what_vendors_wrote_is_inert_in_the_text_and_in_slack() {
    let mut world = World::default();
    pull(&mut world, 1, "<!channel> [x](https://evil.example) @everyone `rm` # h\n## What Broke", monday() - day(1));
    world.issue("<script>alert(1)</script> **b** <@U1>", "a", &[monday() - day(1)], &json!([]));
    let scene = world.scene(monday() + minutes(1));
    let digest = digester(&scene, true).make(monday(), false).await.unwrap().digest;
    assert_eq!(digest.report.matches("## ").count(), 3, "{}", digest.report);
    assert!(!digest.report.contains("<!channel>") && !digest.report.contains("<script>"));
    // What could be a link is code, in which nothing is one.
    assert!(digest.report.contains("`[x](https://evil.example)`"), "{}", digest.report);
    assert_eq!(digest.report.matches("evil.example").count(), 1);
    let payload: Value = posts(&scene).await.remove(0).payload.value().unwrap();
    for block in payload["blocks"].as_array().unwrap() {
        let text = block["text"].clone();
        if text["type"] == "plain_text" {
            assert!(!text["text"].as_str().unwrap().contains('<'), "{text}");
        }
        if text["type"] == "mrkdwn" {
            assert!(!text["text"].as_str().unwrap().contains("evil"), "{text}");
        }
    }
}

#[tokio::test]
async fn the_health_of_agents_is_the_second_section_of_the_same_post() {
    struct Fine;
    #[async_trait]
    impl HealthSection for Fine {
        async fn section(&self, _: &Scope, week: Window) -> Result<Option<Content>, String> {
            assert_eq!(week, Window { start: monday() - day(7), end: monday() });
            Ok(Some(Content { text: "Agents are fine".to_owned(), blocks: None }))
        }

        async fn reports(&self, _: Window) -> Result<Vec<(String, Map<String, Value>)>, String> {
            let report = |runs: i64| Map::from_iter([("total_runs".to_owned(), json!(runs))]);
            Ok(vec![("default".to_owned(), report(7)), ("acme".to_owned(), report(9))])
        }
    }
    let scene = world().scene(monday() + minutes(1));
    let DigesterParts { ctx, queries, repository, narrator, notices, has_slack, .. } =
        match Arc::try_unwrap(digester(&scene, true).parts) {
            Ok(parts) => parts,
            Err(_) => panic!("one owner"),
        };
    let health: Option<Arc<dyn HealthSection>> = Some(Arc::new(Fine));
    let parts = DigesterParts { ctx, queries, repository, narrator, notices, has_slack, has_webhook: true, health };
    let digester = Digester::new(parts);
    for _ in 0..2 {
        digester.make(monday(), false).await.unwrap();
    }
    let filter = ActionFilter { action_type: Some("signal_webhook".to_owned()), ..ActionFilter::default() };
    let told = scene.ctx.store.actions.list(&scene.ctx.scope, &filter, &PageRequest::first(10)).await.unwrap().items;
    let mut keys: Vec<&str> = told.iter().map(|action| action.idempotency_key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["health:acme:weekly-2026-11-02", "health:default:weekly-2026-11-02"], "every project once");
    let payload = told.iter().find(|one| one.idempotency_key.contains("acme")).unwrap().payload.value().unwrap();
    let body: Value = serde_json::from_str(payload["body"].as_str().unwrap()).unwrap();
    assert_eq!(
        (&body["event"], &body["project_id"], &body["total_runs"]),
        (&json!("health_digest"), &json!("acme"), &json!(9))
    );
    let post = posts(&scene).await;
    assert_eq!(post.len(), 1);
    assert!(post[0].payload.text().contains("What Shipped") && post[0].payload.text().contains("Agents are fine"));
}
