// The answer first: how bad is it, and what is wanted from me. Then what waits, what it costs, what is kept, what is not known.
import { Link } from "react-router";
import { ApiError, seg } from "../api/client";
import { useGet, useIncidents, useJobs, useOpenIncidents, usePendingApprovals, useSession, useSources, useSql, useWhole } from "../api/hooks";
import type { Approval, AuditVerdict, Digest, Incident, Job, List, Loop, Source } from "../api/types";
import { Badge, Card, PageTitle, Stat } from "../components/bits";
import { DecisionBlock } from "../components/decide";
import { Failure, Loading, Show, Unknown } from "../components/states";
import { Table } from "../components/table";
import { blind, Unseen, type Blind } from "../components/unseen";
import { Since, Time, Told } from "../components/time";
import { latency, Quota } from "../components/source";
import { DigestText } from "../components/digest-text";
import { costName, count, figure, money, now, percent, title } from "../lib/format";
import { answer, down, going, project, sampling, SEVERITY } from "../lib/status";

const SAMPLER = "SELECT window_start, window_end, total_traces, sampled_traces, keep_reasons FROM agent.sampling_stats ORDER BY window_end DESC LIMIT 1";

const COST = `SELECT h.hour_start, h.complete, coalesce(sum(b.cost_usd), 0) AS cost_usd
FROM agent.cost_hours h LEFT JOIN agent.cost_baselines b ON b.hour_start = h.hour_start
GROUP BY h.hour_start, h.complete ORDER BY h.hour_start DESC LIMIT 7`;
const KILLS = `SELECT original_id, incident_id, requested_by, requested_at, state FROM agent.kills ORDER BY requested_at DESC LIMIT 100`;

function CostStat({ unseen }: { unseen: Blind[] }) {
  const cost = useSql(COST);
  const label = "Projected cost, next 6 h";
  if (!cost.data) return <Stat label={label} value={cost.isError ? "unknown" : "…"} hint={cost.isError ? cost.error.message : undefined} />;
  const { usd, hours, mean, from, to, why } = project(cost.data.rows, now());
  const failed = unseen.find(({ job }) => job === "cost_spike");
  const since = failed ? <span className="gap"> newer hours unknown: {failed.reason}</span> : null;
  const hint = usd === null ? <>{why} {to ? <Time at={to} /> : null}{since}</> : <>6 × {money(mean)}, the mean of {count(hours, "whole hour")} from <Time at={from} /> to <Time at={to} />, the newest on record{since}</>;
  return <Stat label={label} value={money(usd)} hint={hint} tone={usd !== null && usd > 5 ? "warn" : undefined} />;
}

const useLoops = () => useWhole<Loop>("/api/v1/loops/active");

function LoopStat({ approvals, unseen }: { approvals: Approval[]; unseen: Blind[] }) {
  const kills = useSql(KILLS);
  const { items, listing, whole } = useLoops();
  const asked = kills.data?.rows.filter((row) => row.state === "requested").length;
  const waiting = approvals.filter((approval) => approval.action_type === "kill_loop").length;
  const hint = kills.isError ? "kill requests unknown" : `${asked === undefined ? "…" : count(asked, "kill request")} not answered yet${waiting ? `, ${waiting} to decide` : ""}`;
  const failed = unseen.find(({ job }) => job === "agent_loop");
  const active = items && going(items).length;
  const stopped = items && active !== undefined ? items.length - active : 0;
  const value = active === undefined ? (listing.isError ? "unknown" : "…") : failed && !active ? "unknown" : `${figure(active)}${failed || !whole ? "+" : ""}`;
  return <Stat label="Active loops" value={value} hint={<>{hint}{stopped ? `; ${figure(stopped)} stopped, not yet resolved` : ""}{failed ? <span className="gap"> newest look failed: {failed.reason}</span> : null}</>} tone={active ? "bad" : failed ? "warn" : undefined} />;
}

const METHODS: Record<string, string> = { auto: "by policy", slack_approval: "approved in Slack", api_approval: "approved here" };

/** Loops of open incidents, each with what was asked to stop it, and whether it did. */
function Loops() {
  const { listing, items } = useLoops();
  return <Show query={listing} what="loops">{() => <Table label="Loops of open incidents" most={20} rows={items ?? []} rowKey={(loop) => loop.id} empty="No loop goes on." columns={[
    { header: "Trace", cell: (loop) => <Link to={`/forensics/traces/${seg(loop.trace_id)}`}>{loop.trace_id.slice(0, 16)}</Link> },
    { header: "Generations", cell: (loop) => figure(loop.loop_count), sort: (loop) => loop.loop_count }, { header: "Burned", cell: (loop) => money(loop.cost_burned), sort: (loop) => loop.cost_burned },
    { header: "Kill", cell: (loop) => <><Badge word={loop.status} />{loop.kill_method ? <span className="hint"> {METHODS[loop.kill_method]}</span> : null}</> },
    { header: "Seen", cell: (loop) => <Since at={loop.detected_at} />, sort: (loop) => loop.detected_at }, { header: "Incident", cell: (loop) => <Link to={`/incidents/${seg(loop.id)}`}>open</Link> },
  ]} />}</Show>;
}

