use tripline_simulator::{LangfuseGeneration, Scenario, default_anchor};
use tripline_store::{ModelUse, Severity};

use super::*;
use crate::actions::{self, Destinations};
use crate::runs::trace::{self, TraceRead};
use crate::settings::{NarratorSettings, Settings};
use crate::testing::{Live, minutes};

fn signal(live: &Live) -> RunSignal {
    RunSignal {
        id: 7,
        anomaly_id: tripline_store::AnomalyId::new("a"),
        incident_id: None,
        run_id: "r".to_owned(),
        agent_id: "support".to_owned(),
        agent_version: "v1".to_owned(),
        detector: "tool_loop".to_owned(),
        failure_type: "TOOL_LOOP".to_owned(),
        severity: Severity::High,
        step_index: 9,
        confidence: 0.95,
        co_signals: None,
        detected_at: live.scene.ctx.clock.now(),
        shadow: false,
        alerted_at: None,
        evidence: json!({"tool": "search", "count": 7, "window": 5, "first_step": 2, "last_step": 9}),
    }
}

fn question(live: &Live, trace: Option<Trace>, by: &str) -> Question {
    let rate = RateContext::new(20, 5);
    Question { signal: signal(live), rate, trace, unknown: Vec::new(), asked_by: by.to_owned() }
}

async fn live(generation: LangfuseGeneration) -> Live {
    Live::start(&[Scenario::AgentLoop], generation, default_anchor()).await
}

fn explainer(live: &Live) -> Explainer {
    let base = format!("{}/llm/v1", live.simulator.base_url());
    let environment = Environment::of([("OPENAI_API_KEY", "sk-test12345"), ("OPENAI_BASE_URL", &base)]);
    Explainer::new(&live.scene.ctx, environment)
}

async fn behave(live: &Live, how: Value) {
    let url = format!("{}/_llm", live.simulator.base_url());
    let answer = reqwest::Client::new().post(url).json(&how).send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
}

fn looping_trace(live: &Live) -> String {
    let class = |incident: &&tripline_simulator::Incident| json!(incident.class) == "agent_loop";
    live.truth.incidents.iter().find(class).unwrap().entity.clone()
}

#[tokio::test]
async fn without_a_model_the_deterministic_explanation_is_told_and_nothing_leaves_the_machine() {
    let live = live(LangfuseGeneration::V4).await;
    let explained = Explainer::new(&live.scene.ctx, Environment::default())
        .explain(&live.scene.ctx.scope, question(&live, None, "key"))
        .await;
    assert_eq!(explained.narrator, "template");
    assert_eq!(explained.advice, advice(&explain_signal(&signal(&live), RateContext::new(20, 5))));
}

