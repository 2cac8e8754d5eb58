// What a claim of a narrative rests on: a row of the evidence, a figure of the finding, or a suspect.
//
// A narrative is text; what can be checked in it are commits, traces, amounts, counts, times and quoted names. Each part of a
// narrative is looked up first where that part was written from: what happened and the impact in what the detector saw, the cause
// among the suspects and what is known of commits. What is found nowhere, or fits several things equally, stays plain text: nothing
// is linked on a guess.
import type { Anomaly, Evidence, Suspect } from "../api/types";
import { money } from "./format";

export type Part = "what_happened" | "likely_cause" | "impact" | "recommended_action";
export type Target =
  | { kind: "row"; evidence: string; row: number }
  | { kind: "finding"; anomaly: string; field: string }
  | { kind: "suspect"; index: number };
export type Claim = { text: string; target?: Target };
export type Sources = { evidence: Evidence[]; anomalies?: Anomaly[]; suspects?: Suspect[] };

const TOKEN = /\b[0-9a-f]{8,40}\b|\$\d[\d,]*(?:\.\d+)?|\b\d{4}-\d\d-\d\d \d\d:\d\d(?= UTC)|#\d{1,7}\b|"[^"]{4,200}"|(?<![\w.$#:-])\d[\d,]*(?:\.\d+)?(?![\w:%-]|\.\d)/gi;

/** Which evidence speaks of what a part says, the nearest first. */
const NEAR: Record<Part, string[]> = {
  what_happened: ["cost_by_minute", "cost_by_model", "costly_traces", "trace", "calls", "issue_events", "issues", "outputs", "tool_outputs", "tool_calls"],
  likely_cause: ["commits", "deployments", "releases", "pulls", "commit_files", "tags", "issue_events", "issues", "messages"],
  impact: ["cost_by_minute", "costly_traces", "cost_by_model", "issues", "issue_events", "tickets", "pages"],
  recommended_action: ["commits", "pulls", "deployments", "oncalls"],
};

const amount = (text: string) => Number(text.replace("$", "").replaceAll(",", ""));
const isFigure = (token: string) => /^\$?\d[\d,]*(\.\d+)?$/.test(token) && !/^\d{8,}$/.test(token);
const digits = (token: string) => /\.(\d+)$/.exec(token)?.[1]?.length ?? 0;

/** How well a value says what a token says: 2 as it is, 1 within a longer text, 0 not at all. */
function says(value: unknown, token: string): 0 | 1 | 2 {
  if (value === null || value === undefined) return 0;
  if (token.startsWith("$")) return typeof value === "number" && (money(value) === token || value.toFixed(digits(token)) === amount(token).toFixed(digits(token))) ? 2 : 0;
  if (token.startsWith('"')) {
    const name = token.slice(1, -1).replace(/…$/, "");
    return typeof value === "string" && value.includes(name) ? (value === name ? 2 : 1) : 0;
  }
  if (token.startsWith("#")) return typeof value === "number" && String(value) === token.slice(1) ? 2 : typeof value === "string" && value.includes(token) ? 1 : 0;
  if (/^\d{4}-\d\d-\d\d /.test(token)) return typeof value === "string" && value.replace("T", " ").startsWith(token) ? 2 : 0;
  if (isFigure(token)) return typeof value === "number" && value.toFixed(digits(token)) === amount(token).toFixed(digits(token)) ? 2 : 0;
  if (typeof value !== "string") return 0;
  const [text, word] = [value.toLowerCase(), token.toLowerCase()];
  return text === word || text.startsWith(word) ? 2 : text.includes(word) ? 1 : 0;
}

const isCost = (column: string) => /cost|usd/i.test(column);

/** The words of a name or a text, without endings that differ. */
const stems = (text: string) => new Set(text.toLowerCase().split(/[^a-z]+/).filter((word) => word.length > 3).map((word) => word.replace(/(ies|es|s|y)$/, "")));
const WORDS: Record<string, string> = { ratio: "times", baseline_usd: "baseline", current_cost_usd: "cost", judged: "newest", failed: "outputs" };

/** The one figure of a finding that a token says; of several equal ones, the one whose name stands nearby. */
function inFinding(token: string, near: string, anomaly: Anomaly): Target | undefined {
  const fields = Object.entries((anomaly.evidence ?? {}) as Record<string, unknown>).filter(([field, value]) => (!token.startsWith("$") || isCost(field)) && says(value, token) === 2).map(([field]) => field);
  const of = (field: string): Target => ({ kind: "finding", anomaly: anomaly.id, field });
  if (fields.length <= 1) return fields[0] === undefined ? undefined : of(fields[0]);
  const around = stems(near);
  const named = fields.map((field) => ({ field, hits: [...stems(`${field.replaceAll("_", " ")} ${WORDS[field] ?? ""}`)].filter((stem) => around.has(stem)).length })).sort((a, b) => b.hits - a.hits);
  const [first, second] = named;
  return first && first.hits > (second?.hits ?? 0) ? of(first.field) : undefined;
}

