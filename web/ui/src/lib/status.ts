// The first line, and what it is made of.
import type { Incident, Loop, Source } from "../api/types";
import { count } from "./format";

export const SEVERITY: Record<Incident["severity"], number> = { critical: 0, high: 1, medium: 2, info: 3 };

/** Sources that failed and have not answered since. */
export const down = (sources: Source[]) => sources.filter((source) => source.last_failure_at && source.last_failure_at > (source.last_success_at ?? ""));

/** How bad is it, and what is wanted from me. `unseen` are detectors that could not look. */
export function answer({ open, whole = true, pending, may, down: failing, unseen = [], looked }: { open: Incident[]; whole?: boolean; pending: number | null; may: boolean; down: Source[]; unseen?: string[]; looked: boolean }): string {
  const worst = open.length === 1 ? `: ${open[0]?.severity}` : `, the worst ${open[0]?.severity}`;
  const wrong = open.length ? `${whole ? "" : "At least "}${count(open.length, "open incident")}${worst}.` : looked ? "No open incidents." : "No open incidents; no detector has looked yet.";
  const wanted = pending ? ` ${count(pending, "decision waits", "decisions wait")} for ${may ? "you" : "an approver"}.` : "";
  const missing = [...failing.map((source) => source.name), ...unseen.map((job) => job.replaceAll("_", " "))];
  const unknown = missing.length ? ` Not everything is known: ${missing.join(", ")}.` : "";
  return `${wrong}${wanted}${unknown}`;
}

const HOUR = 3_600_000;
/** Hours of cost are on record once a window after them was judged, some two hours after their end; what is older than this is missing. */
const ON_RECORD_AFTER = 4 * HOUR;

/** The loops that go on: one whose agent said that it stopped does not, though its incident is open until it was quiet for some windows. */
export const going = (loops: Loop[]) => loops.filter((loop) => loop.status !== "killed" && loop.status !== "ended");

export type Projection = { usd: number | null; hours: number; mean: number | null; from: string | null; to: string | null; why: string | null };

/**
 * Six hours at the mean of the newest six whole hours that are on record, and which those are. Nothing known is null, never zero;
 * and what ended long ago says nothing of the next hours. `at` is the server's now, in milliseconds since 1970.
 */
export function project(rows: Record<string, unknown>[], at: number): Projection {
  const nothing = { usd: null, hours: 0, mean: null, from: null, to: null };
  const whole = rows.filter((row) => row.complete === true && typeof row.cost_usd === "number").map((row) => ({ start: Date.parse(String(row.hour_start)), usd: row.cost_usd as number }));
  const newest = Math.max(...whole.map((hour) => hour.start));
  if (!whole.length) return { ...nothing, why: "no whole hour of cost is known yet" };
  const to = new Date(newest + HOUR).toISOString();
  if (at - newest - HOUR > ON_RECORD_AFTER) return { ...nothing, to, why: "cost is known only until" };
  const used = whole.filter((hour) => hour.start > newest - 6 * HOUR);
  const mean = used.reduce((sum, hour) => sum + hour.usd, 0) / used.length;
  return { usd: mean * 6, hours: used.length, mean, from: new Date(Math.min(...used.map((hour) => hour.start))).toISOString(), to, why: null };
}

type Sampled = { start: string; end: string; seen: number; kept: number; dropped: number | null; reasons: { reason: string; traces: number }[] | null };

/** The newest run of the sampler, from rows of agent.sampling_stats; null when it never ran. Reasons that cannot be read are null. */
export function sampling(rows: Record<string, unknown>[]): Sampled | null {
  const row = rows[0];
  if (!row) return null;
  const [seen, kept] = [Number(row.total_traces), Number(row.sampled_traces)];
  let reasons: Sampled["reasons"] = null;
  try {
    const told: unknown = JSON.parse(String(row.keep_reasons));
    if (told && typeof told === "object" && !Array.isArray(told)) {
      reasons = Object.entries(told).map(([reason, traces]) => ({ reason, traces: Number(traces) })).filter(({ traces }) => traces > 0).sort((a, b) => b.traces - a.traces);
    }
  } catch { /* said to be unknown */ }
  return { start: String(row.window_start), end: String(row.window_end), seen, kept, dropped: seen ? 1 - kept / seen : null, reasons };
}
