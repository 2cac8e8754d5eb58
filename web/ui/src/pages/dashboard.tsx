// The answer first: how bad is it, and what is wanted from me. Then what waits, what it costs, what is kept, what is not known.
import { Link } from "react-router";
import { ApiError, seg } from "../api/client";
import { useApprovals, useGet, useIncidents, useJobs, useSession, useSources, useSql } from "../api/hooks";
import type { Approval, Digest, Incident, Job, List, Loop, Source } from "../api/types";
import { Badge, Card, PageTitle, Stat } from "../components/bits";
import { DecisionBlock } from "../components/decide";
import { Failure, Loading, Show, Unknown } from "../components/states";
import { Table } from "../components/table";
import { Since, Time } from "../components/time";
import { latency, Quota } from "../components/source";
import { DigestText } from "../components/digest-text";
import { count, figure, money, percent, title } from "../lib/format";
import { answer, down, project, sampling, SEVERITY } from "../lib/status";

const SAMPLER = "SELECT window_start, window_end, total_traces, sampled_traces, keep_reasons FROM agent.sampling_stats ORDER BY window_end DESC LIMIT 1";

const COST = `SELECT h.hour_start, h.complete, coalesce(sum(b.cost_usd), 0) AS cost_usd
FROM agent.cost_hours h LEFT JOIN agent.cost_baselines b ON b.hour_start = h.hour_start
GROUP BY h.hour_start, h.complete ORDER BY h.hour_start DESC LIMIT 7`;
const KILLS = `SELECT original_id, incident_id, requested_by, requested_at, state FROM agent.kills ORDER BY requested_at DESC LIMIT 100`;

function CostStat() {
  const cost = useSql(COST);
  if (!cost.data) return <Stat label="Projected cost, next 6 h" value={cost.isError ? "unknown" : "…"} hint={cost.isError ? cost.error.message : undefined} />;
  const projected = project(cost.data.rows);
  return <Stat label="Projected cost, next 6 h" value={money(projected.usd)} hint={projected.how} tone={projected.usd !== null && projected.usd > 5 ? "warn" : undefined} />;
}

function LoopStat({ incidents, approvals }: { incidents: Incident[]; approvals: Approval[] }) {
  const kills = useSql(KILLS);
  const loops = incidents.filter((incident) => incident.type === "agent_loop");
  const asked = kills.data?.rows.filter((row) => row.state === "requested").length;
  const waiting = approvals.filter((approval) => approval.action_type === "kill_loop").length;
  const hint = kills.isError ? "kill requests unknown" : `${asked === undefined ? "…" : count(asked, "kill request")} not answered yet${waiting ? `, ${waiting} to decide` : ""}`;
  return <Stat label="Active loops" value={figure(loops.length)} hint={hint} tone={loops.length ? "bad" : undefined} />;
}

const METHODS: Record<string, string> = { auto: "by policy", slack_approval: "approved in Slack", api_approval: "approved here" };

/** Loops that go on, each with what was asked to stop it. */
function Loops() {
  const loops = useGet<List<Loop>>("/api/v1/loops/active?limit=20");
  return <Show query={loops} what="loops">{(data) => <Table label="Active loops" rows={data.items} rowKey={(loop) => loop.id} empty="No loop goes on." columns={[
    { header: "Trace", cell: (loop) => <Link to={`/forensics/traces/${seg(loop.trace_id)}`}>{loop.trace_id.slice(0, 16)}</Link> },
    { header: "Generations", cell: (loop) => figure(loop.loop_count), sort: (loop) => loop.loop_count }, { header: "Burned", cell: (loop) => money(loop.cost_burned), sort: (loop) => loop.cost_burned },
    { header: "Kill", cell: (loop) => <><Badge word={loop.status} />{loop.kill_method ? <span className="hint"> {METHODS[loop.kill_method]}</span> : null}</> },
    { header: "Seen", cell: (loop) => <Since at={loop.detected_at} />, sort: (loop) => loop.detected_at }, { header: "Incident", cell: (loop) => <Link to={`/incidents/${seg(loop.id)}`}>open</Link> },
  ]} />}</Show>;
}

function NoiseStat() {
  const newest = useSql(SAMPLER);
  if (!newest.data) return <Stat label="Noise reduction" value={newest.isError ? "unknown" : "…"} hint={newest.error?.message} />;
  const run = sampling(newest.data.rows);
  if (!run) return <Stat label="Noise reduction" value="–" hint="the sampler has not run" />;
  return <Stat label="Noise reduction" value={run.dropped === null ? "–" : percent(run.dropped)} hint={`${figure(run.kept)} of ${count(run.seen, "trace")} kept`} />;
}

function Sampler() {
  const newest = useSql(SAMPLER);
  return <Show query={newest} what="what the sampler kept">{(data) => {
    const run = sampling(data.rows);
    if (!run) return <p className="empty">The sampler has not run yet: how much noise it takes away is not known.</p>;
    return (
      <>
        <p><Time at={run.start} /> to <Time at={run.end} />: {count(run.seen, "trace")} seen, {figure(run.kept)} kept.</p>
        {run.reasons === null ? <p className="gap"><strong>unknown: why</strong> — the reasons on record cannot be read</p> : (
          <Table label="Why traces were kept" rows={run.reasons} rowKey={(row) => row.reason} empty="None was kept." columns={[
            { header: "Why", cell: (row) => title(row.reason) }, { header: "Traces", cell: (row) => figure(row.traces), sort: (row) => row.traces },
          ]} />
        )}
        <p className="hint">A trace may be kept for several reasons.</p>
      </>
    );
  }}</Show>;
}

