// One agent: its runs, what was found in them, what people made of it, and what repeats. Shadow detectors are kept apart.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, useState } from "react";
import { Link } from "react-router";
import { useParams } from "../lib/seen";
import { post, seg } from "../api/client";
import { useGet } from "../api/hooks";
import type { AgentInsights, Explanation, Issue, Paging, Run, Signal } from "../api/types";
import { Badge, Card, Fold, Json, PageTitle, Pre } from "../components/bits";
import { ApplyFix } from "../components/fix";
import { Failure, Loading, Show } from "../components/states";
import { RowsTable, Table } from "../components/table";
import { Since, Time, iso } from "../components/time";
import { trend } from "../lib/trend";
import { count, duration, figure, percent, title } from "../lib/format";
import { useMay, Why } from "../lib/may";
import { Pager } from "./agents";

/** Root cause and fix, and how often it is seen. */
function Told({ told }: { told: Explanation }) {
  const { rate_context: rate } = told;
  return (
    <div role="status">
      <dl className="narrative"><dt>Root cause</dt><dd>{told.root_cause}</dd>{rate ? <><dt>How often</dt><dd>{figure(rate.affected_runs)} of {figure(rate.total_runs)} runs of a week ({percent(rate.rate)}){rate.is_systemic ? ": systemic" : ""}</dd></> : null}
        {told.langfuse_prompt_name ? <><dt>Prompt</dt><dd>{told.langfuse_prompt_name}, version {told.langfuse_prompt_version ?? "unknown"}</dd></> : null}</dl>
      <h4>{told.fix_type === "code_change" ? "Fix: a change of code" : told.fix_type === "prompt_addition" ? "Fix: an addition to the prompt" : "Fix: by hand"}</h4>
      <Pre label="Fix">{told.fix_patch || told.fix_content}</Pre>
      {told.apply_blocked ? <p className="hint">It is for a person to apply: look at the run first.</p> : told.fix_type === "prompt_addition" ? <ApplyFix signal={told.signal_id} fix={told.fix_content} prompt={told.langfuse_prompt_name} /> : null}
    </div>
  );
}

export function SignalCard({ signal }: { signal: Signal }) {
  const client = useQueryClient();
  const may = useMay("operate", "Judging a signal");
  const explain = useMutation({ mutationFn: () => post<Explanation>(`/v1/signals/${signal.id}/explain`) });
  const judge = useMutation({ mutationFn: (correct: boolean) => post(`/v1/signals/${signal.id}/feedback`, { correct }), onSuccess: () => client.invalidateQueries({ queryKey: ["live"] }) });
  return (
    <Fold summary={<><Badge word={signal.severity.toLowerCase()} /> {signal.title} {signal.shadow ? <Badge word="shadow" /> : null} · <Since at={iso(signal.detected_at)} /></>}>
      <p>{signal.what}</p><p>{signal.why_it_matters}</p><p className="hint">{signal.evidence_summary}</p>
      <p>In run <Link to={`/runs/${seg(signal.run_id)}`}>{signal.run_id}</Link>, step {signal.step_index}, confidence {signal.confidence.toFixed(2)}.</p>
      {signal.suggested_fixes.length ? <ul>{signal.suggested_fixes.map((fix, index) => <li key={index}><Fold summary={fix.description}><Pre label={`Fix: ${fix.description}`}>{fix.code}</Pre></Fold></li>)}</ul> : null}
      <p className="decide"><button type="button" disabled={explain.isPending} onClick={() => explain.mutate()}>Explain</button>
        <button type="button" disabled={!may.may || judge.isPending} onClick={() => judge.mutate(true)}>Right</button><button type="button" disabled={!may.may || judge.isPending} onClick={() => judge.mutate(false)}>Wrong</button><Why may={may} />{judge.isSuccess ? <span role="status">Noted.</span> : null}</p>
      {explain.isError ? <Failure error={explain.error} /> : null}{judge.isError ? <Failure error={judge.error} /> : null}
      {explain.data ? <Told told={explain.data} /> : null}
      <Fold summary="Evidence"><Json label="Evidence" value={signal.evidence} /></Fold>
    </Fold>
  );
}

const Chart = lazy(() => import("../components/chart").then((module) => ({ default: module.Chart })));

/** How often each failure was seen among the runs of each day. */
function Trends({ insights }: { insights: AgentInsights }) {
  const data = useMemo(() => trend(insights.failure_rates), [insights]);
  if (!data.series.length) return <p className="empty">No failure was seen in 30 days.</p>;
  if (data.x.values.length < 2) return <p>All runs are of one day: {data.series.map((series) => `${series.name} in ${percent((series.values[0] ?? 0) / 100)}`).join(", ")} of them.</p>;
  return <><p className="hint">Share of a day's runs in percent, by failure, 30 days.</p><Suspense fallback={<Loading />}><Chart data={data} label={`Share of runs by day: ${data.series.map((series) => series.name).join(", ")}; the figures are in the health record`} /></Suspense></>;
}

