import type { ChartData } from "../components/chart";
import type { Cells, Result } from "./run";

const isNumber = (type: string) => /^(U?Int\d|Float|Decimal)/.test(type);
const isTime = (type: string) => /^(Timestamp|Date)/.test(type);

/** Columns with numbers, and columns that may be along the bottom. */
export function candidates(result: Pick<Result, "columns">): { numbers: string[]; others: string[]; time: string | undefined } {
  const numbers = result.columns.filter((column) => isNumber(column.type)).map((column) => column.name);
  return { numbers, others: result.columns.map((column) => column.name), time: result.columns.find((column) => isTime(column.type))?.name };
}

/** A number of a cell, which is text where it has more digits than a double; what is no number is left out. */
function drawn(value: unknown): number | null {
  const number = typeof value === "number" ? value : typeof value === "string" && value.trim() ? Number(value) : NaN;
  return Number.isFinite(number) ? number : null;
}

/** What a chart of these columns shows: all rows that have a place along the bottom. */
export function chartOf(result: Pick<Result, "columns" | "rows">, x: string, ys: string[]): ChartData {
  const type = result.columns.find((column) => column.name === x)?.type ?? "";
  const kind = isTime(type) ? "time" : isNumber(type) ? "number" : "text";
  const at = (value: unknown) => (kind === "time" ? Date.parse(String(value)) / 1000 : kind === "number" ? drawn(value) ?? NaN : String(value));
  const placed = result.rows
    .filter((row) => row[x] !== null && row[x] !== undefined)
    .map((row): [number | string, Cells] => [at(row[x]), row])
    .filter(([place]) => kind === "text" || Number.isFinite(place));
  if (kind !== "text") placed.sort(([a], [b]) => (a as number) - (b as number));
  return {
    x: { kind, name: x, values: placed.map(([place]) => place) },
    series: ys.map((name) => ({ name, values: placed.map(([, row]) => drawn(row[name])) })),
  };
}
