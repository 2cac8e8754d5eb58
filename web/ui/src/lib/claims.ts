// Which row of the evidence a claim of a narrative rests on.
//
// A narrative is text; what can be checked in it are commits, traces, amounts, times and quoted names. Each is looked up in
// the rows that the narrative was written from. What is found nowhere stays plain text: nothing is linked on a guess.
import type { Evidence } from "../api/types";
import { money } from "./format";

export type Claim = { text: string; evidence?: string; row?: number };

const TOKEN = /\b[0-9a-f]{8,40}\b|\$\d[\d,]*(?:\.\d+)?|\b\d{4}-\d\d-\d\d \d\d:\d\d(?= UTC)|#\d{1,7}\b|"[^"]{4,200}"/gi;

const amount = (text: string) => Number(text.slice(1).replaceAll(",", ""));

function says(value: unknown, token: string): boolean {
  if (value === null || value === undefined) return false;
  if (token.startsWith("$")) return typeof value === "number" && (money(value) === token || Math.abs(value - amount(token)) < 0.005 * Math.max(1e-9, Math.abs(amount(token))));
  if (token.startsWith('"')) return typeof value === "string" && value.includes(token.slice(1, -1));
  if (token.startsWith("#")) return (typeof value === "number" && String(value) === token.slice(1)) || (typeof value === "string" && value.includes(token));
  if (/^\d{4}-/.test(token)) return typeof value === "string" && value.replace("T", " ").startsWith(token);
  return typeof value === "string" && value.toLowerCase().includes(token.toLowerCase());
}

/** The first row that says so. Amounts only count in columns about cost. */
export function find(token: string, evidence: Evidence[]): { evidence: string; row: number } | undefined {
  for (const item of evidence) {
    const row = item.rows.findIndex((cells) => Object.entries(cells).some(([column, value]) =>
      (!token.startsWith("$") || /cost|usd/i.test(column)) && says(value, token)));
    if (row >= 0) return { evidence: item.name, row };
  }
  return undefined;
}

/** A text in parts, those that can be checked with the place of their row. */
export function claims(text: string, evidence: Evidence[]): Claim[] {
  const parts: Claim[] = [];
  let end = 0;
  for (const match of text.matchAll(TOKEN)) {
    const found = find(match[0], evidence);
    if (!found) continue;
    if (match.index > end) parts.push({ text: text.slice(end, match.index) });
    parts.push({ text: match[0], ...found });
    end = match.index + match[0].length;
  }
  if (end < text.length) parts.push({ text: text.slice(end) });
  return parts;
}

export const rowId = (evidence: string, row: number) => `evidence-${evidence}-${row}`;
