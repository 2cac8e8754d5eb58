// What nobody could look at: jobs whose newest run did not succeed. What a list does not have may then be there all the same.
import { useJobs } from "../api/hooks";
import type { Job } from "../api/types";
import { title } from "../lib/format";
import { Time } from "./time";

/** Detectors that find what incidents are made of. */
export const DETECTORS = ["agent_loop", "cost_spike", "error_cascade", "prompt_drift", "silent_tool_failure"];
/** Jobs that find drift. */
export const DRIFT = ["drift_patrol", "prompt_drift"];
const FAILED = ["gap", "failed", "timed_out", "abandoned", "skipped"];

export type Blind = { job: string; reason: string; until: string | null };

/** Of these jobs (all, if none are named) those whose newest run did not succeed, or which are at it again after one that did not. */
export function blind(jobs: Job[], names?: string[]): Blind[] {
  return jobs.flatMap((job) => {
    const run = job.last_run;
    if (!run || (names && !names.includes(job.name))) return [];
    if (run.status === "running" && run.attempt > 1) return [{ job: job.name, reason: "it did not succeed, and is tried again now", until: job.judged_until }];
    if (!FAILED.includes(run.status)) return [];
    return [{ job: job.name, reason: run.error ?? (run.status === "gap" ? "a source did not answer" : run.status.replaceAll("_", " ")), until: job.judged_until }];
  });
}

export function useBlind(names?: string[]): Blind[] {
  const jobs = useJobs();
  return blind(jobs.data?.items ?? [], names);
}

/** Says of each what is not known, why, and since when. */
export const Unseen = ({ blind: list }: { blind: Blind[] }) => <>{list.map(({ job, reason, until }) => (
  <p key={job} className="gap"><strong>unknown: {title(job).toLowerCase()}</strong> — {reason}{until ? <>; judged until <Time at={until} /></> : null}</p>
))}</>;
