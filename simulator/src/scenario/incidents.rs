//! The five incidents: cause, onset, what people say, fix.
//!
//! Owns: each story's times and figures; all of them lie in the last eleven hours, apart from each
//! other, on quarter hours, so that traffic changes exactly at their edges.
//! Must hold: an incident's figures pass its own rule and no other's; see `tests`.

use rand::Rng;
use serde_json::json;

use super::background;
use super::company::{self, CATALOG, CHECKOUT, COPYWRITER, SUPPORT, Tool};
use super::effects::{FeatureChange, Window};
use super::emit::{Generation, Request, Span, foundations, prompt, request};
use super::plan::{File, Plan, Trouble};
use super::random::{self, hex};
use super::{FailureClass, Scenario};
use crate::time::{MINUTE, Micros, SECOND};

/// Generations of the loop: above the twenty from which a kill may be automatic.
pub(crate) const LOOP_GENERATIONS: usize = 24;

/// Writes the chosen incidents.
pub(crate) fn plan(plan: &mut Plan, scenarios: &[Scenario]) {
    let mut chosen = Vec::new();
    for scenario in scenarios {
        if !chosen.contains(scenario) {
            chosen.push(*scenario);
        }
    }
    for scenario in chosen {
        match scenario {
            Scenario::SilentToolFailure => silent_tool_failure(plan),
            Scenario::PromptDrift => prompt_drift(plan, "Shorten support answers and score them"),
            Scenario::PromptDriftWorded => {
                prompt_drift(plan, "Rewrite the support prompt template: shorter answers, one score");
            }
            Scenario::AgentLoop => agent_loop(plan),
            Scenario::CostSpike => cost_spike(plan),
            Scenario::ErrorCascade => error_cascade(plan),
            Scenario::Quiet => {}
        }
    }
}

impl Plan {
    fn window(&self, from: i64, to: i64) -> Window {
        Window { from: self.ago(from), to: self.ago(to) }
    }
}

fn silent_tool_failure(plan: &mut Plan) {
    let window = plan.window(585, 510);
    let sha = plan.commit(
        "inventory culprit",
        plan.ago(605),
        1,
        "Read the inventory feed with the streaming reader\n\nThe feed has grown; reading it whole took 300 MB.",
        vec![
            File::patched(
                "tools/inventory/parser.py",
                "-    rows = json.loads(response.text)\n-    return {\"items\": rows}\n+    for chunk in response.iter_lines():\n+        return chunk.decode()",
            ),
            File::patched("tools/inventory/tests/test_parser.py", "-    assert parse(FEED)\n+    # covered by the reader's own tests"),
        ],
    );
    let deployed = plan.ago(590);
    plan.deploy(&sha, deployed, 1);
    plan.effects.broken_tools.push((Tool::FetchInventory, window));
    // A few errors downstream, minutes after a call of the tool that reported success, and of no
    // other tool.
    let trouble = plan.window(580, 570);
    plan.effects.quiet_tools.push((trouble, Some(Tool::FetchInventory)));
    if let Some(feature) = company::feature(CATALOG) {
        let mut rng = random::part(plan.seed, "the call before the errors");
        background::one(plan, feature, plan.ago(573), &mut rng);
    }
    plan.troubles.push(Trouble {
        kind: "JSONDecodeError".to_owned(),
        value: "Expecting value: line 1 column 1 (char 0)".to_owned(),
        project: 2,
        level: "error",
        filename: "agents/catalog/stock.py".to_owned(),
        function: "read_stock".to_owned(),
        transaction: "catalog.sync".to_owned(),
        release_sha: Some(sha.clone()),
        seen: vec![plan.ago(571), plan.ago(568), plan.ago(564)],
        status: "unresolved",
    });
    plan.say(plan.ago(560), "support", 6, "Listings say \"stock unknown\" for nearly everything, is that on purpose?");
    plan.say(
        plan.ago(541),
        "incidents",
        0,
        "Catalog shows no stock levels since this morning. No alarms at all, the agent says everything succeeded.",
    );
    plan.say(plan.ago(533), "backend", 1, "Could be the inventory side, I changed how we read that feed. Checking.");
    let fix = plan.commit(
        "inventory fix",
        plan.ago(520),
        1,
        "Revert \"Read the inventory feed with the streaming reader\"",
        vec![File::patched(
            "tools/inventory/parser.py",
            "+    rows = json.loads(response.text)\n-        return chunk.decode()",
        )],
    );
    plan.deploy(&fix, plan.ago(511), 1);
    plan.say(plan.ago(505), "incidents", 0, "Stock levels are back.");
    plan.incident(
        FailureClass::SilentToolFailure,
        Tool::FetchInventory.name(),
        (window.from, window.to),
        &sha,
        deployed,
    );
}

