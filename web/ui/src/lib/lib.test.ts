import { describe, expect, test } from "vitest";
import type { Evidence } from "../api/types";
import { chartOf } from "../workbench/chart-of";
import { place, placeholders, requests, typed } from "../workbench/run";
import { claims } from "./claims";
import { differences } from "./diff";
import { ago, duration, left, money, safeLink, utc } from "./format";
import { answer, project } from "./status";

describe("figures and times", () => {
  test("money has two digits from a dollar up, four below, and is never zero when nobody knows", () => {
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

describe("the first line", () => {
  const base = { open: [], pending: 0, may: true, down: [], looked: true };
  test("nothing found is only said when something looked", () => {
    expect(answer(base)).toBe("No open incidents.");
    expect(answer({ ...base, looked: false })).toBe("No open incidents; no detector has looked yet.");
  });
  test("a projection is of whole hours, and unknown without any", () => {
    expect(project([{ complete: false, cost_usd: 9 }])).toEqual({ usd: null, how: "no whole hour of cost is known yet" });
    const { usd, how } = project([{ complete: false, cost_usd: 9 }, { complete: true, cost_usd: 1 }, { complete: true, cost_usd: 2 }]);
    expect([usd, how]).toEqual([9, "6 × $1.50, the mean of the last 2 whole hours"]);
  });
});

describe("claims", () => {
  const evidence = [
    { name: "commits", rows: [{ sha: "0".repeat(40) }, { sha: "26d5e6e231839d5a40932631053fccb082d3e9cc", message: "Longer texts" }] },
    { name: "calls", rows: [{ start_time: "2026-11-20T13:49:05Z", cost_usd: 3.14, generations: 314 }] },
  ] as unknown as Evidence[];
  test("what is in a row of the evidence is linked to that row, the rest stays text", () => {
    const parts = claims('Commit 26d5e6e2 ("Longer texts") cost $3.14 since 2026-11-20 13:49 UTC, not deadbeef, not $9.99.', evidence);
    expect(parts.filter((part) => part.evidence).map((part) => [part.text, part.evidence, part.row])).toEqual([
      ["26d5e6e2", "commits", 1], ['"Longer texts"', "commits", 1], ["$3.14", "calls", 0], ["2026-11-20 13:49", "calls", 0],
    ]);
    expect(parts.map((part) => part.text).join("")).toContain("not deadbeef, not $9.99.");
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
    const result = { columns: [{ name: "at", type: 'Timestamp(µs, "UTC")' }, { name: "usd", type: "Float64" }], report: null, rows: [{ at: "2026-01-02T00:00:00Z", usd: null }, { at: "2026-01-01T00:00:00Z", usd: 2 }, { at: null, usd: 5 }] };
    expect(chartOf(result, "at", ["usd"])).toEqual({ x: { kind: "time", name: "at", values: [1767225600, 1767312000] }, series: [{ name: "usd", values: [2, null] }] });
  });
});
