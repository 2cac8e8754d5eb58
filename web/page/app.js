// The first page: incidents and approvals, live.
//
// Owns: what is shown and the two decisions that can be sent. The answer comes first: what is wrong, since when, why, what
// can be done about it, and what nobody knows; evidence, suspects and timeline open below.
//
// Must hold: whatever comes from the server is put on the page as text (h() and textContent), never as HTML; a card that
// did not change keeps its elements, so that focus, an open payload and a half-written reason survive what happens live.
//
// One tab holds the live stream and tells the others: browsers allow six connections per host, and a stream takes one.
"use strict";

const KEY = "tripline-key";
const SLOW_REFRESH_MS = 15_000;
const state = {
  session: null, incidents: null, approvals: [], actions: [], sources: [], jobs: [], skew: 0,
  /** Incidents whose evidence is open, what was fetched for them, and the incident that the address names. */
  open: new Set(), details: new Map(), linked: null,
  /** Per approval: the reason that is being written, and whether a decision is under way. */
  reasons: new Map(), busy: new Set(),
  /** Keys of the <details> that are open. */
  unfolded: new Set(),
};

const $ = (id) => document.getElementById(id);

class ApiError extends Error {
  constructor(status, body) {
    const error = body?.error ?? {};
    super([error.message ?? `HTTP ${status}`, error.detail, error.hint].filter(Boolean).join(" — "));
    this.status = status;
  }
}

function headers(extra = {}) {
  const key = sessionStorage.getItem(KEY);
  return { ...extra, ...(key ? { "X-API-Key": key } : {}) };
}

async function api(path, options = {}) {
  const response = await fetch(path, { ...options, headers: headers(options.headers), cache: "no-store" });
  const body = await response.json().catch(() => null);
  if (!response.ok) throw new ApiError(response.status, body);
  return body;
}

