// Rates by day as a chart has them.
import type { ChartData } from "../components/chart";
import type { AgentInsights } from "../api/types";

/** More lines cannot be told apart. */
const MOST = 5;

/** A line per failure, those seen most first; a day on which a failure was not seen among the runs is 0, one without runs is a gap. */
export function trend(rates: AgentInsights["failure_rates"]): ChartData {
  const days = [...new Set(rates.map((rate) => rate.day))].sort();
  const worst = new Map<string, number>();
  for (const rate of rates) worst.set(rate.failure_type, (worst.get(rate.failure_type) ?? 0) + rate.affected_runs);
  const names = [...worst].filter(([, runs]) => runs > 0).sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).slice(0, MOST).map(([name]) => name);
  const value = (name: string, day: string) => {
    const rate = rates.find((each) => each.failure_type === name && each.day === day);
    return rate ? rate.rate * 100 : rates.some((each) => each.day === day && each.total_runs > 0) ? 0 : null;
  };
  return { x: { kind: "time", name: "day", values: days.map((day) => Date.parse(`${day}T00:00:00Z`) / 1000) }, series: names.map((name) => ({ name: name.toLowerCase().replaceAll("_", " "), values: days.map((day) => value(name, day)) })) };
}
