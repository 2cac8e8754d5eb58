import { describe, expect, test } from "vitest";
import type { Anomaly, Evidence, Loop, Suspect } from "../api/types";
import { chartOf } from "../workbench/chart-of";
import { place, placeholders, requests, typed } from "../workbench/run";
import { claims, targetId, targetOf, type Part, type Sources } from "./claims";
import { differences } from "./diff";
import { ago, duration, left, money, safeLink, utc } from "./format";
import { answer, going, project } from "./status";

describe("figures and times", () => {
  test("money has two digits from a dollar up, four below, and is never zero when nobody knows", () => {
    // A sum that four digits cannot tell from nothing is not said to be nothing.
    expect([money(0.00004), money(0.000096), money(0.00000012), money(-0.00003), money(0.00095)]).toEqual(["$0.00004", "$0.000096", "$0.00000012", "-$0.00003", "$0.00095"]);
    expect([money(3.14159), money(0.00345), money(0), money(1234567.5), money(null), money(Number.NaN)])
      .toEqual(["$3.14", "$0.0035", "$0.00", "$1,234,567.50", "unknown", "unknown"]);
  });
  test("times say how long ago they were, and what is left", () => {
    const at = Date.parse("2026-11-20T12:00:00Z");
    expect([ago("2026-11-20T11:59:30Z", at), ago("2026-11-20T09:00:00Z", at), ago(null, at), ago("2026-11-20T12:10:00Z", at)])
      .toEqual(["30 s ago", "3 h ago", "never", "in 10 min 0 s"]);
    expect([left("2026-11-20T13:30:00Z", at), left("2026-11-20T12:00:00Z", at), duration(90_061)]).toEqual(["1 h 30 min left", "expired", "1 d 1 h"]);
    expect(utc("2026-11-20T12:00:00+02:00")).toBe("2026-11-20 10:00:00 UTC");
  });
  test("only GitHub's https pages become links", () => {
    for (const bad of ["javascript:alert(1)", "http://github.com/x", "https://github.com.evil.example/", "https://a:b@github.com/", "//github.com", null, 7]) expect(safeLink(bad)).toBeNull();
    expect(safeLink("https://github.com/a/b")).toBe("https://github.com/a/b");
  });
});

describe("loops", () => {
  const loop = (status: Loop["status"]): Loop => ({ id: status, trace_id: "t", detected_at: "2026-11-20T12:00:00Z", loop_count: 30, cost_burned: 1, tool_pattern: null, status, kill_method: null, slack_ts: null });
  test("one that was stopped is none that goes on, though its incident is still open; one that was asked to stop is", () => {
    expect(going([loop("active"), loop("kill_requested"), loop("killed"), loop("ended")]).map((each) => each.status)).toEqual(["active", "kill_requested"]);
  });
});

describe("the first line", () => {
  const base = { open: [], pending: 0, may: true, down: [], looked: true };
  test("nothing found is only said when something looked", () => {
    expect(answer(base)).toBe("No open incidents.");
    expect(answer({ ...base, looked: false })).toBe("No open incidents; no detector has looked yet.");
  });
  test("what could not be looked at is said beside what was found", () => {
    expect(answer({ ...base, unseen: ["agent_loop"] })).toBe("No open incidents. Not everything is known: agent loop.");
    expect(answer({ ...base, open: [{ severity: "high" }] as never, whole: false })).toBe("At least 1 open incident: high.");
  });
  test("a projection is of whole hours, says which, and is unknown without any or when they ended long ago", () => {
    const at = Date.parse("2026-11-20T18:00:45Z");
    const hour = (start: number, cost_usd: number, complete = true) => ({ hour_start: `2026-11-20T${String(start).padStart(2, "0")}:00:00Z`, cost_usd, complete });
    expect(project([hour(15, 9, false)], at)).toMatchObject({ usd: null, why: "no whole hour of cost is known yet" });
    expect(project([hour(16, 9, false), hour(15, 1), hour(14, 2)], at)).toMatchObject({ usd: 9, hours: 2, mean: 1.5, from: "2026-11-20T14:00:00.000Z", to: "2026-11-20T16:00:00.000Z" });
    expect(project([hour(15, 6), hour(9, 600)], at), "of the last six, not of whatever six there are").toMatchObject({ usd: 36, hours: 1 });
    expect(project([hour(12, 1), hour(11, 2)], at)).toMatchObject({ usd: null, to: "2026-11-20T13:00:00.000Z", why: "cost is known only until" });
  });
});

