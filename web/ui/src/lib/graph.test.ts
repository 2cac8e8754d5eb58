import { expect, test } from "vitest";
import type { Graph, GraphNode } from "../api/types";
import { clusters, differing, edgeRows, ofTrace } from "./graph";
import { sampling } from "./status";

const node = (id: string, data: GraphNode["data"]): GraphNode => ({ id, type: "span", data, position: { x: 0, y: 0 } });
const graph = (nodes: GraphNode[], edges: Graph["edges"] = []): Graph => ({ nodes, edges, metadata: {}, gaps: [], complete: true });

test("an edge is told by the names of its ends", () => {
  const drawn = graph([node("a", { label: "plan" }), node("b", { label: "search", detail: "gpt" })], [{ id: "e", source: "a", target: "b", kind: "parent", label: "called", animated: false }]);
  expect(edgeRows(drawn)).toEqual([{ id: "e", kind: "parent", label: "called", from: "span plan", to: "span search gpt" }]);
});

test("a trace is summed up, and a cost nobody knows is not zero", () => {
  const at = (second: number) => `2026-01-01T00:00:0${second}Z`;
  const side = ofTrace(graph([
    node("a", { name: "search", cost_usd: 0.5, tokens: 10, started_at: at(0), ended_at: at(4), is_error: true }),
    node("b", { name: "search", cost_usd: null, tokens: 5, started_at: at(1), ended_at: at(9), is_error: false }),
  ]));
  expect(side).toEqual({ steps: 2, errors: 1, cost: 0.5, tokens: 15, seconds: 9, names: { search: 2 } });
  expect(ofTrace(graph([node("a", { name: "x", cost_usd: null })])).cost).toBeNull();
  expect(ofTrace(graph([node("a", { name: "x" })])).seconds).toBeNull();
});

test("what differs most comes first, and a name of the language's own is a name", () => {
  const a = ofTrace(graph([node("1", { name: "plan" }), node("2", { name: "constructor" })]));
  const b = ofTrace(graph([1, 2, 3].map((n) => node(String(n), { name: "retry" }))));
  expect(differing(a, b)).toEqual([{ name: "retry", a: 0, b: 3 }, { name: "constructor", a: 1, b: 0 }, { name: "plan", a: 1, b: 0 }]);
});

test("the sampler: never run is null, no trace is no share, reasons that cannot be read are unknown and not none", () => {
  const row = { window_start: "s", window_end: "e", total_traces: 200, sampled_traces: 10, keep_reasons: `{"high_gen":2,"has_error":8,"novel_pattern":0}` };
  expect(sampling([])).toBeNull();
  expect(sampling([row])).toEqual({ start: "s", end: "e", seen: 200, kept: 10, dropped: 0.95, reasons: [{ reason: "has_error", traces: 8 }, { reason: "high_gen", traces: 2 }] });
  expect(sampling([{ ...row, total_traces: 0, sampled_traces: 0 }])?.dropped).toBeNull();
  expect(sampling([{ ...row, keep_reasons: "not json" }])?.reasons).toBeNull();
});

test("calls of one tool in a row are a cluster, the longest first", () => {
  expect(clusters(["a", "b", "b", "a", "a", "a"])).toEqual([{ name: "a", times: 3, from: 3 }, { name: "b", times: 2, from: 1 }, { name: "a", times: 1, from: 0 }]);
  expect(clusters([])).toEqual([]);
});
