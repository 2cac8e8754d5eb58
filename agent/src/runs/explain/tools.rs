//! Texts about tool calls and retrievals.

use super::evidence::{Evidence, counted, joined, short};
use super::{Words, fix};

pub(super) fn tool_loop(e: &Evidence<'_>) -> Option<Words> {
    let (tool, count, window) = (e.text("tool")?, e.whole("count")?, e.whole("window")?);
    let (first, last) = (e.whole("first_step")?, e.whole("last_step")?);
    let args = match (e.truth("args_identical"), e.truth("args_similar")) {
        (Some(true), _) => " with the same arguments each time",
        (_, Some(true)) => " with two sets of arguments",
        (Some(false), _) => " with changing arguments",
        _ => "",
    };
    let success = e.number("success_rate").map(|rate| format!(" {:.0}% of the answered calls succeeded.", rate * 100.0));
    let wasted = e.whole("wasted_tokens").map(|tokens| format!(" Prompts in between held {tokens} tokens."));
    Some(Words {
        title: format!("{tool} is called over and over: {count} calls, judged by the last {window}"),
        what: format!(
            "The agent called {tool} {} between step {first} and step {last}{args}, without getting to its goal.",
            counted(count, "time", "times")
        ),
        why: format!(
            "Each round sends the whole conversation to the model again, so tokens and waiting time grow with every call of \
             {tool}, and nothing in the run will end it by itself."
        ),
        seen: format!(
            "{tool} ×{count}, steps {first} to {last}.{}{}",
            success.unwrap_or_default(),
            wasted.unwrap_or_default()
        ),
        fixes: vec![
            fix(
                "python",
                format!("Cap the calls of {tool} per run"),
                format!(
                    "calls = Counter()\n\ndef guarded(tool, args):\n    calls[tool] += 1\n    if tool == \"{tool}\" and calls[tool] > {window}:\n        \
                     return \"Limit of calls reached: answer with what you have.\"\n    return run_tool(tool, args)"
                ),
            ),
            fix(
                "text",
                "Tell the agent to change its approach",
                format!(
                    "If {tool} did not give what you need, do not call it again with the same arguments. Change the \
                     arguments, use another tool, or say what is missing."
                ),
            ),
            fix(
                "python",
                "Limit the steps of a run",
                format!("MAX_STEPS = {}\n\nif step >= MAX_STEPS:\n    raise StepLimitReached(step)", last.max(window)),
            ),
        ],
    })
}

pub(super) fn tool_thrashing(e: &Evidence<'_>) -> Option<Words> {
    let (a, b, count) = (e.text("tool_a")?, e.text("tool_b")?, e.whole("count")?);
    let pattern = e.list("pattern")?.join(" → ");
    Some(Words {
        title: format!("The agent swings between {a} and {b}"),
        what: format!("The last {count} tool calls alternate between {a} and {b}, one after the other."),
        why: format!(
            "What {a} returns sends the agent to {b}, and the other way round: it makes no progress, and every turn costs a \
             model call on top of the tool call."
        ),
        seen: format!("{pattern}."),
        fixes: vec![
            fix(
                "text",
                "Say which tool decides",
                format!(
                    "Use {a} first. Use {b} only when {a} returned nothing, and do not go back to {a} afterwards: answer with \
                     what both returned."
                ),
            ),
            fix(
                "python",
                "Break the alternation",
                format!(
                    "recent = deque(maxlen={count})\n\ndef before_tool(name):\n    recent.append(name)\n    turns = list(recent)\n    \
                     if len(turns) == {count} and len(set(turns)) == 2 and all(x != y for x, y in zip(turns, turns[1:])):\n        \
                     raise ToolsDisagree(set(turns))"
                ),
            ),
        ],
    })
}

pub(super) fn tool_avoidance(e: &Evidence<'_>) -> Option<Words> {
    let (tools, llm_calls) = (e.list("available_tools")?, e.whole("llm_calls")?);
    let names = joined(&tools);
    Some(Words {
        title: "The agent answered without using any of its tools".to_owned(),
        what: format!(
            "The run ended with a final answer after {}, and used none of the tools it had: {names}.",
            counted(llm_calls, "model call", "model calls")
        ),
        why: "An answer that no tool stands behind is what the model remembers or guesses; where the tools hold the facts, it \
              may be wrong and look right."
            .to_owned(),
        seen: format!("0 tool calls, {}, available: {names}.", counted(llm_calls, "model call", "model calls")),
        fixes: vec![
            fix(
                "text",
                "Demand a tool where facts are asked for",
                format!("Before you answer a question about facts, call one of these tools: {names}. Never answer from memory."),
            ),
            fix(
                "python",
                "Make the first turn call a tool",
                "first = client.chat.completions.create(model=model, messages=messages, tools=tools, tool_choice=\"required\")",
            ),
            fix(
                "python",
                "Check before the answer goes out",
                "if tool_calls == 0 and tools:\n    messages.append({\"role\": \"user\", \"content\": \"Verify this with a tool first.\"})\n    continue",
            ),
        ],
    })
}