fn prompt_drift(plan: &mut Plan, message: &str) {
    let window = plan.window(480, 375);
    let sha = plan.commit(
        "support culprit",
        plan.ago(494),
        2,
        message,
        vec![
            File::patched(
                "prompts/support_reply.md",
                "-Answer as JSON with the keys response, confidence and category.\n+Answer as JSON: answer (two sentences at most) and score.",
            ),
            File::patched("services/support/reply.py", "-PROMPT_VERSION = 6\n+PROMPT_VERSION = 7"),
        ],
    );
    let deployed = plan.ago(484);
    plan.deploy(&sha, deployed, 2);
    plan.effects.features.push((SUPPORT, window, FeatureChange::Reshaped { prompt_version: 7 }));
    prompt(plan, SUPPORT, 7, plan.ago(484), &json!(["production"]), "Answer as JSON: answer and score.");
    plan.say(plan.ago(447), "support", 7, "Ticket routing puts everything into \"other\" since an hour");
    plan.say(plan.ago(431), "incidents", 4, "Helpdesk integration drops categories. No exceptions anywhere, only empty fields. Anyone touched support replies?");
    plan.say(plan.ago(425), "engineering", 2, "That might be us, looking");
    let fix = plan.commit(
        "support fix",
        plan.ago(385),
        2,
        "Support answers: keep the agreed keys",
        vec![File::patched(
            "prompts/support_reply.md",
            "+Answer as JSON with the keys response, confidence and category.\n-Answer as JSON: answer and score.",
        )],
    );
    plan.deploy(&fix, plan.ago(377), 2);
    plan.incident(FailureClass::PromptDrift, SUPPORT, (window.from, window.to), &sha, deployed);
}

fn agent_loop(plan: &mut Plan) {
    let Some(feature) = company::feature(CATALOG) else {
        return;
    };
    let sha = plan.commit(
        "loop culprit",
        plan.ago(348),
        5,
        "Let the catalog agent search until it is satisfied",
        vec![
            File::patched(
                "agents/catalog/loop.py",
                "-    for step in range(MAX_STEPS):\n+    while not answer.is_final:",
            ),
            File::patched("agents/catalog/config.py", "-MAX_STEPS = 6"),
        ],
    );
    let deployed = plan.ago(340);
    plan.deploy(&sha, deployed, 5);

    let start = plan.ago(330);
    let mut rng = random::part(plan.seed, "the loop");
    let trace_id = hex(&mut rng, 32);
    let mut clock = start;
    let mut spans = Vec::new();
    let mut generations = Vec::new();
    for step in 0..LOOP_GENERATIONS {
        let output = r#"{"thought":"The result does not look right, search again.","action":"search_products","action_input":{"product":"Oak side table"}}"#;
        generations.push(Generation {
            id: hex(&mut rng, 16),
            start: clock,
            end: clock + 3 * SECOND,
            input: feature.input(&mut rng),
            output: output.to_owned(),
            input_tokens: 1400 + 12 * step as u64,
            output_tokens: 90,
            max_tokens: feature.max_tokens,
            prompt: None,
            warning: None,
        });
        clock += 3 * SECOND + 200_000;
        if step + 1 < LOOP_GENERATIONS {
            spans.push(Span {
                id: hex(&mut rng, 16),
                name: Tool::SearchProducts.name(),
                start: clock,
                end: clock + 400_000,
                input: r#"{"query":"oak side table"}"#.to_owned(),
                output: Tool::SearchProducts.output(&mut rng),
            });
            clock += 400_000 + rng.random_range(12_000..16_000) * 1000;
        }
    }
    let end = clock;
    request(
        plan,
        &Request {
            feature,
            trace_id: trace_id.clone(),
            at: start,
            user: 47,
            spans,
            generations,
            score: None,
            noted: false,
        },
    );
    plan.say(
        end + 4 * MINUTE,
        "incidents",
        5,
        "One of the catalog jobs searches for the same table over and over. Can someone stop it?",
    );
    plan.say(end + 9 * MINUTE, "backend", 3, "I see it in the traces, two dozen model calls for one product");
    let fix = plan.commit(
        "loop fix",
        plan.ago(305),
        5,
        "Catalog agent: bring the step limit back",
        vec![File::patched(
            "agents/catalog/loop.py",
            "+    for step in range(MAX_STEPS):\n-    while not answer.is_final:",
        )],
    );
    plan.deploy(&fix, plan.ago(298), 5);
    plan.incident(FailureClass::AgentLoop, &trace_id, (start, end), &sha, deployed);
}

