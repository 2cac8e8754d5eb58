// A recorded history in which every text that a stranger can write is an attack.
//
// Owns: the data directory that `tripline simulate --data` serves. In it one feature becomes ten times as dear within
// the last hour, and one trace loops: both are found, both ask, and their names, causes and evidence are all hostile.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

export const NOW = "2026-03-04T12:01:00Z";
/** Anything that carries this and becomes more than text has got through. */
export const MARK = "zqpwn";
const HOST = "https://evil.example";
const attack = (where) =>
  `${where}"'></pre></script><img src=${HOST}/${MARK}.png onerror=alert(1)><script>alert("${MARK}")</script>` +
  `<a href="javascript:alert(1)">${MARK}</a><iframe src=${HOST}/${MARK}></iframe><style>*{background:url(${HOST}/${MARK})}</style>` +
  ` [${MARK}](javascript:alert(1)) <!channel> <${HOST}|${MARK}> {{7*7}} \${alert(1)} '; DROP TABLE events; -- ../../../etc/passwd`;
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const end = Date.parse("2026-03-04T12:00:00Z");
const iso = (at) => new Date(at).toISOString();
const hex = (n, length) => n.toString(16).padStart(length, "0");

function generations() {
  const made = [];
  const generation = (at, trace, name, cost) => made.push({
    id: hex(made.length + 1, 16), traceId: trace, type: "GENERATION", name, startTime: iso(at), endTime: iso(at + 2000),
    model: attack("model"), input: attack("input"), output: attack("output"), metadata: { [attack("key")]: attack("value") },
    level: "DEFAULT", statusMessage: attack("status"), environment: attack("environment"), version: attack("version"),
    usageDetails: { input: 100, output: 50, total: 150 }, costDetails: { total: cost }, calculatedTotalCost: cost,
    totalCost: cost, latency: 2,
  });
  for (let at = end - 8 * 24 * HOUR; at < end; at += 10 * MINUTE) {
    generation(at + 1000, hex(at, 32), attack("feature"), at >= end - HOUR ? 1 : 0.1);
  }
  for (let step = 0; step < 14; step += 1) {
    generation(end - 30 * MINUTE + step * 20_000, "f".repeat(32), attack("agent"), 0.001);
  }
  return made;
}

const sha = "c0ffee".padEnd(40, "0");
const repository = { _owner: "acme-shop", _repo: "shopfront" };
const deployed = end - HOUR - 10 * MINUTE;
const who = { name: attack("author"), email: `x@${MARK}.example`, date: iso(deployed - 5 * MINUTE) };

function files() {
  const observations = generations();
  const traces = [...new Set(observations.map((item) => item.traceId))].map((id) => {
    const [first] = observations.filter((item) => item.traceId === id);
    return { id, timestamp: first.startTime, name: attack("trace"), userId: attack("user"), sessionId: attack("session"),
      tags: [attack("tag")], release: attack("release"), input: attack("input"), output: attack("output"), metadata: {},
      htmlPath: `javascript:alert("${MARK}")` };
  });
  const message = attack("commit");
  return {
    "langfuse/projects": [{ id: "p", name: attack("project") }],
    "langfuse/observations": observations,
    "langfuse/traces": traces,
    "github/commits": [{
      sha, html_url: `javascript:alert("${MARK}")`, commit: { message, author: who, committer: who }, author: { login: attack("login") },
      _files: [{ filename: attack("file"), status: "modified", additions: 3, deletions: 1, changes: 4 }], ...repository,
    }],
    "github/pulls": [{
      number: 7, state: "closed", title: attack("pull"), body: attack("body"), html_url: `${HOST}/${MARK}`, merge_commit_sha: sha,
      created_at: who.date, updated_at: who.date, merged_at: who.date, user: { login: attack("login") }, ...repository,
    }],
    "github/deployments": [{
      id: 1, sha, ref: attack("ref"), task: "deploy", environment: attack("environment"), description: attack("description"),
      created_at: iso(deployed), updated_at: iso(deployed), creator: { login: attack("login") }, ...repository,
    }],
    "github/releases": [{
      id: 1, tag_name: attack("tag"), name: attack("release"), body: attack("notes"), published_at: iso(deployed),
      created_at: iso(deployed), html_url: `${HOST}/${MARK}`, ...repository,
    }],
    "sentry/projects": [{ id: "1", slug: "web", name: attack("project"), _org: "acme-shop" }],
    "sentry/issues": [{
      id: "9", shortId: attack("short"), title: attack("issue"), culprit: attack("culprit"), permalink: `javascript:alert("${MARK}")`,
      level: "error", status: "unresolved", project: { id: "1", slug: "web", name: attack("project") }, count: "9", userCount: 1,
      metadata: { type: attack("type"), value: attack("value") }, firstSeen: iso(end - 50 * MINUTE), lastSeen: iso(end - MINUTE),
      _org: "acme-shop", _project: "web",
    }],
    "sentry/releases": [{
      version: attack("version"), dateCreated: iso(deployed), dateReleased: iso(deployed), lastCommit: { id: sha, message },
      _org: "acme-shop", _project: "web",
    }],
    "slack/channels": [{ id: "C1", name: "incidents", is_channel: true, is_member: true, is_archived: false,
      is_private: false, topic: { value: attack("topic") } }],
    "slack/messages": [{
      type: "message", user: attack("user"), text: attack("message"), ts: `${(end - 40 * MINUTE) / 1000}.000100`, _channel: "C1",
    }],
    "slack/users": [{ id: "U1", name: attack("name"), real_name: attack("real") }],
  };
}

/** Writes the history below `folder`, and answers the arguments that serve it. */
export async function hostile(folder) {
  for (const [path, items] of Object.entries(files())) {
    await mkdir(join(folder, path, ".."), { recursive: true });
    await writeFile(join(folder, `${path}.json`), JSON.stringify(items));
  }
  return ["--data", folder];
}