pub(super) fn retry_storm(e: &Evidence<'_>) -> Option<Words> {
    let (tool, fails) = (e.text("tool")?, e.whole("consecutive_fails")?);
    let first = e.whole("first_fail_step")?;
    let args = match e.truth("args_identical")? {
        true => "always with the same arguments",
        false => "with different arguments",
    };
    let reason = match (e.truth("reason_identical"), e.text("failure_reason_hash")) {
        (Some(true), Some(hash)) => format!(" Every failure has the same reason (hash {hash})."),
        _ => " The reasons differ or are not known.".to_owned(),
    };
    Some(Words {
        title: format!("{tool} failed {fails} times in a row"),
        what: format!("From step {first} on, {tool} failed {fails} times, call after call, {args}.{reason}"),
        why: format!(
            "A tool that fails again and again is down or is called wrongly. Calling {tool} once more burdens it and \
             pays for a model call to read one more error."
        ),
        seen: format!("{tool}: {fails} failures in a row since step {first}, {args}."),
        fixes: vec![
            fix(
                "python",
                "Wait longer each time, then stop calling",
                format!(
                    "for attempt in range({}):\n    result = call({tool:?}, args)\n    if result.ok:\n        break\n    \
                     time.sleep(2 ** attempt)\nelse:\n    breaker.open({tool:?})",
                    fails.min(5)
                ),
            ),
            fix(
                "text",
                "Tell the agent when to give up",
                format!("When {tool} has failed twice, do not call it again in this run. Say that it is not available."),
            ),
            fix(
                "python",
                "Let the model see why it failed",
                "return {\"ok\": False, \"error\": str(error), \"retry\": isinstance(error, TransientError)}",
            ),
        ],
    })
}

pub(super) fn cascading(e: &Evidence<'_>) -> Option<Words> {
    let (count, tools) = (e.whole("consecutive_failures")?, e.list("distinct_tools")?);
    let first = e.whole("first_fail_step")?;
    let names = joined(&tools);
    Some(Words {
        title: format!("{count} tool calls in a row failed, across {names}"),
        what: format!(
            "Since step {first} every tool call of the run failed: {count} calls of {} different tools ({names}).",
            tools.len()
        ),
        why: "Tools that fail together share something: a network, a credential, a service behind them. The agent cannot repair \
              that by trying the next one."
            .to_owned(),
        seen: format!("{count} failures in a row since step {first}: {names}."),
        fixes: vec![
            fix(
                "python",
                "Check what the tools depend on before the run",
                format!(
                    "for name in {tools:?}:\n    if not health(name).ok:\n        raise DependencyDown(name)"
                ),
            ),
            fix(
                "python",
                "Give the run a budget of failures",
                format!("failures = failures + 1 if not result.ok else 0\nif failures >= {count}:\n    raise TooManyFailures(failures)"),
            ),
            fix(
                "text",
                "Tell the agent to stop",
                "When two different tools have failed one after the other, stop calling tools and report what you could not do.",
            ),
        ],
    })
}

pub(super) fn empty_retrieval(e: &Evidence<'_>) -> Option<Words> {
    let (index, results, bad) = (e.text("index_name")?, e.whole("result_count")?, e.whole("bad_retrievals")?);
    let score = e.number("top_score");
    let found = match score {
        _ if results <= 0 => "found nothing".to_owned(),
        Some(score) => {
            format!("found {} whose best score is {score:.2}", counted(results, "passage", "passages"))
        }
        None => format!("found {} only", counted(results, "passage", "passages")),
    };
    let score = score.map_or_else(String::new, |score| format!(", best score {}", short(score)));
    Some(Words {
        title: format!("The answer rests on nothing: index {index} {found}"),
        what: format!(
            "The run ended with a final answer although {} brought too little; the worst, of {index}, {found}.",
            counted(bad, "retrieval", "retrievals")
        ),
        why: "Without passages the model answers from memory, and the reader cannot tell: this is how an assistant with sources \
              comes to invent."
            .to_owned(),
        seen: format!("{index}: {}{score}, {} of this kind.", counted(results, "result", "results"), counted(bad, "retrieval", "retrievals")),
        fixes: vec![
            fix(
                "python",
                "Look at what was found before answering",
                "hits = [hit for hit in search(query) if hit.score >= MIN_SCORE]\nif not hits:\n    return \"I found nothing about this.\"",
            ),
            fix(
                "text",
                "Say what to do without sources",
                "If the search returned no passage, say so and ask for other words. Do not answer from memory.",
            ),
            fix(
                "text",
                format!("Check the index {index}"),
                "Is it filled and up to date? Is the query embedded with the model that the index was built with? Is a filter too narrow?",
            ),
        ],
    })
}