function inSuspects(token: string, near: string, suspects: Suspect[]): Target | undefined {
  const index = suspects.findIndex((suspect) => {
    if (isFigure(token)) return /score\s*$/i.test(near.slice(0, near.indexOf(token))) && says(suspect.score, token) === 2;
    return says(suspect.sha, token) === 2 || says(suspect.message, token) > 0 || says(suspect.live_at, token) === 2;
  });
  return index < 0 ? undefined : { kind: "suspect", index };
}

/** The row that says so best: as it is rather than within a text, near to what the part is about, with more of the sentence. */
export function inRows(token: string, sentence: string, evidence: Evidence[], part?: Part): Target | undefined {
  // A bare count fits too many cells to mean one of them.
  if (isFigure(token) && !token.startsWith("$")) return undefined;
  const others = [...sentence.matchAll(TOKEN)].map((match) => match[0]).filter((other) => other !== token);
  const near = part ? NEAR[part] : [];
  let best: { score: number; target: Target } | undefined;
  for (const item of evidence) {
    const place = near.indexOf(item.name);
    item.rows.forEach((cells, row) => {
      const said = Math.max(0, ...Object.entries(cells).filter(([column]) => !token.startsWith("$") || isCost(column)).map(([, value]) => says(value, token)));
      if (!said) return;
      const together = others.filter((other) => Object.values(cells).some((value) => says(value, other) > 0)).length;
      const score = said * 4 + (place < 0 ? 0 : 3 + (near.length - place) / near.length) + Math.min(together, 3) * 2;
      if (!best || score > best.score) best = { score, target: { kind: "row", evidence: item.name, row } };
    });
  }
  return best?.target;
}

/** The finding that a text was written of: the one that has most of its figures; of equals the first. */
function finding(text: string, anomalies: Anomaly[]): Anomaly | undefined {
  const tokens = [...text.matchAll(TOKEN)].map((match) => match[0]);
  const hits = (anomaly: Anomaly) => tokens.filter((token) => Object.values((anomaly.evidence ?? {}) as Record<string, unknown>).some((value) => says(value, token) === 2)).length;
  return anomalies.map((anomaly) => ({ anomaly, hits: hits(anomaly) })).sort((a, b) => b.hits - a.hits)[0]?.anomaly;
}

/** A text in parts, those that can be checked with what they rest on. */
export function claims(text: string, sources: Sources, part?: Part, whole = text): Claim[] {
  const { evidence, anomalies = [], suspects = [] } = sources;
  const saw = finding(whole, anomalies);
  const parts: Claim[] = [];
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    const token = match[0];
    const from = Math.max(0, text.lastIndexOf(". ", match.index) + 1);
    const to = text.indexOf(". ", match.index + token.length);
    const sentence = text.slice(from, to < 0 ? undefined : to);
    const around = text.slice(Math.max(from, match.index - 30), match.index + token.length + 30);
    const cause = part === "likely_cause" || part === "recommended_action";
    const looks = [
      () => (cause ? inSuspects(token, around, suspects) : undefined),
      () => (!cause && saw ? inFinding(token, around, saw) : undefined),
      () => inRows(token, sentence, evidence, part),
      () => (saw ? inFinding(token, around, saw) : undefined),
    ];
    let target: Target | undefined;
    for (const look of looks) { target = look(); if (target) break; }
    if (!target) continue;
    if (match.index > end) parts.push({ text: text.slice(end, match.index) });
    parts.push({ text: token, target });
    end = match.index + token.length;
  }
  if (end < text.length) parts.push({ text: text.slice(end) });
  return parts;
}

export const rowId = (evidence: string, row: number) => `evidence-${evidence}-${row}`;
export const findingId = (anomaly: string, field: string) => `finding-${anomaly}-${field}`;
export const suspectId = (index: number) => `suspect-${index}`;
export const targetId = (target: Target) => (target.kind === "row" ? rowId(target.evidence, target.row) : target.kind === "finding" ? findingId(target.anomaly, target.field) : suspectId(target.index));
/** What an address of a page points at, of what is there. */
export function targetOf(hash: string, { evidence, anomalies = [], suspects = [] }: Sources): Target | { kind: "evidence"; evidence: string } | undefined {
  const id = decodeURIComponent(hash.replace(/^#/, ""));
  const item = evidence.find(({ name }) => id === `evidence-${name}` || (id.startsWith(`evidence-${name}-`) && /^\d+$/.test(id.slice(`evidence-${name}-`.length))));
  if (item) {
    const row = Number(id.slice(`evidence-${item.name}-`.length));
    return id === `evidence-${item.name}` || row >= item.rows.length ? { kind: "evidence", evidence: item.name } : { kind: "row", evidence: item.name, row };
  }
  const anomaly = anomalies.find((each) => id.startsWith(`finding-${each.id}-`));
  if (anomaly) return { kind: "finding", anomaly: anomaly.id, field: id.slice(`finding-${anomaly.id}-`.length) };
  const index = /^suspect-(\d+)$/.exec(id)?.[1];
  return index !== undefined && Number(index) < suspects.length ? { kind: "suspect", index: Number(index) } : undefined;
}

export const targetName = (target: Target) => (target.kind === "row" ? `row ${target.row + 1} of ${target.evidence}` : target.kind === "finding" ? `${target.field}, as the detector saw it` : `suspect ${target.index + 1}`);
