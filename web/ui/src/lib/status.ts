// The first line, and what it is made of.
import type { Incident, Source } from "../api/types";
import { count, money } from "./format";

export const SEVERITY: Record<Incident["severity"], number> = { critical: 0, high: 1, medium: 2, info: 3 };

/** Sources that failed and have not answered since. */
export const down = (sources: Source[]) => sources.filter((source) => source.last_failure_at && source.last_failure_at > (source.last_success_at ?? ""));

/** How bad is it, and what is wanted from me. */
export function answer({ open, pending, may, down: failing, looked }: { open: Incident[]; pending: number | null; may: boolean; down: Source[]; looked: boolean }): string {
  const worst = open.length === 1 ? `: ${open[0]?.severity}` : `, the worst ${open[0]?.severity}`;
  const wrong = open.length ? `${count(open.length, "open incident")}${worst}.` : looked ? "No open incidents." : "No open incidents; no detector has looked yet.";
  const wanted = pending ? ` ${count(pending, "decision waits", "decisions wait")} for ${may ? "you" : "an approver"}.` : "";
  const unknown = failing.length ? ` Not everything is known: ${failing.map((source) => source.name).join(", ")}.` : "";
  return `${wrong}${wanted}${unknown}`;
}

/** Six hours at the mean of the last whole hours, and how that was reckoned. Nothing known is null, never zero. */
export function project(rows: Record<string, unknown>[]): { usd: number | null; how: string } {
  const whole = rows.filter((row) => row.complete === true && typeof row.cost_usd === "number").slice(0, 6);
  if (!whole.length) return { usd: null, how: "no whole hour of cost is known yet" };
  const mean = whole.reduce((sum, row) => sum + (row.cost_usd as number), 0) / whole.length;
  return { usd: mean * 6, how: `6 × ${money(mean)}, the mean of the last ${count(whole.length, "whole hour")}` };
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
