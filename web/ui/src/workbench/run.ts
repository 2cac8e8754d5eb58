// Running a query: rows come as they are read, the completeness report comes last. Stopping the request stops the query.
import { send, ApiError } from "../api/client";
import type { Report } from "../api/types";

export type Cells = Record<string, unknown>;
export type ResultColumn = { name: string; type: string };
export type Result = { columns: ResultColumn[]; rows: Cells[]; report: Report | null };

type Line =
  | { columns: ResultColumn[] }
  | { rows: Cells[] }
  | { report: Report }
  | { error: { code: string; message: string; detail?: string; hint?: string } };

export const MOST_ROWS = 100_000;

/** Splits a body into its lines, as they come. */
export async function* lines(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) break;
    const parts = (rest + value).split("\n");
    rest = parts.pop() ?? "";
    yield* parts.filter(Boolean);
  }
  if (rest) yield rest;
}

/** Runs a query; `onRows` hears of what came so far. An answer that ends without its report was cut off, and is an error. */
export async function run(
  request: { sql: string; params: Record<string, unknown>; partial: boolean },
  signal: AbortSignal,
  onRows: (result: Result) => void,
): Promise<Result> {
  const response = await send("/api/v1/sql", {
    method: "POST", signal, headers: { "Content-Type": "application/json", "X-Tripline": "1" },
    body: JSON.stringify({ ...request, format: "stream", max_rows: MOST_ROWS, timeout_ms: 60_000 }),
  });
  const result: Result = { columns: [], rows: [], report: null };
  if (!response.body) throw new ApiError(0, "unreachable", "the answer has no body");
  for await (const text of lines(response.body)) {
    const line = JSON.parse(text) as Line;
    if ("error" in line) throw new ApiError(502, line.error.code, line.error.message, line.error.detail, line.error.hint);
    if ("columns" in line) result.columns = line.columns;
    else if ("rows" in line) for (const row of line.rows) result.rows.push(row);
    else result.report = line.report;
    onRows({ ...result });
  }
  if (!result.report) throw new ApiError(0, "cut_off", "the answer was cut off: these rows are not all", undefined, "run it again");
  return result;
}

/** The names of a query's `$name` placeholders, outside of texts and comments. */
export function placeholders(sql: string): string[] {
  const bare = sql.replace(/'(?:[^']|'')*'|--[^\n]*|\/\*[\s\S]*?\*\//g, " ");
  return [...new Set([...bare.matchAll(/\$([A-Za-z_][A-Za-z0-9_]*)/g)].map((match) => match[1] as string))];
}

/** A value as it was typed: a number, true, a list; else text. */
export function typed(text: string): unknown {
  if (/^\s*(-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|null|\[[\s\S]*\])\s*$/.test(text)) {
    try { return JSON.parse(text); } catch { return text; }
  }
  return text;
}

/** Where in a query an error is, by what the message says of it. */
export function place(sql: string, message: string): { from: number; to: number } | null {
  const at = /Line: (\d+), Column: (\d+)/.exec(message);
  if (at) {
    const rows = sql.split("\n");
    const line = Math.min(Number(at[1]), rows.length);
    const from = rows.slice(0, line - 1).reduce((sum, row) => sum + row.length + 1, 0) + Number(at[2]) - 1;
    const word = /^\w+|^\S/.exec(sql.slice(from));
    return { from: Math.min(from, sql.length), to: Math.min(from + (word?.[0].length ?? 1), sql.length) };
  }
  const name = /No field named "?([\w.]+?)"?\.(?:\s|$)/.exec(message)?.[1] ?? /(?:table|function|column|field)[^'"]*['"]([\w.]+)['"]/i.exec(message)?.[1];
  if (!name) return null;
  for (const word of [name, name.split(".").slice(-2).join("."), name.split(".").at(-1) ?? name]) {
    const found = new RegExp(`(?<![\\w.])${word.replaceAll(".", "\\.")}(?!\\w)`, "i").exec(sql);
    if (found) return { from: found.index, to: found.index + found[0].length };
  }
  return null;
}

/** The requests that a plan would send, scan by scan. */
export function requests(plan: string): { table: string; count: string; first: string }[] {
  return [...plan.matchAll(/RemoteScanExec: ([\w.]+),([^\n]*)/g)].map((match) => ({
    table: match[1] as string,
    count: /requests=\[([^\]]*)\]/.exec(match[2] as string)?.[1] ?? "?",
    first: /send=\[(.*?)\](?:,|$)/.exec(match[2] as string)?.[1] ?? "",
  }));
}