function post(path, body) {
  return api(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

// ---- decisions ----

async function decide(approval, decision) {
  const { id } = approval;
  state.busy.add(id);
  render();
  try {
    const body = { payload_sha256: approval.payload_sha256 };
    if (state.reasons.get(id)) body.reason = state.reasons.get(id);
    await post(`/api/v1/approvals/${encodeURIComponent(id)}/${decision}`, body);
    state.reasons.delete(id);
    showError(null);
  } catch (error) {
    showError(error);
  } finally {
    state.busy.delete(id);
    await refresh();
  }
}

function approvalBlock({ approval, may, busy }) {
  const { id } = approval;
  const reason = h("input", {
    type: "text", maxlength: "1000", placeholder: "reason (optional)", "aria-label": "reason", "data-focus": `${id}:reason`,
    oninput: (event) => state.reasons.set(id, event.target.value),
  });
  reason.value = state.reasons.get(id) ?? "";
  const button = (name, kind, text) => h("button", {
    type: "button", class: kind, disabled: !may || busy, "data-focus": `${id}:${name}`, onclick: () => decide(approval, name),
  }, text);
  return h("div", { class: "decision" },
    h("p", {}, h("strong", {}, `Shall Tripline ${verb(approval.action_type)}?`), " ",
      h("span", { class: "left", "data-expires": approval.expires_at }, left(approval.expires_at))),
    h("p", {}, approval.summary),
    may
      ? h("p", { class: "decide" }, reason, button("approve", "approve", `Approve: ${verb(approval.action_type)}`),
        button("reject", "reject", "Reject"))
      : h("p", { class: "hint" }, state.session?.scopes?.some((scope) => scope === "operate" || scope === "admin")
        ? "You may read this. Deciding is for those whom governance.approvers lists."
        : "You may read this. Deciding takes a key with the scope operate, of a person whom governance.approvers lists."),
    fold(`${id}:payload`, "Exactly what will be done",
      h("dl", {}, fact("Target", approval.target), fact("Payload sha256", code(approval.payload_sha256)),
        fact("Evidence sha256", code(approval.evidence_sha256 ?? "–"))),
      Object.entries(approval.payload).map(([name, value]) => [h("h4", {}, name),
        h("pre", {}, typeof value === "string" ? value : JSON.stringify(value, null, 2))])));
}

// ---- incidents ----

/** What was decided and done about an incident, one line each. */
function done(approvals, actions) {
  return [
    ...approvals.map((approval) => h("li", {}, badge(approval.status, "approval"), ` ${verb(approval.action_type)}`,
      approval.resolved_by ? `, by ${approval.resolved_by}` : "", approval.reason ? ` (${approval.reason})` : "", " ",
      approval.resolved_at ? since(approval.resolved_at) : null)),
    ...actions.map((action) => h("li", {}, badge(action.status, "action"), ` ${verb(action.type)}: `, outcome(action), " ",
      since(action.updated_at))),
  ];
}

const PARTS = [["what_happened", "What happened"], ["likely_cause", "Likely cause"], ["impact", "Impact"],
  ["recommended_action", "Do now"]];

function incidentCard({ incident, pending, decided, actions, may, busy, open, detail }) {
  const { id } = incident;
  const toggle = () => {
    if (state.open.delete(id)) state.details.delete(id);
    else { state.open.add(id); loadDetail(id); }
    render();
  };
  const parts = incident.narrative_parts;
  const culprit = list(incident.suspects).find((suspect) => suspect.sha === incident.culprit_sha);
  return h("article", { class: `card edge-${incident.severity}`, id: `incident-${id}` },
    h("header", {},
      badge(incident.severity, "severity"),
      h("h3", {}, `${title(incident.type)}: ${incident.entity}`),
      incident.status === "open" ? null : badge(incident.status, "status"),
      incident.reopened_count ? h("span", { class: "hint" }, `reopened ${incident.reopened_count}×`) : null,
      h("span", { class: "left" }, since(incident.opened_at))),
    list(incident.gaps).map((gap) => h("p", { class: "gap" }, h("strong", {}, "unknown: "), `${gap.source} — ${gap.reason}`)),
    parts
      ? h("dl", { class: "narrative" }, PARTS.filter(([name]) => parts[name])
        .map(([name, label]) => fact(label, parts[name])))
      : h("p", { class: "narrative" }, incident.narrative ?? `${incident.description}. It is being investigated.`),
    pending.map((approval) => approvalBlock({ approval, may, busy: busy.includes(approval.id) })),
    decided.length || actions.length ? h("ul", { class: "done" }, done(decided, actions)) : null,
    h("p", { class: "facts" },
      h("span", {}, "Cost ", h("strong", {}, money(incident.cost_usd))),
      h("span", {}, "Culprit ", incident.culprit_sha
        ? h("strong", {}, github(culprit?.url, code(incident.culprit_sha.slice(0, 8)))) : noCulprit(incident)),
      h("span", {}, `seen in ${count(incident.occurrences, "window")}`),
      h("span", {}, `narrated by ${incident.narrator ?? "nobody yet"}`)),
    h("button", { type: "button", class: "link", "aria-expanded": String(open), "data-focus": `${id}:toggle`, onclick: toggle },
      open ? "Hide evidence, suspects and timeline" : "Evidence, suspects and timeline"),
    open ? incidentDetail(detail) : null);
}

function incidentDetail(detail) {
  if (!detail) return h("p", { class: "empty" }, "loading…");
  const { id } = detail;
  return h("div", { class: "detail" },
    h("h4", {}, "Suspects, most likely first"),
    table(["Commit", "Score", "What", "By", "Why"], list(detail.suspects).map((suspect) => [
      github(suspect.url, code(String(suspect.sha ?? "?").slice(0, 8))),
      typeof suspect.score === "number" ? suspect.score.toFixed(2) : "–",
      suspect.message, suspect.author, list(suspect.parts).map((part) => part.reason).filter(Boolean).join("; "),
    ]), "No commit comes into question."),
    h("h4", {}, "Evidence"),
    table(["Query", "Sources", "Answer", "Rows"], detail.evidence.map((item) => [
      item.name, item.sources.join(", "),
      item.status === "unknown" ? h("span", { class: "gap" }, `unknown: ${item.error ?? ""}`) : item.status,
      item.truncated ? `${item.row_count}, not all` : String(item.row_count),
    ]), "none"),
    detail.evidence.map((item) => fold(`${id}:evidence:${item.name}`, `${item.name}: ${count(item.row_count, "row")} and SQL`,
      h("pre", {}, item.sql), h("pre", {}, JSON.stringify(item.params)), h("pre", {}, JSON.stringify(item.rows, null, 2)))),
    fold(`${id}:timeline`, `Timeline: ${count(list(detail.timeline).length, "entry", "entries")}, newest first`,
      table(["When", "Source", "What"], [...list(detail.timeline)].reverse().map((entry) => [
        time(entry.at), `${entry.source} ${entry.kind}`, entry.text]), "empty")));
}

async function loadDetail(id) {
  try {
    state.details.set(id, await api(`/api/v1/incidents/${encodeURIComponent(id)}`));
  } catch (error) {
    showError(error);
  }
  render();
}

// ---- everything ----

function outcome(action) {
  const result = action.result ?? {};
  if (action.status === "unknown") return `${action.error ?? ""} Look whether it happened, then settle it (docs/api.md).`;
  return action.error ?? (result.url ? github(result.url) : result.state ?? action.status);
}

/** Sources that failed and have not answered since. */
const down = () => state.sources.filter((source) =>
  source.last_failure_at && source.last_failure_at > (source.last_success_at ?? ""));

/** The first line: how bad is it, and what is wanted from me. */
function answer(open, pending, may) {
  const worst = open.length === 1 ? `: ${open[0].severity}` : `, the worst ${open[0]?.severity}`;
  const looked = state.jobs.map((job) => job.last_run?.finished_at).filter(Boolean).sort().at(-1);
  const wrong = open.length
    ? `${count(open.length, "open incident")}${worst}.`
    : looked ? "No open incidents." : "No open incidents; no detector has looked yet.";
  const wanted = pending.length ? ` ${count(pending.length, "decision waits", "decisions wait")} for ${may ? "you" : "an approver"}.` : "";
  const unknown = down().length ? ` Not everything is known: ${down().map((source) => source.name).join(", ")}.` : "";
  return `${wrong}${wanted}${unknown}`;
}

function render() {
  if (!state.incidents) return;
  const may = Boolean(state.session?.approver);
  const busy = [...state.busy];
  const pending = state.approvals.filter((approval) => approval.status === "pending");
  const decided = state.approvals.filter((approval) => approval.status !== "pending");
  const known = new Set(state.incidents.map((incident) => incident.id));
  const cards = [...state.incidents].sort((a, b) =>
    severityOrder[a.severity] - severityOrder[b.severity] || b.opened_at.localeCompare(a.opened_at)).map((incident) => {
    const of = (items) => items.filter((item) => item.incident_id === incident.id);
    const open = state.open.has(incident.id);
    return { incident, pending: of(pending), decided: of(decided), actions: of(state.actions), may, open,
      busy: busy.filter((id) => of(pending).some((approval) => approval.id === id)),
      detail: open ? state.details.get(incident.id) : undefined };
  });
  const open = cards.filter((card) => card.incident.status === "open");
  const resolved = cards.filter((card) => card.incident.status !== "open");
  const orphans = pending.filter((approval) => !known.has(approval.incident_id));
  const key = (card) => card.incident.id;

  const text = answer(open.map((card) => card.incident), pending, may);
  if ($("answer").textContent !== text) $("answer").textContent = text;
  document.title = open.length ? `(${open.length}) Tripline` : "Tripline";
  place($("down"), down(), (source) => source.name, (source) =>
    h("p", { class: "gap" }, h("strong", {}, `unknown: ${source.name} `), `does not answer: ${source.last_failure}`));
  $("orphans-section").hidden = !orphans.length;
  place($("orphans"), orphans.map((approval) => ({ approval, may, busy: busy.includes(approval.id) })),
    (item) => item.approval.id, (item) => h("article", { class: "card" }, approvalBlock(item)));
  if (open.length) place($("incidents"), open, key, incidentCard);
  else place($("incidents"), ["none"], (item) => item, () => h("p", { class: "empty" }, "None."));
  $("resolved-section").hidden = !resolved.length;
  place($("resolved"), resolved, key, incidentCard);

  const one = (id, item, make) => place($(id), [item], () => id, make);
  one("actions", state.actions, (actions) => table(["Action", "Status", "Attempts", "Target", "Outcome", "When"],
    actions.map((action) => [title(action.type), badge(action.status, "action"), String(action.attempts),
      action.target, outcome(action), since(action.updated_at)]), "Nothing was done yet."));
  one("decided", decided.slice(0, 20), (decided) => table(["What", "Decision", "By", "Via", "Why", "When"],
    decided.map((approval) => [`${title(approval.incident_type)}: ${verb(approval.action_type)}`,
      badge(approval.status, "approval"), approval.resolved_by, approval.resolved_via, approval.reason,
      approval.resolved_at ? since(approval.resolved_at) : "–"]), "No decisions yet."));
  one("sources", state.sources, (sources) => table(["Source", "Status", "Last answer", "Last failure"],
    sources.map((source) => [source.name, source.status,
      source.last_success_at ? since(source.last_success_at) : "never",
      source.last_failure ? [`${source.last_failure} `, since(source.last_failure_at)] : "none"]), "No sources."));
  one("jobs", state.jobs, (jobs) => table(["Job", "Last run", "Status", "Next"],
    jobs.map((job) => [job.name, job.last_run ? since(job.last_run.started_at) : "never",
      job.last_run ? h("span", { title: job.last_run.error ?? "" }, badge(job.last_run.status, "job")) : "–",
      job.next_due_at ? time(job.next_due_at) : "–"]), "No jobs."));
}

function showError(error) {
  $("error").hidden = !error;
  $("error").textContent = error ? error.message : "";
}

let unreachable = false;
async function refresh() {
  try {
    const [incidents, approvals, actions] = await Promise.all([
      api("/api/v1/incidents?limit=50"), api("/api/v1/approvals?limit=100"),
      api("/api/v1/actions?kind=remediation&limit=50")]);
    const items = incidents.items;
    // The address names an incident, which may be older than the listing goes.
    if (state.linked && !items.some((incident) => incident.id === state.linked)) {
      const linked = await api(`/api/v1/incidents/${encodeURIComponent(state.linked)}`).catch(() => null);
      if (linked) items.push(linked);
    }
    Object.assign(state, { incidents: items, approvals: approvals.items, actions: actions.items });
    // An error of a decision stays until the next one.
    if (unreachable) showError(null);
    unreachable = false;
    render();
    await Promise.all([...state.open].map(loadDetail));
  } catch (error) {
    if (error.status === 401) return askForKey(error);
    unreachable = true;
    showError(error);
  }
}

async function refreshSlow() {
  try {
    const [session, jobs, sources] = await Promise.all([
      // Jobs and sources belong to the installation: a key of another project does not see them.
      api("/api/v1/session"), api("/api/v1/jobs").catch(() => ({ items: [] })),
      api("/api/v1/sources").catch(() => ({ items: [] }))]);
    state.skew = Date.parse(session.now) - Date.now();
    Object.assign(state, { session, jobs: jobs.items, sources: sources.items });
    $("who").textContent = `${session.person}${session.dev ? " (dev mode)" : ""} · ${session.project}`;
    render();
  } catch (error) {
    if (error.status === 401) askForKey(error);
  }
}

let pendingRefresh = null;
function refreshSoon() {
  pendingRefresh ??= setTimeout(() => { pendingRefresh = null; refresh(); }, 150);
}

// ---- live ----

const channel = "BroadcastChannel" in window ? new BroadcastChannel("tripline") : null;
if (channel) channel.onmessage = (message) => onLive(message.data);

let live = null;
function onLive(message) {
  // What happened while the stream was lost was not told.
  if (message === "change" || (message === "live" && live === "lost")) refreshSoon();
  live = message;
  const words = { change: "live", live: "live", lost: "reconnecting…" };
  $("live").textContent = words[message] ?? message;
  $("live").className = message === "lost" ? "live lost" : "live on";
}

function tell(message) {
  onLive(message);
  channel?.postMessage(message);
}

/** Reads the stream until it ends. fetch, unlike EventSource, can send a key. */
async function listen() {
  const response = await fetch("/api/v1/stream", { headers: headers(), cache: "no-store" });
  if (!response.ok) throw new Error(`HTTP ${response.status}`);
  tell("live");
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (rest + value).split("\n\n");
    rest = events.pop();
    if (events.some((event) => event.includes("event: change"))) tell("change");
  }
}

async function lead() {
  for (;;) {
    await listen().catch(() => tell("lost"));
    await new Promise((resume) => setTimeout(resume, 2000));
  }
}

function follow() {
  // Without locks (an address that is neither https nor this machine) tabs cannot agree on one: each asks now and then.
  if (navigator.locks && channel) navigator.locks.request("tripline-stream", lead);
  else setInterval(refreshSoon, 5000);
  onLive("live");
}

// ---- start ----

function askForKey(error) {
  $("main").hidden = true;
  $("key-form").hidden = false;
  $("live").textContent = "not signed in";
  $("live").className = "live";
  const tried = sessionStorage.getItem(KEY);
  sessionStorage.removeItem(KEY);
  $("key-error").textContent = tried ? error.message : "";
  $("key").focus();
}

let started = false;
async function start() {
  try {
    await api("/api/v1/session");
  } catch (error) {
    if (error.status === 401 || error.status === 403) return askForKey(error);
    $("main").hidden = false;
    showError(error);
    setTimeout(start, 3000);
    return;
  }
  $("key-form").hidden = true;
  $("main").hidden = false;
  const linked = /^#incident=([A-Za-z0-9-]{1,64})$/.exec(location.hash)?.[1];
  if (linked) {
    state.linked = linked;
    state.open.add(linked);
  }
  await refreshSlow();
  await refresh();
  if (linked) document.getElementById(`incident-${linked}`)?.scrollIntoView();
  if (started) return;
  started = true;
  follow();
  setInterval(refreshSlow, SLOW_REFRESH_MS);
  setInterval(() => {
    for (const element of document.querySelectorAll("[data-expires]")) {
      element.textContent = left(element.dataset.expires);
      if (element.textContent !== "expired") continue;
      for (const button of element.closest(".decision").querySelectorAll(".decide button")) button.disabled = true;
    }
    for (const element of document.querySelectorAll("[data-ago]")) element.textContent = ago(element.dataset.ago);
  }, 1000);
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key").value = "";
  start();
});

start();
