import type { ChartData } from "../components/chart";
import type { Result } from "./run";

/** Columns with numbers, and columns that may be along the bottom. */
export function candidates(result: Result): { numbers: string[]; others: string[] } {
  const numbers = result.columns.filter((column) => /Int|Float|Decimal/.test(column.type)).map((column) => column.name);
  return { numbers, others: result.columns.map((column) => column.name) };
}

/** What a chart of these columns shows; rows with no place along the bottom are left out. */
export function chartOf(result: Result, x: string, ys: string[]): ChartData {
  const type = result.columns.find((column) => column.name === x)?.type ?? "";
  const kind = /Timestamp|Date/.test(type) ? "time" : /Int|Float|Decimal/.test(type) ? "number" : "text";
  const at = (value: unknown) => (kind === "time" ? Date.parse(String(value)) / 1000 : kind === "number" ? Number(value) : String(value));
  const rows = result.rows.filter((row) => row[x] !== null && row[x] !== undefined && (kind === "text" || Number.isFinite(at(row[x]) as number))).slice(0, 20_000);
  if (kind !== "text") rows.sort((a, b) => (at(a[x]) as number) - (at(b[x]) as number));
  return {
    x: { kind, name: x, values: rows.map((row) => at(row[x])) },
    series: ys.map((name) => ({ name, values: rows.map((row) => (typeof row[name] === "number" ? (row[name] as number) : null)) })),
  };
}
