// One run: its steps, and what was found in them.
import { Link, useParams } from "react-router";
import { seg } from "../api/client";
import { useGet } from "../api/hooks";
import type { RunDetail } from "../api/types";
import { Card, Facts, Fold, Json, PageTitle } from "../components/bits";
import { Show } from "../components/states";
import { Table } from "../components/table";
import { Time, iso } from "../components/time";
import { duration } from "../lib/format";
import { SignalCard } from "./agent";

export default function RunPage() {
  const { id = "" } = useParams();
  const run = useGet<RunDetail>(`/v1/runs/${seg(id)}`);
  return (
    <>
      <PageTitle side={<Link to={`/forensics/compare?kind=run&a=${seg(id)}`}>Compare with another run</Link>}>Run {id}</PageTitle>
      <Show query={run} what="the run">{(data) => (
        <>
          <Card title="The run"><Facts items={[["Agent", <Link to={`/agents/${seg(data.agent_id)}`}>{data.agent_id}</Link>], ["Version", data.agent_version], ["Started", <Time at={iso(data.started_at)} />], ["Took", duration(data.completed_at - data.started_at)], ["Ended", data.exit_reason], ["Steps", data.step_count]]} /></Card>
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