function NoiseStat({ unseen }: { unseen: Blind[] }) {
  const newest = useSql(SAMPLER);
  if (!newest.data) return <Stat label="Noise reduction" value={newest.isError ? "unknown" : "…"} hint={newest.error?.message} />;
  const run = sampling(newest.data.rows);
  const failed = unseen.find(({ job }) => job === "trace_sampler");
  if (!run) return <Stat label="Noise reduction" value={failed ? "unknown" : "–"} hint={failed ? failed.reason : "the sampler has not run"} />;
  return <Stat label="Noise reduction" value={run.dropped === null ? "–" : percent(run.dropped)} hint={<>{figure(run.kept)} of {count(run.seen, "trace")} kept, up to <Time at={run.end} />{failed ? <span className="gap"> since then unknown: {failed.reason}</span> : null}</>} />;
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
        <span className="hint"><Told>{incident.narrative_parts?.what_happened ?? incident.description}</Told></span>
        {incident.gaps.map((gap) => <Unknown key={gap.source} source={gap.source} reason={gap.reason} />)}
      </span>
      <span className="line-side"><span title={costName(incident.type)}>{money(incident.cost_usd)}{incident.type === "cost_spike" && incident.cost_usd !== null ? " above the usual" : ""}</span><Since at={incident.opened_at} /></span>
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

/** Said only when the record is not as it was written, or nobody can tell. */
function Record() {
  const verdict = useGet<AuditVerdict>("/api/v1/audit/verify", { still: true });
  if (verdict.isError) return <p className="gap"><strong>unknown: the record</strong> — {verdict.error.message}</p>;
  if (!verdict.data || verdict.data.verdict === "intact") return null;
  return <p className="gap" role="alert"><Badge word="broken" /> The record was changed: entry {verdict.data.seq} is not as it was written. <Link to={`/audit?seq=${verdict.data.seq ?? ""}`}>Look at it</Link></p>;
}

export function Dashboard() {
  const session = useSession();
  const incidents = useOpenIncidents();
  const ended = useIncidents({ status: "resolved", limit: 5 });
  const approvals = usePendingApprovals();
  const sources = useSources();
  const jobs = useJobs();
  if (incidents.listing.isError && !incidents.items) return <Failure error={incidents.listing.error} again={() => void incidents.listing.refetch()} />;
  if (!incidents.items) return <Loading what="incidents" />;
  const open = [...incidents.items].sort((a, b) => SEVERITY[a.severity] - SEVERITY[b.severity] || b.opened_at.localeCompare(a.opened_at));
  const resolved = ended.data?.pages.flatMap((page) => page.items) ?? [];
  const pending = approvals.items ?? [];
  const failing = down(sources.data?.items ?? []);
  const unseen = blind(jobs.data?.items ?? []);
  const looked = (jobs.data?.items ?? []).map((job: Job) => job.last_run?.finished_at ?? "").sort().at(-1);
  const foreign = sources.error instanceof ApiError && sources.error.status === 403;
  const most = incidents.whole ? "" : "+";
  return (
    <>
      <PageTitle>Dashboard</PageTitle>
      <p id="answer" className="answer" aria-live="polite">{answer({ open, whole: incidents.whole, pending: approvals.items ? pending.length : null, may: Boolean(session.data?.approver), down: failing, unseen: unseen.map(({ job }) => job), looked: Boolean(looked) || !jobs.data })}</p>
      <Record />
      {incidents.listing.isError ? <Failure error={incidents.listing.error} /> : null}
      {failing.length ? <div id="down">{failing.map((source) => <Unknown key={source.name} source={source.name} reason={`does not answer: ${source.last_failure ?? ""}`} />)}</div> : null}
      <Unseen blind={unseen} />
      <dl className="stats">
        <Stat label="Open incidents" value={`${figure(open.length)}${most}`} hint={open[0] ? `worst: ${open[0].severity}` : unseen.length || failing.length ? "none known" : "none"} tone={open.length ? "bad" : unseen.length || failing.length ? "warn" : "good"} />
        <CostStat unseen={unseen} />
        <LoopStat approvals={pending} unseen={unseen} />
        <Stat label="Pending approvals" value={approvals.items ? `${figure(pending.length)}${approvals.whole ? "" : "+"}` : approvals.listing.isError ? "unknown" : "…"} hint={approvals.listing.isError ? approvals.listing.error.message : undefined} tone={pending.length ? "warn" : undefined} />
        <NoiseStat unseen={unseen} />
      </dl>
      {pending.length ? <Card title="Decisions that wait">{pending.map((approval) => <DecisionBlock key={approval.id} approval={approval} />)}</Card> : null}
      <Card title="Incidents now">{open.length ? <ul className="lines">{open.map((incident) => <IncidentLine key={incident.id} incident={incident} />)}</ul> : <p className="empty">{unseen.length || failing.length ? "None known; see above what could not be looked at." : "None."}</p>}</Card>
      {open.some((incident) => incident.type === "agent_loop") ? <Card title="Loops of open incidents"><Loops /></Card> : null}
      <Card title="Sources">{foreign ? <p className="empty">Sources belong to the installation: a key of its own project sees them.</p> : <Show query={sources} what="sources">{(data) => <Health sources={data.items} />}</Show>}</Card>
      <div className="columns">
        <Card title="Recent incidents" action={<Link to="/incidents">All incidents</Link>}>{ended.isError ? <Failure error={ended.error} again={() => void ended.refetch()} /> : ended.isLoading ? <Loading /> : resolved.length ? <ul className="lines">{resolved.slice(0, 5).map((incident) => <IncidentLine key={incident.id} incident={incident} />)}</ul> : <p className="empty">No resolved incidents.</p>}</Card>
        <Card title="This week's digest"><LatestDigest /></Card>
        <Card title="What the sampler kept"><Sampler /></Card>
      </div>
    </>
  );
}
