// What the vendors' histories do not have: runs of agents that sent their events here, and a session of an agent and a person.
//
// Must hold: it goes in through the same doors that an SDK and an adapter use.

import { createHmac, randomUUID } from "node:crypto";

const JSON_BODY = { "Content-Type": "application/json", "X-Tripline": "1" };
/** What makes a run be judged soon after its end. */
export const SOON = { run_settle_seconds: 1 };

async function send(here, path, body, key) {
  const answer = await fetch(here.url + path, { method: "POST", headers: { ...JSON_BODY, ...(key ? { "X-API-Key": key } : {}) }, body: JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${path}: ${answer.status} ${text}`);
  return JSON.parse(text);
}

/** A run of `steps`: a name of a tool, or `{ prompt, completion }` of a model call; it ends in the order given. */
export function events(run, { agent, version = "v1", at, steps, error = null }) {
  const all = [];
  let [clock, step] = [at, 0];
  const add = (event_type, payload) => { clock += 0.5; all.push({ event_type, run_id: run, agent_id: agent, agent_version: version, step_index: step, timestamp: clock, payload }); };
  add("run.started", { input_hash: "ab".repeat(16), model: "gpt-4o", tools: ["search", "lookup", "write"] });
  for (const what of steps) {
    step += 1;
    if (typeof what === "string") {
      add("tool.called", { tool_name: what, args_hash: "c".repeat(16) });
      add("tool.responded", { tool_name: what, success: true, output_length: 120, latency_ms: 500 });
    } else {
      add("llm.called", { model: "gpt-4o", prompt_tokens: what.prompt });
      add("llm.responded", { model: "gpt-4o", prompt_tokens: what.prompt, completion_tokens: what.completion, latency_ms: 500, finish_reason: "stop", output_length: 200 });
    }
  }
  step += 1;
  add(error ? "run.errored" : "run.completed", error ? { error_type: error } : { exit_reason: "final_answer" });
  return all;
}

const call = (prompt, completion = 40) => ({ prompt, completion });

/** Runs of two agents, of which some loop; waits until they are judged. Answers their ids, the ones that loop first. */
export async function runs(here, key) {
  const { now } = (await here.api("/api/v1/session", key ? { headers: { "X-API-Key": key } } : {})).body;
  const base = Date.parse(now) / 1000 - 120;
  const made = [];
  for (let n = 0; n < 24; n += 1) {
    const loops = n % 6 === 0;
    const steps = loops ? [call(400), "search", "search", "search", call(700), "search", "search", call(900)] : [call(400), "lookup", call(500), "write"];
    made.push({ id: `run-${String(n).padStart(2, "0")}`, loops, agent: n % 3 ? "support-agent" : "catalog-agent", at: base + n, steps });
  }
  for (const run of made) await send(here, "/v1/ingest", { agent_id: run.agent, events: events(run.id, run) }, key);
  const until = Date.now() + 60_000;
  for (;;) {
    const { agents } = (await here.api("/v1/agents", key ? { headers: { "X-API-Key": key } } : {})).body;
    if ((agents ?? []).reduce((sum, agent) => sum + agent.run_count, 0) >= made.length) break;
    if (Date.now() > until) throw new Error("the runs were not judged within a minute");
    await new Promise((again) => setTimeout(again, 250));
  }
  return made.sort((a, b) => Number(b.loops) - Number(a.loops)).map(({ id }) => id);
}

/** A session in which an agent breaks something and a person mends it; ended and looked at. Answers its id. */
export async function session(here, key) {
  const { now } = (await here.api("/api/v1/session", key ? { headers: { "X-API-Key": key } } : {})).body;
  const start = Date.parse(now) - 600_000;
  const at = (second) => new Date(start + second * 1000).toISOString();
  const { session_id: id } = await send(here, "/v1/sessions/start", { user_id: "ann", workspace_id: "shop", start_time: at(0) }, key);
  const event = (second, fields) => ({ event_type: "log", source_type: "system", client_timestamp: at(second), ...fields });
  await send(here, "/v1/events/batch", {
    session_id: id,
    events: [
      event(1, { event_type: "agent_action", source_type: "agent", source_name: "coder", file_path: "src/pay.py" }),
      event(5, { event_type: "test_run", source_type: "ci", file_path: "src/pay.py", payload: { status: "failed" }, raw_message: "AssertionError: expected 3 got 4" }),
      event(30, { event_type: "file_edit", source_type: "human", source_name: "ann", file_path: "src/pay.py" }),
    ],
  }, key);
  await send(here, "/v1/sessions/end", { session_id: id }, key);
  await send(here, `/api/v1/sessions/${id}/analyze?mode=deep`, {}, key);
  return id;
}

/** The secret that deliveries of `score` are signed with; the server's environment must have it. */
export const HOOK = { GITHUB_WEBHOOK_SECRET: "hook-secret" };

/** Has pull requests scored as GitHub's webhook does, and waits for the scores. */
export async function score(here, numbers) {
  for (const number of numbers) {
    const body = JSON.stringify({ action: "opened", number, repository: { full_name: "acme-shop/shopfront" } });
    const answer = await fetch(`${here.url}/api/github/webhook`, {
      method: "POST", body,
      headers: { "Content-Type": "application/json", "X-GitHub-Event": "pull_request", "X-GitHub-Delivery": randomUUID(), "X-Hub-Signature-256": `sha256=${createHmac("sha256", HOOK.GITHUB_WEBHOOK_SECRET).update(body).digest("hex")}` },
    });
    if (answer.status !== 202) throw new Error(`the webhook answered ${answer.status} ${await answer.text()}`);
  }
  const until = Date.now() + 90_000;
  for (;;) {
    const { rows } = await send(here, "/api/v1/sql", { sql: "SELECT DISTINCT number FROM agent.risk_scores" });
    if (numbers.every((number) => rows.some((row) => row.number === number))) return;
    if (Date.now() > until) throw new Error(`pull requests ${numbers} were not scored in time: ${JSON.stringify(rows)}`);
    await new Promise((again) => setTimeout(again, 250));
  }
}
