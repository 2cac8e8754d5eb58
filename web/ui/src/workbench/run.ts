// Running a query: rows come as they are read, the completeness report comes last. Stopping the request stops the query.
import { send, ApiError } from "../api/client";
import { parse, text as written } from "../lib/seen";
import type { Report } from "../api/types";

export type Cells = Record<string, unknown>;
export type ResultColumn = { name: string; type: string };
export type Progress = { requests: number; rows_read: number };
/** What came; `report` is of the whole of it, or of what had come when it `failed`. */
export type Result = { columns: ResultColumn[]; rows: Cells[]; report: Report | null; progress: Progress; failed: boolean };

type Line =
  | { columns: ResultColumn[] }
  | { rows: Cells[] }
  | { progress: Progress }
  | { report: Report }
  | { error: { code: string; message: string; detail?: string; hint?: string }; so_far?: Report };

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
    body: written({ ...request, format: "stream", max_rows: MOST_ROWS, timeout_ms: 60_000 }),
  });
  const result: Result = { columns: [], rows: [], report: null, progress: { requests: 0, rows_read: 0 }, failed: false };
  if (!response.body) throw new ApiError(0, "unreachable", "the answer has no body");
  for await (const text of lines(response.body)) {
    const line = parse<Line>(text);
    if ("error" in line) {
      onRows({ ...result, report: line.so_far ?? null, failed: true });
      throw new ApiError(502, line.error.code, line.error.message, line.error.detail, line.error.hint);
    }
    if ("columns" in line) result.columns = line.columns;
    else if ("rows" in line) for (const row of line.rows) result.rows.push(row);
    else if ("progress" in line) result.progress = line.progress;
    else result.report = line.report;
    onRows({ ...result });
  }
  if (!result.report) throw new ApiError(0, "cut_off", "the answer was cut off: these rows are not all", undefined, "run it again");
  return result;
}

/** A query with its texts and comments blanked out: every other character is where it was. */
export const bare = (sql: string) => sql.replace(/'(?:[^']|'')*'|--[^\n]*|\/\*[\s\S]*?\*\//g, (text) => text.replace(/[^\n]/g, " "));

/** The names of a query's `$name` placeholders, outside of texts and comments. */
export function placeholders(sql: string): string[] {
  return [...new Set([...bare(sql).matchAll(/\$([A-Za-z_][A-Za-z0-9_]*)/g)].map((match) => match[1] as string))];
}

/** A value as it was typed: a number, true, a list; else text. */
export function typed(text: string): unknown {
  if (/^\s*(-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|null|\[[\s\S]*\])\s*$/.test(text)) {
    try { return JSON.parse(text); } catch { return text; }
  }
  return text;
}

type Place = { from: number; to: number };
const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

function wordAt(sql: string, from: number): Place {
  const word = /^\w+|^\S/.exec(sql.slice(from));
  return { from: Math.min(from, sql.length), to: Math.min(from + (word?.[0].length ?? 1), sql.length) };
}

/** Where a name stands in a query: as it is, or the end of it, outside of texts and comments. */
function nameIn(sql: string, name: string): Place | null {
  const outside = bare(sql);
  const parts = name.split(".");
  for (const word of [name, parts.slice(-2).join("."), parts.at(-1) ?? name]) {
    if (!word) continue;
    const found = new RegExp(`(?<![\\w.])${escaped(word).replaceAll("\\.", "\\s*\\.\\s*")}(?!\\w)`, "i").exec(outside) ?? new RegExp(`(?<!\\w)${escaped(parts.at(-1) ?? word)}(?!\\w)`, "i").exec(word === parts.at(-1) ? outside : "");
    if (found) return { from: found.index, to: found.index + found[0].length };
  }
  return null;
}

/** Where a text or number that an error quotes stands in a query. */
function textIn(sql: string, text: string): Place | null {
  const from = sql.toLowerCase().indexOf(`'${text.replaceAll("'", "''")}'`.toLowerCase());
  return from < 0 ? null : { from, to: from + text.length + 2 };
}

/** The statement after the first query of several. */
function secondQuery(sql: string): Place | null {
  let from = 0;
  let queries = 0;
  for (const part of bare(sql).split(";")) {
    const start = from + (/\S/.exec(part)?.index ?? part.length);
    if (part.trim() && !/^\s*(?:set|reset)\b/i.test(part) && (queries += 1) === 2) return { from: start, to: from + sql.slice(from, from + part.length).trimEnd().length };
    from += part.length + 1;
  }
  return null;
}

/** Where in a query an error is, by what the message says of it: a place, a name, a text, or the end of what was expected to go on. */
export function place(sql: string, message: string): Place | null {
  const at = /Line: (\d+), Column: (\d+)/.exec(message);
  if (at) {
    const rows = sql.split("\n");
    const line = Math.min(Number(at[1]), rows.length);
    return wordAt(sql, rows.slice(0, line - 1).reduce((sum, row) => sum + row.length + 1, 0) + Number(at[2]) - 1);
  }
  if (/found: EOF/.test(message)) {
    const end = bare(sql).trimEnd().length;
    return end ? { from: end - (/\w+$|\S$/.exec(sql.slice(0, end))?.[0].length ?? 1), to: end } : null;
  }
  if (/^one query at a time/.test(message)) return secondQuery(sql);
  if (/^only read-only SQL/.test(message)) return wordAt(sql, /\S/.exec(bare(sql))?.index ?? 0);
  const number = /\bspecified: (\d+)/.exec(message)?.[1];
  const parameter = /parameter (\$\w+)/.exec(message)?.[1];
  const said = number ?? parameter;
  if (said) {
    const found = new RegExp(`(?<![\\w.$])${escaped(said)}(?!\\w)`).exec(bare(sql));
    if (found) return { from: found.index, to: found.index + said.length };
  }
  const named = [
    /No field named "?([\w.]+?)"?\.(?:\s|$)/, /there is no table "?([\w.]+)/, /there is no source "?([\w.]+)/,
    /(?:table|function|column|field|identifier)[^'"\n]*?['"]([\w.]+)['"]/i, /unqualified field "?([\w.]+)/, /^([a-z_]\w*\.[a-z_]\w*): /,
  ];
  for (const form of named) {
    const name = form.exec(message)?.[1];
    const found = name ? nameIn(sql, name) : null;
    if (found) return found;
  }
  // What an error quotes, the first of it that the query has.
  for (const match of message.matchAll(/'([^'\n]{1,200})'|"([^"\n]{1,200})"/g)) {
    const text = match[1] ?? match[2] ?? "";
    const found = textIn(sql, text) ?? (/^[\w.]+$/.test(text) ? nameIn(sql, text) : null);
    if (found) return found;
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
