//! Texts about a run as a whole: how long, how slow, how it ended.

use super::evidence::{Evidence, counted, joined, short};
use super::{Words, fix};

pub(super) fn goal_abandonment(e: &Evidence<'_>) -> Option<Words> {
    let (stall, tool) = (e.whole("stall_steps")?, e.text("last_tool_used")?);
    let (last, now, since) = (e.whole("last_tool_step")?, e.whole("current_step")?, e.whole("steps_since_last_tool")?);
    Some(Words {
        title: format!("The agent gave up after {tool}: its last {stall} events are only about the model"),
        what: format!(
            "The last tool call was {tool} at step {last}. {} later, at step {now}, the run fell silent; its last {stall} events \
             are all about the model.",
            counted(since, "step", "steps")
        ),
        why: "The run had not ended when it was judged: whoever waits for it goes on waiting, and the work it began is half done."
            .to_owned(),
        seen: format!(
            "Last tool {tool} at step {last}, silent at step {now}, {} since.",
            counted(since, "step", "steps")
        ),
        fixes: vec![
            fix(
                "python",
                format!("Say something useful when {tool} returns nothing of use"),
                "if not result:\n    result = \"Nothing found. Try other arguments once, then answer with what you know.\"",
            ),
            fix(
                "text",
                "Give the agent a way out",
                "If you cannot get on, say what you tried and what is missing, and give that as your final answer.",
            ),
        ],
    })
}

pub(super) fn slow_step(e: &Evidence<'_>) -> Option<Words> {
    let (label, step) = (e.text("step_label")?, e.whole("step_index")?);
    let (duration, limit) = (e.whole("duration_ms")? as f64 / 1000.0, e.whole("threshold_ms")? as f64 / 1000.0);
    let ratio = short(e.number("ratio")?);
    let signals: Vec<String> = e
        .get("coincident_signals")
        .and_then(|signals| signals.as_array())
        .map(|signals| {
            signals.iter().filter_map(|signal| Some(signal.get("signal_name")?.as_str()?.to_owned())).collect()
        })
        .unwrap_or_default();
    let outside = match signals.as_slice() {
        [] => String::new(),
        names => format!(" Meanwhile was reported from outside: {}.", joined(names)),
    };
    Some(Words {
        title: format!("Slow {label}: {duration:.1} s, the limit is {} s", short(limit)),
        what: format!(
            "Step {step}, a {label}, took {duration:.1} s: ×{ratio} its limit of {} s.{outside}",
            short(limit)
        ),
        why: format!("The user waits for every step of a run. Ten steps like this one take {:.1} s.", duration * 10.0),
        seen: format!("Step {step}: {duration:.1} s against {} s (×{ratio}).{outside}", short(limit)),
        fixes: vec![fix(
            "python",
            "Give every call a time limit, and say when it is reached",
            format!(
                "try:\n    result = await asyncio.wait_for(call(), timeout={})\nexcept TimeoutError:\n    \
                 run.external_signal(\"timeout\", source=\"{label}\")\n    raise",
                short(limit)
            ),
        )],
    })
}

pub(super) fn step_inflation(e: &Evidence<'_>) -> Option<Words> {
    let (steps, usual) = (e.whole("current_steps")?, e.number("baseline_p75")?);
    let (ratio, factor) = (short(e.number("inflation_ratio")?), short(e.number("threshold_factor")?));
    let cap = (usual * 1.5).ceil() as i64;
    let usual = short(usual);
    Some(Words {
        title: format!("{steps} steps, where {usual} are usual"),
        what: format!(
            "The run took {steps} steps. Three in four of the latest completed runs of this version took {usual} or fewer: this is \
             ×{ratio}, and ×{factor} is the limit."
        ),
        why: "More steps are more model calls, more waiting and more places to go astray. When nothing else changed, something \
              the agent relies on did."
            .to_owned(),
        seen: format!("{steps} steps against {usual} (×{ratio}, limit ×{factor})."),
        fixes: vec![
            fix(
                "text",
                "Compare with a run that was as usual",
                "What differs: prompt, model, tools, data? Compare the first step at which the two runs part.",
            ),
            fix("python", "Limit the steps", format!("MAX_STEPS = {cap}  # one and a half times the usual {usual}")),
            fix(
                "text",
                "Describe the tools shorter and sharper",
                "One sentence per tool: what it returns, and when not to use it. Overlapping tools make the agent try both.",
            ),
        ],
    })
}

pub(super) fn first_step(e: &Evidence<'_>) -> Option<Words> {
    let (trigger, step) = (e.text("trigger")?, e.whole("failed_step")?);
    let limit = e.whole("max_step")?;
    let tool = e.text("tool");
    let phrase = match (trigger, tool) {
        ("run_errored", _) => "the run broke off".to_owned(),
        ("empty_llm_response", _) => "the model said nothing".to_owned(),
        ("tool_failure", Some(tool)) => format!("{tool} failed"),
        ("tool_failure", None) => "a tool failed".to_owned(),
        _ => return None,
    };
    let third = match trigger {
        "run_errored" => fix(
            "python",
            "Keep the traceback",
            "except Exception:\n    log.exception(\"the run broke off\", extra={\"run_id\": run_id})\n    raise",
        ),
        "empty_llm_response" => fix(
            "text",
            "See whether the model refuses",
            "An empty first answer is often a refusal or a content filter: send the same input by hand and read the finish reason.",
        ),
        _ => fix(
            "python",
            "Try the tool by itself",
            format!(
                "def test_{}():\n    assert call({:?}, EXAMPLE).ok",
                identifier(tool.unwrap_or("tool")),
                tool.unwrap_or("tool")
            ),
        ),
    };
    Some(Words {
        title: format!("Failed at the start: {phrase} at step {step}"),
        what: format!("At step {step}, within the first {limit} steps, {phrase}."),
        why: "A run that fails before it began to work seldom fails because of its task: credentials, configuration or the input \
              itself are wrong, and the next run will fail as well."
            .to_owned(),
        seen: format!("Step {step} of the first {limit}: {phrase}."),
        fixes: vec![
            fix(
                "python",
                "Say at the start what the run starts with",
                "log.info(\"run starts\", extra={\"model\": model, \"tools\": [t.name for t in tools], \"version\": version})",
            ),
            fix("python", "Check the input first", "if not user_input or len(user_input) > MAX_INPUT:\n    raise BadInput(len(user_input or \"\"))"),
            third,
        ],
    })
}

/// A name as part of a Python name.
fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}
