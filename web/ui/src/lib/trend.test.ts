import { expect, test } from "vitest";
import { trend } from "./trend";

const rate = (failure_type: string, day: string, affected_runs: number, total_runs: number) => ({ failure_type, day, affected_runs, total_runs, rate: affected_runs / total_runs });

test("each failure is a line over the days, and a day without it is zero of its runs", () => {
  const data = trend([rate("SLOW_STEP", "2026-11-02", 1, 10), rate("TOOL_LOOP", "2026-11-01", 2, 4), rate("TOOL_LOOP", "2026-11-02", 5, 10), rate("QUIET", "2026-11-02", 0, 10)]);
  expect(data.x.values).toEqual([Date.UTC(2026, 10, 1) / 1000, Date.UTC(2026, 10, 2) / 1000]);
  expect(data.series).toEqual([{ name: "tool loop", values: [50, 50] }, { name: "slow step", values: [0, 10] }]);
});
