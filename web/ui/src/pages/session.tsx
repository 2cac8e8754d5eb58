// One session: its figures, events, error clusters, correlations, agents and insights.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { Link, useParams } from "react-router";
import { post, seg } from "../api/client";
import { useGet, useListing, useSession } from "../api/hooks";
import type { AgentSession, SessionEvent } from "../api/types";
import { Badge, Card, Facts, Fold, Json, PageTitle } from "../components/bits";
import { Failure, Loading, Show } from "../components/states";
import { More, RowsTable, Table } from "../components/table";
import { Time } from "../components/time";
import { figure } from "../lib/format";

function Rows({ title, path }: { title: string; path: string }) {
  const rows = useListing<Record<string, unknown>>(path);
  return <Card title={title}>{rows.isError ? <Failure error={rows.error} /> : rows.isLoading ? <Loading /> : <RowsTable label={title} rows={rows.data?.pages.flatMap((page) => page.items) ?? []} empty="None." />}<More listing={rows} /></Card>;
}

export default function SessionPage() {
  const { id = "" } = useParams();
  const base = `/v1/sessions/${seg(id)}`;
  const client = useQueryClient();
  const who = useSession();
  const session = useGet<AgentSession>(base);
  const events = useListing<SessionEvent>(`${base}/events`);
  const analyse = useMutation({ mutationFn: (mode: string) => post(`/api/v1/sessions/${seg(id)}/analyze?mode=${mode}`), onSettled: () => client.invalidateQueries({ queryKey: ["live"] }) });
  const may = who.data?.scopes.some((scope) => scope !== "read");
  return (
    <>
      <PageTitle side={<Link to="/sessions">All sessions</Link>}>Session {id}</PageTitle>
      <Show query={session} what="the session">{(data) => <Card title="The session"><Facts items={[["Status", <Badge word={data.status} />], ["User", data.user_id], ["Workspace", data.workspace_id], ["Started", <Time at={data.start_time} />], ["Ended", <Time at={data.end_time} />], ["Events", figure(data.event_count)], ["Agent activity", data.agent_activity_score.toFixed(2)], ["Human activity", data.human_activity_score.toFixed(2)], ["Error density", data.error_density.toFixed(3)]]} />
        {may ? <p className="decide"><button type="button" disabled={analyse.isPending} onClick={() => analyse.mutate("light")}>Analyse now</button><button type="button" disabled={analyse.isPending} onClick={() => analyse.mutate("deep")}>Analyse deeply</button></p> : null}{analyse.isError ? <Failure error={analyse.error} /> : null}
        {data.session_report ? <Fold summary="Report"><Json label="Report" value={data.session_report} /></Fold> : null}</Card>}</Show>
      <Rows title="Error clusters" path={`${base}/errors`} />
      <Rows title="Errors and the actions before them" path={`${base}/correlations`} />
      <Rows title="Performance of agents" path={`${base}/agent-performance`} />
      <Rows title="Insights" path={`/v1/insights/recent?session_id=${seg(id)}`} />
      <Card title="Events, in the order of time">{events.isError ? <Failure error={events.error} /> : events.isLoading ? <Loading /> : <Table label="Events" rows={events.data?.pages.flatMap((page) => page.items) ?? []} rowKey={(event) => event.id} empty="No events." columns={[{ header: "When", cell: (event) => <Time at={event.client_timestamp} /> }, { header: "Event", cell: (event) => event.event_type }, { header: "Source", cell: (event) => `${event.source_type}${event.source_name ? ` ${event.source_name}` : ""}` }, { header: "File", cell: (event) => event.file_path ?? "–" }, { header: "Message", cell: (event) => event.raw_message ?? <code className="wrap">{JSON.stringify(event.payload).slice(0, 200)}</code> }]} />}<More listing={events} /></Card>
    </>
  );
}