export default function AgentPage() {
  const { id = "" } = useParams();
  const base = `/v1/agents/${seg(id)}`;
  const [offset, setOffset] = useState(0);
  const runs = useGet<{ runs: Run[]; page: Paging }>(`${base}/runs?limit=25&offset=${offset}`, { keep: true });
  const signals = useGet<{ signals: Signal[]; page: Paging }>(`${base}/signals?limit=100&include_shadow=true`);
  const issues = useGet<{ issues: Issue[] }>(`${base}/issues`);
  const insights = useGet<AgentInsights>(`${base}/insights`);
  return (
    <>
      <PageTitle side={<Link to="/agents">All agents</Link>}>{id}</PageTitle>
      <Card title="Signals"><Show query={signals}>{(data) => { const live = data.signals.filter((signal) => !signal.shadow); return live.length ? live.map((signal) => <SignalCard key={signal.id} signal={signal} />) : <p className="empty">Nothing was found.</p>; }}</Show></Card>
      <Card title="Issues"><Show query={issues}>{(data) => <Table label="Issues" rows={data.issues} rowKey={(issue) => String(issue.id)} empty="No issues." columns={[{ header: "Failure", cell: (issue) => title(issue.failure_type.toLowerCase()) }, { header: "Status", cell: (issue) => <Badge word={issue.status} /> }, { header: "Runs", cell: (issue) => figure(issue.affected_runs), sort: (issue) => issue.affected_runs }, { header: "Clean since", cell: (issue) => count(issue.clean_runs_since, "run") }, { header: "First seen", cell: (issue) => <Time at={iso(issue.first_seen)} /> }, { header: "Last seen", cell: (issue) => <Since at={iso(issue.last_seen)} />, sort: (issue) => issue.last_seen }]} />}</Show></Card>
      <Card title="Trends"><Show query={insights} what="trends">{(data) => <Trends insights={data} />}</Show></Card>
      <Card title="Systemic patterns: one run in ten and more, in seven days"><Show query={insights}>{(data) => <Table label="Systemic patterns" rows={data.systemic_patterns} rowKey={(row) => row.failure_type} empty="Nothing is systemic." columns={[
        { header: "Failure", cell: (row) => title(row.failure_type.toLowerCase()), sort: (row) => row.failure_type }, { header: "Share of runs", cell: (row) => percent(row.rate), sort: (row) => row.rate }, { header: "Runs", cell: (row) => `${figure(row.affected_runs)} of ${figure(row.total_runs)}` },
        { header: "First seen", cell: (row) => <Time at={iso(row.first_seen)} /> }, { header: "Last seen", cell: (row) => <Since at={iso(row.last_seen)} />, sort: (row) => row.last_seen },
      ]} />}</Show></Card>
      <Card title="Health record"><Show query={insights}>{(data) => <><Table label="Versions" rows={data.versions} rowKey={(row) => row.agent_version} empty="No version was judged." columns={[
        { header: "Version", cell: (row) => row.agent_version, sort: (row) => row.agent_version }, { header: "Runs", cell: (row) => figure(row.run_count), sort: (row) => row.run_count }, { header: "With signals", cell: (row) => `${figure(row.runs_with_signals)} (${percent(row.signal_rate)})`, sort: (row) => row.signal_rate },
        { header: "First seen", cell: (row) => <Time at={iso(row.first_seen)} />, sort: (row) => row.first_seen }, { header: "Last seen", cell: (row) => <Since at={iso(row.last_seen)} />, sort: (row) => row.last_seen },
      ]} />{Object.entries(data).filter(([name]) => name !== "versions" && name !== "systemic_patterns").map(([name, value]) => <Fold key={name} summary={<strong>{title(name)}</strong>}>{Array.isArray(value) ? <RowsTable label={title(name)} rows={value as Record<string, unknown>[]} empty="None." /> : <Json label={name} value={value} />}</Fold>)}</>}</Show></Card>
      <Card title="Runs"><Show query={runs}>{(data) => <><Table label="Runs" rows={data.runs} rowKey={(run) => run.run_id} empty="No runs." columns={[{ header: "Run", cell: (run) => <Link to={`/runs/${seg(run.run_id)}`}>{run.run_id}</Link> }, { header: "Started", cell: (run) => <Time at={iso(run.started_at)} />, sort: (run) => run.started_at }, { header: "Took", cell: (run) => duration(run.completed_at - run.started_at) }, { header: "Version", cell: (run) => run.agent_version }, { header: "Ended", cell: (run) => run.exit_reason }, { header: "Steps", cell: (run) => run.step_count, sort: (run) => run.step_count }, { header: "Signals", cell: (run) => run.signal_count, sort: (run) => run.signal_count }]} /><Pager page={data.page} onTurn={setOffset} /></>}</Show></Card>
      <Card title="Shadow detectors: not alerted on yet"><Show query={signals}>{(data) => { const shadow = data.signals.filter((signal) => signal.shadow); return shadow.length ? shadow.map((signal) => <SignalCard key={signal.id} signal={signal} />) : <p className="empty">Nothing was found.</p>; }}</Show></Card>
    </>
  );
}
