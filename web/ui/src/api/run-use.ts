// What a run used. Tokens are in the run's own events; its cost is known where it has a trace that Langfuse has.
import { ofTrace, type Used } from "../lib/graph";
import { seg } from "./client";
import { useGet, useSql } from "./hooks";
import type { Graph } from "./types";

const RUN = "SELECT trace_id, prompt_tokens, completion_tokens, llm_calls FROM ingest.runs WHERE run_id = $run";

export type RunUse = Used & { prompt: number | null; completion: number | null; trace: string | null; loading: boolean; /** Why the cost is not known. */ why: string | null; /** Why the tokens are not known. */ failed: string | null };

const number = (value: unknown) => (typeof value === "number" ? value : null);

export function useRunUse(id: string, enabled = true): RunUse {
  const run = useSql(RUN, { run: id }, { enabled });
  const row = run.data?.rows[0];
  const trace = typeof row?.trace_id === "string" && row.trace_id ? row.trace_id.replaceAll("-", "") : null;
  const graph = useGet<Graph>(`/api/v1/forensics/trace/${seg(trace ?? "")}`, { still: true, enabled: enabled && trace !== null });
  const [prompt, completion] = [number(row?.prompt_tokens), number(row?.completion_tokens)];
  // A run that called no model used none; one that called some and was told of none is not known.
  const told = row !== undefined && (number(row.llm_calls) === 0 || (prompt ?? 0) + (completion ?? 0) > 0);
  const cost = graph.data && graph.data.complete ? ofTrace(graph.data).cost : null;
  const why = cost !== null ? null : run.isError ? run.error.message : run.data && !trace ? "it names no trace" : graph.isError ? `trace ${trace}: ${graph.error.message}` : graph.data ? "its trace says no cost" : null;
  return { tokens: told ? (prompt ?? 0) + (completion ?? 0) : null, prompt: told ? prompt : null, completion: told ? completion : null, cost, trace, why, failed: run.isError ? run.error.message : null, loading: run.isLoading || graph.isLoading };
}