fn cost_spike(plan: &mut Plan) {
    let window = plan.window(255, 120);
    let sha = plan.commit(
        "copywriter culprit",
        plan.ago(269),
        3,
        "Longer product texts: raise max_tokens to 8192",
        vec![
            File::patched("services/copywriter/config.yaml", "-  max_tokens: 900\n+  max_tokens: 8192"),
            File::patched(
                "services/copywriter/generate.py",
                "-    style = \"three sentences\"\n+    style = \"as long as it takes\"",
            ),
        ],
    );
    let deployed = plan.ago(260);
    plan.deploy(&sha, deployed, 3);
    plan.effects.features.push((COPYWRITER, window, FeatureChange::Longer { factor: 7.2, max_tokens: 8192 }));
    plan.say(plan.ago(207), "alerts", 3, "[WARN] model spend today is ahead of plan");
    plan.say(
        plan.ago(196),
        "incidents",
        6,
        "Product texts have become novels. And finance asks what we are doing with the model budget.",
    );
    plan.say(plan.ago(190), "engineering", 0, "Spend per hour went up a lot around noon, traffic did not");
    let fix = plan.commit(
        "copywriter fix",
        plan.ago(130),
        3,
        "Product texts: back to three sentences",
        vec![File::patched("services/copywriter/config.yaml", "+  max_tokens: 900\n-  max_tokens: 8192")],
    );
    plan.deploy(&fix, plan.ago(121), 3);
    plan.incident(FailureClass::CostSpike, COPYWRITER, (window.from, window.to), &sha, deployed);
}

fn error_cascade(plan: &mut Plan) {
    let window = plan.window(90, 15);
    let sha = plan.commit(
        "checkout culprit",
        plan.ago(103),
        7,
        "Simplify the checkout client: no sleep between attempts",
        vec![
            File::patched(
                "services/checkout/retry.py",
                "-    for attempt in range(3):\n-        sleep(2 ** attempt)\n+    for _ in range(5):\n         return call()",
            ),
            File::patched("services/checkout/tests/test_retry.py", "-def test_backs_off():\n-    assert slept == [1, 2, 4]"),
        ],
    );
    let deployed = plan.ago(94);
    plan.deploy(&sha, deployed, 7);
    plan.effects.features.push((CHECKOUT, window, FeatureChange::Retried { requests: 9.6, generations: 2 }));
    let first = window.from + 2 * MINUTE;
    // The new errors follow no tool call: only the retries are to blame.
    let before = Window { from: first - 8 * MINUTE, to: first + MINUTE };
    plan.effects.quiet_tools.push((before, None));
    let mut rng = random::part(plan.seed, "cascade");
    let mut seen = |every: Micros, from: Micros| -> Vec<Micros> {
        let mut times = Vec::new();
        let mut at = from;
        while at < window.to - MINUTE {
            times.push(at);
            at += every + rng.random_range(-20..20) * SECOND + rng.random_range(0..999) * 1000;
        }
        times
    };
    let rate_limited = seen(70 * SECOND, first);
    let timed_out = seen(5 * MINUTE, first + 40 * SECOND);
    let trouble = |kind: &str, value: &str, function: &str, seen: Vec<Micros>| Trouble {
        kind: kind.to_owned(),
        value: value.to_owned(),
        project: 0,
        level: "error",
        filename: "services/checkout/retry.py".to_owned(),
        function: function.to_owned(),
        transaction: "/checkout/quote".to_owned(),
        release_sha: Some(sha.clone()),
        seen,
        status: "unresolved",
    };
    let limited = trouble(
        "RateLimitError",
        "429 Too Many Requests from pricing after 5 attempts",
        "call_with_retry",
        rate_limited,
    );
    let timeout = trouble("TimeoutError", "quote took longer than 30s", "quote", timed_out);
    plan.troubles.push(limited);
    plan.troubles.push(timeout);
    plan.say(plan.ago(81), "alerts", 7, "[FIRING] checkout error rate above 5 %");
    plan.say(
        plan.ago(76),
        "incidents",
        0,
        "Checkout quotes fail for many customers, pricing answers 429. Model calls for quotes have doubled as well.",
    );
    plan.say(
        plan.ago(70),
        "backend",
        7,
        "Pricing says we hammer them. The assistant asks again for every failed quote.",
    );
    plan.say(plan.ago(52), "engineering", 4, "Looks like something in how checkout retries");
    let fix = plan.commit(
        "checkout fix",
        plan.ago(24),
        7,
        "Checkout client: wait between attempts again",
        vec![File::patched("services/checkout/retry.py", "+        sleep(2 ** attempt)\n-    for _ in range(5):")],
    );
    plan.deploy(&fix, plan.ago(16), 7);
    plan.say(plan.ago(9), "incidents", 0, "Checkout is recovering.");
    plan.incident(FailureClass::ErrorCascade, CHECKOUT, (window.from, window.to), &sha, deployed);
}

/// Everything in Langfuse that is not traffic; called once the traffic is there.
pub(crate) fn close(plan: &mut Plan) {
    foundations(plan);
}
