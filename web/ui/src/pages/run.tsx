// One run: its steps, and what was found in them.
import { Link } from "react-router";
import { useParams } from "../lib/seen";
import { seg } from "../api/client";
import { useGet } from "../api/hooks";
import { useRunUse } from "../api/run-use";
import type { RunDetail } from "../api/types";
import { Card, Facts, Fold, Json, PageTitle } from "../components/bits";
import { Show } from "../components/states";
import { Table } from "../components/table";
import { Time, iso } from "../components/time";
import { duration, figure, money } from "../lib/format";
import { clusters } from "../lib/graph";
import { SignalCard } from "./agent";

/** Tools that a run called again and again, one after the other. */
function Repeats({ names }: { names: string[] }) {
  const found = clusters(names).filter((cluster) => cluster.times > 1);
  return (
    <Card title="Loop clusters: calls of one tool in a row">
      <Table label="Loop clusters" rows={found} rowKey={(cluster) => String(cluster.from)} empty={names.length ? "No tool was called twice in a row." : "It called no tool."} most={20} columns={[
        { header: "Tool", cell: (cluster) => cluster.name, sort: (cluster) => cluster.name }, { header: "Times in a row", cell: (cluster) => figure(cluster.times), sort: (cluster) => cluster.times },
        { header: "Calls", cell: (cluster) => `${cluster.from + 1} to ${cluster.from + cluster.times} of ${names.length}` },
      ]} />
    </Card>
  );
}

export default function RunPage() {
  const { id = "" } = useParams();
  const run = useGet<RunDetail>(`/v1/runs/${seg(id)}`);
  const used = useRunUse(id);
  return (
    <>
      <PageTitle side={<Link to={`/forensics/compare?kind=run&a=${seg(id)}`}>Compare with another run</Link>}>Run {id}</PageTitle>
      <Show query={run} what="the run">{(data) => (
        <>
          <Card title="The run"><Facts items={[["Agent", <Link to={`/agents/${seg(data.agent_id)}`}>{data.agent_id}</Link>], ["Version", data.agent_version], ["Started", <Time at={iso(data.started_at)} />], ["Took", duration(data.completed_at - data.started_at)], ["Ended", data.exit_reason], ["Steps", data.step_count],
            ["Tokens", used.loading && used.tokens === null ? "…" : used.tokens === null ? "unknown" : `${figure(used.tokens)} (${figure(used.prompt)} asked, ${figure(used.completion)} answered)`],
            ["Cost", used.cost !== null ? money(used.cost) : used.loading ? "…" : <>unknown{used.why ? <span className="hint"> {used.why}</span> : null}</>],
            ["Trace", used.trace ? <Link to={`/forensics/traces/${seg(used.trace)}`}>{used.trace.slice(0, 16)}</Link> : "none"]]} /></Card>
          <Repeats names={data.events.filter((event) => event.event_type === "tool.called").map((event) => String((event.payload as { tool_name?: unknown } | null)?.tool_name ?? "unnamed"))} />
          <Card title="Signals">{data.signals.length ? data.signals.map((signal) => <SignalCard key={signal.id} signal={signal} />) : <p className="empty">Nothing was found in it.</p>}</Card>
          <Card title="Steps">
            {data.events_truncated ? <p className="gap">There are more events than are shown.</p> : null}
            <Table label="Steps" rows={data.events} empty="No events." most={200} columns={[{ header: "Step", cell: (event) => String(event.step_index ?? "–") }, { header: "When", cell: (event) => <Time at={iso(event.timestamp)} /> }, { header: "Event", cell: (event) => String(event.event_type) }, { header: "Payload", cell: (event) => <Fold summary={JSON.stringify(event.payload)?.slice(0, 80) ?? "–"}><Json label="Payload" value={event.payload} /></Fold> }]} />
          </Card>
        </>
      )}</Show>
    </>
  );
}