#[tokio::test]
async fn a_trace_is_read_from_either_generation_of_langfuse_and_shown_to_the_model() {
    let mut seen = Vec::new();
    for generation in [LangfuseGeneration::V3, LangfuseGeneration::V4] {
        let live = live(generation).await;
        let id = looping_trace(&live);
        let timeout = Duration::from_secs(10);
        let engine = &live.scene.ctx.engine;
        let not_asked = async |_| panic!("where observations are listed nothing else is asked");
        let TraceRead::Found(trace) = trace::read(engine, &id, (2, 9), timeout, not_asked).await else { panic!() };
        assert!(!trace.steps.is_empty() && trace.steps.len() <= 12);
        assert!(trace.steps.iter().all(|step| step.contains_key("type") && step.contains_key("step")));
        let destinations = Destinations::from_environment(&live.environment);
        let whole = async |id: String| actions::trace(&destinations, &id).await;
        let unknown = trace::read(engine, &"0".repeat(32), (2, 9), timeout, whole).await;
        assert_eq!(unknown, TraceRead::Missing, "{generation:?}");

        behave(&live, json!({"behaviour": "honest"})).await;
        let explainer = explainer(&live);
        let explained = explainer.explain(&live.scene.ctx.scope, question(&live, Some(*trace.clone()), "key")).await;
        assert_eq!(explained.narrator, "model:gpt-4o-mini");
        assert_ne!(explained.advice.root_cause, advice(&explain_signal(&signal(&live), None)).root_cause);
        seen.push(trace.steps);
    }
    let names = |steps: &[Map<String, Value>]| steps.iter().map(|step| step["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&seen[0]), names(&seen[1]));
}

#[tokio::test]
async fn where_observations_are_not_listed_the_trace_itself_is_asked_for() {
    let live = live(LangfuseGeneration::V3).await;
    let (id, timeout, engine) = (looping_trace(&live), Duration::from_secs(10), &live.scene.ctx.engine);
    let destinations = Destinations::from_environment(&live.environment);
    let whole = async |id: String| actions::trace(&destinations, &id).await;
    let TraceRead::Found(listed) = trace::read(engine, &id, (2, 9), timeout, whole).await else { panic!() };
    for status in [404, 403, 410] {
        for fault in ["none".to_owned(), format!("status:{status}")] {
            let url = format!("{}/_fault", live.simulator.base_url());
            let fault = json!({"source": "langfuse", "path": "/observations", "fault": fault});
            let set = reqwest::Client::new().post(url).json(&fault).send().await.unwrap();
            assert!(set.status().is_success(), "{}", set.text().await.unwrap());
        }
        let read = trace::read(engine, &id, (2, 9), timeout, whole).await;
        let TraceRead::Found(found) = read else { panic!("{status}: {read:?}") };
        assert_eq!(found.steps, listed.steps, "{status}");
        let unknown = trace::read(engine, &"0".repeat(32), (2, 9), timeout, whole).await;
        assert_eq!(unknown, TraceRead::Missing, "{status}");
    }
}

#[tokio::test]
async fn a_model_that_says_what_is_not_in_the_evidence_or_fails_leaves_the_deterministic_explanation() {
    let live = live(LangfuseGeneration::V4).await;
    let known = advice(&explain_signal(&signal(&live), RateContext::new(20, 5)));
    for how in ["swapped", "wrong_sum", "prose", "obeys", "too_long", "empty_part", "markup", "calls_off"] {
        behave(&live, json!({"behaviour": how, "repairs": false})).await;
        let explained = explainer(&live).explain(&live.scene.ctx.scope, question(&live, None, how)).await;
        if how != "obeys" {
            assert!(explained.narrator.starts_with("template (model rejected"), "{how}: {explained:?}");
            assert_eq!(explained.advice, known, "{how}");
        }
    }
    let gone = Environment::of([("OPENAI_API_KEY", "k"), ("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")]);
    let explained =
        Explainer::new(&live.scene.ctx, gone).explain(&live.scene.ctx.scope, question(&live, None, "k")).await;
    assert!(explained.narrator.starts_with("template (model unavailable"), "{}", explained.narrator);
    assert_eq!(explained.advice, known);
}

#[tokio::test]
async fn a_key_has_a_budget_of_its_own_that_comes_back_after_an_hour() {
    let live = live(LangfuseGeneration::V4).await;
    let narrator = NarratorSettings { max_requests_per_key_per_hour: 2, ..NarratorSettings::default() };
    live.scene.ctx.settings.set(Settings { narrator, ..Settings::default() });
    behave(&live, json!({"behaviour": "honest"})).await;
    let scope = live.scene.ctx.scope.clone();
    let ask = async |by: &str| explainer(&live).explain(&scope, question(&live, None, by)).await.narrator;
    for _ in 0..2 {
        assert_eq!(ask("a").await, "model:gpt-4o-mini");
    }
    let over = ask("a").await;
    assert!(over.starts_with("template (model over budget: 2 requests within the hour for this key"), "{over}");
    assert_eq!(ask("b").await, "model:gpt-4o-mini", "another key has its own");
    let now = live.scene.ctx.clock.now();
    let used = live.scene.ctx.store.narrations.used_since(&scope, now - minutes(60)).await.unwrap();
    assert_eq!(used.requests, 3, "explanations count against the installation's budget too");
    live.set_clock(now + minutes(61));
    assert_eq!(ask("a").await, "model:gpt-4o-mini");
}

#[tokio::test]
async fn whoever_hangs_up_has_their_question_counted() {
    let live = live(LangfuseGeneration::V4).await;
    behave(&live, json!({"behaviour": "honest"})).await;
    let (explainer, scope) = (explainer(&live), live.scene.ctx.scope.clone());
    let question = question(&live, None, "a");
    {
        let asking = explainer.explain(&scope, question);
        tokio::pin!(asking);
        // Polled once: the question is on its way, and nobody waits for its answer.
        assert!(futures::poll!(asking.as_mut()).is_pending());
    }
    let since = live.scene.ctx.clock.now() - minutes(1);
    let (mut used, began) = (ModelUse::default(), std::time::Instant::now());
    while began.elapsed() < std::time::Duration::from_secs(60) {
        used = live.scene.ctx.store.narrations.explained_since(&scope, "a", since).await.unwrap();
        if used.requests > 0 {
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(used.requests, 1);
}

#[tokio::test]
async fn nothing_of_a_trace_is_kept() {
    let live = live(LangfuseGeneration::V4).await;
    behave(&live, json!({"behaviour": "honest"})).await;
    let planted = "planted-text-of-a-customer";
    let mut trace = Trace::default();
    trace.summary.insert("system_prompt".to_owned(), json!(planted));
    let scope = live.scene.ctx.scope.clone();
    let explained = explainer(&live).explain(&scope, question(&live, Some(trace), "a")).await;
    assert_eq!(explained.narrator, "model:gpt-4o-mini");
    let mut files = 0;
    for entry in std::fs::read_dir(live.scene.home.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            assert!(!bytes.windows(planted.len()).any(|part| part == planted.as_bytes()), "{path:?}");
        }
    }
    assert!(files > 0);
}