describe("claims", () => {
  const sha = "26d5e6e231839d5a40932631053fccb082d3e9cc";
  const evidence = [
    { name: "commits", rows: [{ sha: "0".repeat(40) }, { sha, message: "Longer texts" }] },
    { name: "calls", rows: [{ start_time: "2026-11-20T13:49:05Z", cost_usd: 3.14, generations: 314 }] },
    { name: "messages", rows: [{ text: `rolling back ${sha}? it cost $3.14`, posted_at: "2026-11-20T13:49:40Z" }] },
    { name: "cost_by_minute", rows: [{ minute: "2026-11-20T13:48:00Z", cost_usd: 0.2 }, { minute: "2026-11-20T13:49:00Z", cost_usd: 3.14 }] },
  ] as unknown as Evidence[];
  const anomalies = [
    { id: "a1", evidence: { ratio: 2.1, current_cost_usd: 1.5 } },
    { id: "a2", evidence: { ratio: 5.3, current_cost_usd: 12.5, baseline_usd: 2.36, generations: 57, failed: 3, judged: 3 } },
  ] as unknown as Anomaly[];
  const suspects = [{ sha: "0".repeat(40), score: 0.2 }, { sha, score: 0.81, message: "Longer texts", live_at: "2026-11-20T13:40:00Z" }] as unknown as Suspect[];
  const linked = (text: string, sources: Sources, part?: Part) => claims(text, sources, part).flatMap(({ text: said, target }) => (target ? [[said, targetId(target)]] : []));

  test("what is in a row of the evidence is linked to that row, the rest stays text", () => {
    const text = 'Commit 26d5e6e2 ("Longer texts") cost $3.14 since 2026-11-20 13:49 UTC, not deadbeef, not $9.99.';
    expect(linked(text, { evidence: evidence.slice(0, 2) })).toEqual([
      ["26d5e6e2", "evidence-commits-1"], ['"Longer texts"', "evidence-commits-1"], ["$3.14", "evidence-calls-0"], ["2026-11-20 13:49", "evidence-calls-0"],
    ]);
    expect(claims(text, { evidence }).map((part) => part.text).join("")).toBe(text);
  });
  test("a commit leads to the commit and not to a message that mentions it, whichever comes first", () => {
    const shuffled = [evidence[2], evidence[0]] as Evidence[];
    expect(linked("Commit 26d5e6e2 is the cause.", { evidence: shuffled }, "likely_cause")).toEqual([["26d5e6e2", "evidence-commits-1"]]);
  });
  test("an amount and a time lead to the row that has both, in the evidence that the part is about", () => {
    expect(linked("It cost $3.14 at 2026-11-20 13:49 UTC.", { evidence }, "what_happened").map(([, id]) => id)).toEqual(["evidence-cost_by_minute-1", "evidence-cost_by_minute-1"]);
  });
  test("figures of the finding lead to the detector's own figures, and the cause to its suspect", () => {
    const all = { evidence, anomalies, suspects };
    expect(linked("summarise cost $12.50 within an hour, 5.3 times its baseline of $2.36, in 57 generations.", all, "what_happened")).toEqual([
      ["$12.50", "finding-a2-current_cost_usd"], ["5.3", "finding-a2-ratio"], ["$2.36", "finding-a2-baseline_usd"], ["57", "finding-a2-generations"],
    ]);
    expect(linked('Commit 26d5e6e2 ("Longer texts"), merged at 2026-11-20 13:40 UTC, is likely. Score 0.81.', all, "likely_cause")).toEqual([
      ["26d5e6e2", "suspect-1"], ['"Longer texts"', "suspect-1"], ["2026-11-20 13:40", "suspect-1"], ["0.81", "suspect-1"],
    ]);
  });
  test("the address of a claim leads back to it, and one of nothing nowhere", () => {
    const all = { evidence, anomalies, suspects };
    for (const target of [{ kind: "row", evidence: "cost_by_minute", row: 1 }, { kind: "finding", anomaly: "a2", field: "ratio" }, { kind: "suspect", index: 1 }] as const) expect(targetOf(`#${targetId(target)}`, all)).toEqual(target);
    expect(targetOf("#evidence-calls", all)).toEqual({ kind: "evidence", evidence: "calls" });
    for (const nothing of ["", "#main", "#evidence-none", "#suspect-2", "#finding-a9-ratio"]) expect(targetOf(nothing, all)).toBeUndefined();
  });
  test("a count that fits two figures is linked only when a name beside it says which", () => {
    const all = { evidence: [], anomalies };
    expect(linked("3 of the newest.", all, "impact")).toEqual([["3", "finding-a2-judged"]]);
    expect(linked("3 things.", all, "impact")).toEqual([]);
  });
});

test("differences of schemas are named by path", () => {
  expect(differences({ a: { b: "string" }, c: 1, d: [1] }, { a: { b: "number" }, d: [1], e: 2 })).toEqual([
    { path: "a.b", kind: "changed", before: "string", after: "number" }, { path: "c", kind: "removed", before: 1 }, { path: "e", kind: "added", after: 2 },
  ]);
});

describe("the workbench", () => {
  test("an error is shown where it is", () => {
    const sql = "SELECT id\nFRM agent.incidents";
    expect(sql.slice(...Object.values(place(sql, "SQL syntax: Expected: end of statement, found: agent at Line: 2, Column: 5") ?? { from: 0, to: 0 }))).toBe("agent");
    const wrong = "SELECT shaa, sha FROM github.commits";
    expect(place(wrong, "No field named shaa. Did you mean 'github.commits.sha'?")).toEqual({ from: 7, to: 11 });
    expect(place(wrong, "the source failed")).toBeNull();
  });
  test("placeholders are found outside of texts and comments, and values keep their type", () => {
    expect(placeholders("SELECT $a, '$b', $a -- $c\n/* $d */ + $e")).toEqual(["a", "e"]);
    expect([typed("7"), typed("x"), typed("true"), typed("[1,2]"), typed("2026-01-01")]).toEqual([7, "x", true, [1, 2], "2026-01-01"]);
  });
  test("a plan says which requests it would send", () => {
    const plan = "RemoteScanExec: github.commits, columns=[sha], requests=[1], send=[GET /repos/a/b/commits?per_page=3]\n";
    expect(requests(plan)).toEqual([{ table: "github.commits", count: "1", first: "GET /repos/a/b/commits?per_page=3" }]);
  });
  test("a chart over time is in the order of time, and a gap stays a gap", () => {
    const result = { columns: [{ name: "at", type: 'Timestamp(µs, "UTC")' }, { name: "usd", type: "Float64" }], rows: [{ at: "2026-01-02T00:00:00Z", usd: null }, { at: "2026-01-01T00:00:00Z", usd: 2 }, { at: null, usd: 5 }] };
    expect(chartOf(result, "at", ["usd"])).toEqual({ x: { kind: "time", name: "at", values: [1767225600, 1767312000] }, series: [{ name: "usd", values: [2, null] }] });
  });
});