export function IncidentLine({ incident }: { incident: Incident }) {
  return (
    <li className="line">
      <Badge word={incident.severity} />
      <span className="line-main">
        <Link to={`/incidents/${seg(incident.id)}`}>{title(incident.type)}: {incident.entity}</Link>
        <span className="hint">{incident.narrative_parts?.what_happened ?? incident.description}</span>
        {incident.gaps.map((gap) => <Unknown key={gap.source} source={gap.source} reason={gap.reason} />)}
      </span>
      <span className="line-side">{money(incident.cost_usd)}<Since at={incident.opened_at} /></span>
    </li>
  );
}

function Health({ sources }: { sources: Source[] }) {
  const failing = new Set(down(sources).map((source) => source.name));
  return (
    <Table label="Health of sources" rows={sources} rowKey={(source) => source.name} empty="No sources." columns={[
      { header: "Source", cell: (source) => source.name, sort: (source) => source.name },
      { header: "Status", cell: (source) => failing.has(source.name) ? <><Badge word="unknown" /> {source.last_failure}</> : source.status === "configured" ? <Badge word="configured" /> : source.status, sort: (source) => source.status },
      { header: "Last success", cell: (source) => <Since at={source.last_success_at} />, sort: (source) => source.last_success_at },
      { header: "Latency", cell: latency, sort: (source) => source.latency_ms },
      { header: "Left of its limit", cell: (source) => <Quota source={source} />, sort: (source) => source.limits?.remaining },
      { header: "Last failure", cell: (source) => source.last_failure_at ? <Since at={source.last_failure_at} /> : "none", sort: (source) => source.last_failure_at },
    ]} />
  );
}

function LatestDigest() {
  const history = useGet<List<Digest>>("/api/v1/digest/history?limit=1");
  if (history.isLoading) return <Loading />;
  if (!history.data) return <Failure error={history.error} again={() => void history.refetch()} />;
  const digest = history.data.items[0];
  if (!digest) return <p className="empty">No digest was written yet.</p>;
  return (
    <>
      <p className="hint">Week to <Time at={digest.week_end} /></p>
      {digest.gaps.map((gap) => <Unknown key={gap.source} source={gap.source} reason={gap.reason} />)}
      <DigestText text={digest.report} short />
      <p><Link to="/digest">Read the digest</Link></p>
    </>
  );
}

export function Dashboard() {
  const session = useSession();
  const incidents = useIncidents({ limit: 50 });
  const approvals = useApprovals({ status: "pending", limit: 50 });
  const sources = useSources();
  const jobs = useJobs();
  if (incidents.isError && !incidents.data) return <Failure error={incidents.error} again={() => void incidents.refetch()} />;
  if (!incidents.data) return <Loading what="incidents" />;
  const all = incidents.data.pages.flatMap((page) => page.items);
  const open = all.filter((incident) => incident.status === "open").sort((a, b) => SEVERITY[a.severity] - SEVERITY[b.severity] || b.opened_at.localeCompare(a.opened_at));
  const resolved = all.filter((incident) => incident.status !== "open");
  const pending = approvals.data?.pages.flatMap((page) => page.items) ?? [];
  const failing = down(sources.data?.items ?? []);
  const looked = (jobs.data?.items ?? []).map((job: Job) => job.last_run?.finished_at ?? "").sort().at(-1);
  const foreign = sources.error instanceof ApiError && sources.error.status === 403;
  return (
    <>
      <PageTitle>Dashboard</PageTitle>
      <p id="answer" className="answer" aria-live="polite">{answer({ open, pending: approvals.data ? pending.length : null, may: Boolean(session.data?.approver), down: failing, looked: Boolean(looked) || !jobs.data })}</p>
      {incidents.isError ? <Failure error={incidents.error} /> : null}
      {failing.length ? <div id="down">{failing.map((source) => <Unknown key={source.name} source={source.name} reason={`does not answer: ${source.last_failure ?? ""}`} />)}</div> : null}
      <dl className="stats">
        <Stat label="Open incidents" value={figure(open.length)} hint={open[0] ? `worst: ${open[0].severity}` : "none"} tone={open.length ? "bad" : "good"} />
        <CostStat />
        <LoopStat incidents={open} approvals={pending} />
        <Stat label="Pending approvals" value={approvals.data ? figure(pending.length) : approvals.isError ? "unknown" : "…"} hint={approvals.isError ? approvals.error.message : undefined} tone={pending.length ? "warn" : undefined} />
        <NoiseStat />
      </dl>
      {pending.length ? <Card title="Decisions that wait">{pending.map((approval) => <DecisionBlock key={approval.id} approval={approval} />)}</Card> : null}
      <Card title="Incidents now">{open.length ? <ul className="lines">{open.map((incident) => <IncidentLine key={incident.id} incident={incident} />)}</ul> : <p className="empty">None.</p>}</Card>
      {open.some((incident) => incident.type === "agent_loop") ? <Card title="Active loops"><Loops /></Card> : null}
      <Card title="Sources">{foreign ? <p className="empty">Sources belong to the installation: a key of its own project sees them.</p> : <Show query={sources} what="sources">{(data) => <Health sources={data.items} />}</Show>}</Card>
      <div className="columns">
        <Card title="Recent incidents" action={<Link to="/incidents">All incidents</Link>}>{resolved.length ? <ul className="lines">{resolved.slice(0, 5).map((incident) => <IncidentLine key={incident.id} incident={incident} />)}</ul> : <p className="empty">No resolved incidents.</p>}</Card>
        <Card title="This week's digest"><LatestDigest /></Card>
        <Card title="What the sampler kept"><Sampler /></Card>
      </div>
    </>
  );
}
