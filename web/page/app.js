// The first page: incidents and approvals, live.
//
// Whatever comes from the server is put on the page as text (h() and textContent), never as HTML.
// One tab holds the live stream and tells the others: browsers allow six connections per host, and a stream takes one.
"use strict";

const KEY = "tripline-key";
const SLOW_REFRESH_MS = 15_000;
const state = { session: null, open: new Set(), details: new Map(), reasons: new Map(), busy: new Set(), skew: 0 };

const $ = (id) => document.getElementById(id);

/** An element with properties and children; text children are text. */
function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "onclick" || name === "oninput") element.addEventListener(name.slice(2), value);
    else if (name === "disabled" || name === "hidden") element[name] = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

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

// ---- words ----

const severityOrder = { critical: 0, high: 1, medium: 2, info: 3 };
const title = (name) => name.replaceAll("_", " ").replace(/^./, (c) => c.toUpperCase());
const money = (usd) => (usd === null || usd === undefined ? "unknown" : `$${usd.toFixed(Math.abs(usd) >= 1 ? 2 : 4)}`);
const time = (text) => (text ? new Date(text).toLocaleString() : "–");
const now = () => Date.now() + state.skew;

function ago(text) {
  if (!text) return "never";
  const seconds = Math.round((now() - Date.parse(text)) / 1000);
  if (seconds < 0) return "just now";
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

function left(text) {
  const seconds = Math.floor((Date.parse(text) - now()) / 1000);
  if (seconds <= 0) return "expired";
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  return hours ? `${hours} h ${minutes} min left` : minutes ? `${minutes} min ${seconds % 60} s left` : `${seconds} s left`;
}

const badge = (word, kind) => h("span", { class: `badge ${kind}-${word}` }, word.replaceAll("_", " "));

function fact(label, value) {
  return [h("dt", {}, label), h("dd", {}, value ?? "–")];
}

function table(columns, rows, empty) {
  if (!rows.length) return h("p", { class: "empty" }, empty);
  return h("table", {},
    h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell ?? "–"))))));
}

// ---- approvals ----

function approvalCard(approval) {
  const { id } = approval;
  const may = state.session?.approver && !state.busy.has(id);
  const reason = h("input", {
    type: "text", maxlength: "1000", placeholder: "reason (optional)", "aria-label": "reason",
    oninput: (event) => state.reasons.set(id, event.target.value),
  });
  reason.value = state.reasons.get(id) ?? "";
  const decide = (verb) => async () => {
    state.busy.add(id);
    render();
    try {
      const body = { payload_sha256: approval.payload_sha256 };
      if (state.reasons.get(id)) body.reason = state.reasons.get(id);
      await post(`/api/v1/approvals/${encodeURIComponent(id)}/${verb}`, body);
      state.reasons.delete(id);
      showError(null);
    } catch (error) {
      showError(error);
    } finally {
      state.busy.delete(id);
      await refresh();
    }
  };
  const label = approval.action_type === "kill_loop" ? "Approve: kill the loop" : "Approve";
  return h("article", { class: "card" },
    h("header", {},
      badge(approval.severity, "severity"),
      h("strong", {}, `${title(approval.incident_type)}: ${title(approval.action_type)}`),
      h("span", { class: "left", "data-expires": approval.expires_at }, left(approval.expires_at))),
    h("p", {}, approval.summary),
    h("dl", {}, fact("Target", approval.target), fact("Payload sha256", h("code", {}, approval.payload_sha256)),
      fact("Evidence sha256", h("code", {}, approval.evidence_sha256 ?? "–"))),
    h("details", {}, h("summary", {}, "Exact payload"),
      h("pre", {}, JSON.stringify(approval.payload, null, 2))),
    h("p", { class: "decide" }, reason,
      h("button", { class: "approve", disabled: !may, onclick: decide("approve") }, label),
      h("button", { class: "reject", disabled: !may, onclick: decide("reject") }, "Reject")),
    state.session?.approver ? null : h("p", { class: "hint" }, "You are not on the list of approvers."));
}

// ---- incidents ----

function incidentCard(incident) {
  const { id } = incident;
  const open = state.open.has(id);
  const toggle = () => {
    if (state.open.delete(id)) state.details.delete(id);
    else { state.open.add(id); loadDetail(id); }
    render();
  };
  return h("article", { class: "card", id: `incident-${id}` },
    h("header", {},
      badge(incident.severity, "severity"),
      h("button", { class: "link", "aria-expanded": String(open), onclick: toggle },
        `${title(incident.type)}: ${incident.entity}`),
      badge(incident.status, "status"),
      incident.reopened_count ? h("span", { class: "hint" }, `reopened ${incident.reopened_count}×`) : null,
      h("span", { class: "left", title: time(incident.opened_at) }, ago(incident.opened_at))),
    h("p", { class: "narrative" }, incident.narrative ?? incident.description),
    h("dl", {}, fact("Cost", money(incident.cost_usd)),
      fact("Culprit", incident.culprit_sha ? h("code", {}, incident.culprit_sha.slice(0, 8)) : "none found"),
      fact("Windows", String(incident.occurrences)), fact("Narrated by", incident.narrator)),
    incident.gaps.map((gap) => h("p", { class: "gap" }, `unknown: ${gap.source} — ${gap.reason}`)),
    open ? incidentDetail(state.details.get(id)) : null);
}

