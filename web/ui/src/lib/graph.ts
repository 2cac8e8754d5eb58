// Graphs in words, and traces and runs side by side.
import type { Graph, GraphNode, RunDetail } from "../api/types";

/** Text of an answer's field, whatever is in it. */
export const words = (value: unknown): string => (value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value));

export const nodeName = (node: GraphNode) => [node.type, words(node.data.label), words(node.data.detail)].filter(Boolean).join(" ");

/** Each edge with the names of its ends. */
export function edgeRows(graph: Graph) {
  const names = new Map(graph.nodes.map((node) => [node.id, nodeName(node)]));
  return graph.edges.map((edge) => ({ id: edge.id, kind: edge.kind, label: edge.label, from: names.get(edge.source) ?? edge.source, to: names.get(edge.target) ?? edge.target }));
}

/** What two of a kind are compared by: a figure that is not known is null. `names` counts what happened, by name. */
export type Side = { steps: number; errors: number; cost: number | null; tokens: number | null; seconds: number | null; names: Record<string, number> };

const counted = (names: string[]) => names.reduce<Record<string, number>>((all, name) => ({ ...all, [name]: (Object.hasOwn(all, name) ? all[name] as number : 0) + 1 }), {});
const sum = (values: unknown[]) => { const known = values.filter((value): value is number => typeof value === "number"); return known.length ? known.reduce((a, b) => a + b, 0) : null; };

export function ofTrace(graph: Graph): Side {
  const times = (name: string) => graph.nodes.map((node) => Date.parse(words(node.data[name]))).filter(Number.isFinite);
  // By a fold: a trace may have more observations than a call takes arguments.
  const [from, to] = [times("started_at").reduce((a, b) => Math.min(a, b), Infinity), [...times("ended_at"), ...times("started_at")].reduce((a, b) => Math.max(a, b), -Infinity)];
  return {
    steps: graph.nodes.length, errors: graph.nodes.filter((node) => node.data.is_error === true).length,
    cost: sum(graph.nodes.map((node) => node.data.cost_usd)), tokens: sum(graph.nodes.map((node) => node.data.tokens)),
    seconds: Number.isFinite(from) && Number.isFinite(to) ? (to - from) / 1000 : null,
    names: counted(graph.nodes.map((node) => words(node.data.name) || node.type)),
  };
}

/** What a run used: tokens as its own events say, cost as its trace says. */
export type Used = { tokens: number | null; cost: number | null };

export function ofRun(run: RunDetail, used: Used = { tokens: null, cost: null }): Side {
  return {
    steps: run.step_count, errors: run.signals.filter((signal) => !signal.shadow).length, ...used,
    seconds: run.completed_at - run.started_at, names: counted(run.events.map((event) => words(event.event_type) || "unnamed")),
  };
}

/** Names of either side, what differs most first. */
export function differing(a: Side, b: Side) {
  const of = (side: Side, name: string) => (Object.hasOwn(side.names, name) ? side.names[name] as number : 0);
  return [...new Set([...Object.keys(a.names), ...Object.keys(b.names)])]
    .map((name) => ({ name, a: of(a, name), b: of(b, name) }))
    .sort((x, y) => Math.abs(y.a - y.b) - Math.abs(x.a - x.b) || x.name.localeCompare(y.name));
}

/** Names that follow themselves: which, how often in a row, and from which place on; the longest first. */
export function clusters(names: string[]): { name: string; times: number; from: number }[] {
  const found: { name: string; times: number; from: number }[] = [];
  names.forEach((name, place) => {
    const last = found.at(-1);
    if (last?.name === name) last.times += 1;
    else found.push({ name, times: 1, from: place });
  });
  return found.sort((a, b) => b.times - a.times || a.from - b.from);
}