function incidentDetail(detail) {
  if (!detail) return h("p", { class: "empty" }, "loading…");
  const parts = detail.narrative_parts;
  const list = (value) => (Array.isArray(value) ? value : []);
  return h("div", { class: "detail" },
    parts && [["What happened", parts.what_happened], ["Likely cause", parts.likely_cause], ["Impact", parts.impact],
      ["Recommended action", parts.recommended_action]].map(([name, text]) => [h("h3", {}, name), h("p", {}, text)]),
    h("h3", {}, "Suspects"),
    table(["Suspect", "Score", "What"], list(detail.suspects).map((suspect) => [
      h("code", {}, String(suspect.sha ?? suspect.id ?? suspect.name ?? "?").slice(0, 12)),
      typeof suspect.score === "number" ? suspect.score.toFixed(2) : "–",
      String(suspect.message ?? suspect.title ?? suspect.summary ?? ""),
    ]), "none"),
    h("h3", {}, "Evidence"),
    table(["Query", "Sources", "Answer", "Rows"], detail.evidence.map((item) => [
      item.name, item.sources.join(", "),
      item.status === "unknown" ? h("span", { class: "gap" }, `unknown: ${item.error ?? ""}`) : item.status,
      item.truncated ? `${item.row_count}, not all` : String(item.row_count),
    ]), "none"),
    h("details", {}, h("summary", {}, "Rows of the evidence"),
      detail.evidence.map((item) => [h("h4", {}, item.name), h("pre", {}, JSON.stringify(item.rows, null, 2))])));
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
  return action.error ?? result.url ?? result.state ?? (action.status === "done" ? "done" : "");
}

function render() {
  if (!state.incidents) return;
  const focused = document.activeElement?.getAttribute("aria-label") === "reason";
  const pending = state.approvals.filter((approval) => approval.status === "pending");
  const decided = state.approvals.filter((approval) => approval.status !== "pending").slice(0, 20);
  const incidents = [...state.incidents].sort((a, b) =>
    (a.status === b.status ? 0 : a.status === "open" ? -1 : 1) ||
    severityOrder[a.severity] - severityOrder[b.severity] || b.opened_at.localeCompare(a.opened_at));
  // Somebody is typing: the card stays as it is until they are done.
  if (!focused) $("approvals").replaceChildren(...pending.map(approvalCard));
  if (!pending.length) $("approvals").replaceChildren(h("p", { class: "empty" }, "Nothing is waiting."));
  $("approvals-count").textContent = pending.length || "";
  $("incidents").replaceChildren(...incidents.map(incidentCard));
  if (!incidents.length) $("incidents").replaceChildren(h("p", { class: "empty" }, "No incidents."));
  $("incidents-count").textContent = incidents.filter((incident) => incident.status === "open").length || "";
  $("actions").replaceChildren(table(["Action", "Status", "Attempts", "Target", "Outcome", "When"],
    state.actions.map((action) => [title(action.type), badge(action.status, "action"), String(action.attempts),
      action.target, outcome(action), ago(action.updated_at)]), "Nothing was done yet."));
  $("decided").replaceChildren(table(["What", "Decision", "By", "Via", "Why", "When"],
    decided.map((approval) => [`${title(approval.incident_type)}: ${title(approval.action_type)}`,
      badge(approval.status, "approval"), approval.resolved_by, approval.resolved_via, approval.reason,
      ago(approval.resolved_at)]), "No decisions yet."));
  $("sources").replaceChildren(table(["Source", "Status", "Last answer", "Last failure"],
    (state.sources ?? []).map((source) => [source.name, source.status, ago(source.last_success_at),
      source.last_failure ? `${source.last_failure} (${ago(source.last_failure_at)})` : "none"]), "No sources."));
  $("jobs").replaceChildren(table(["Job", "Last run", "Status", "Next"],
    (state.jobs ?? []).map((job) => [job.name, ago(job.last_run?.started_at),
      job.last_run ? h("span", { title: job.last_run.error ?? "" }, badge(job.last_run.status, "job")) : "–",
      job.next_due_at ? time(job.next_due_at) : "–"]), "No jobs."));
}

function showError(error) {
  $("error").hidden = !error;
  $("error").textContent = error ? error.message : "";
}

async function refresh() {
  try {
    const [incidents, approvals, actions] = await Promise.all([
      api("/api/v1/incidents?limit=50"), api("/api/v1/approvals?limit=100"),
      api("/api/v1/actions?kind=remediation&limit=50")]);
    Object.assign(state, { incidents: incidents.items, approvals: approvals.items, actions: actions.items });
    await Promise.all([...state.open].map(loadDetail));
    render();
  } catch (error) {
    if (error.status === 401) return askForKey(error);
    showError(error);
  }
}

async function refreshSlow() {
  try {
    const [session, jobs, sources] = await Promise.all([
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

function onLive(message) {
  if (message === "change") refreshSoon();
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
  else { onLive("live"); setInterval(refreshSoon, 5000); }
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
  if (linked) state.open.add(linked);
  await Promise.all([refresh(), refreshSlow()]);
  if (linked) document.getElementById(`incident-${linked}`)?.scrollIntoView();
  if (started) return;
  started = true;
  follow();
  setInterval(refreshSlow, SLOW_REFRESH_MS);
  setInterval(() => {
    for (const element of document.querySelectorAll("[data-expires]")) element.textContent = left(element.dataset.expires);
  }, 1000);
}

$("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(KEY, $("key").value.trim());
  $("key").value = "";
  start();
});

start();
