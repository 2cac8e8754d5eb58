// Sessions of agents and developers, newest first.
import { Link } from "react-router";
import { seg } from "../api/client";
import { useSql, useListing } from "../api/hooks";
import { Badge, Card, PageTitle } from "../components/bits";
import type { Insight } from "../api/types";
import { Insights } from "../components/insights";
import { Failure, Loading, Show } from "../components/states";
import { More, Table } from "../components/table";
import { Since } from "../components/time";
import { Unseen, useBlind } from "../components/unseen";
import { figure } from "../lib/format";

const SESSIONS = "SELECT id, status, user_id, workspace_id, start_time, end_time, event_count, error_density FROM ingest.sessions ORDER BY start_time DESC LIMIT 200";

export default function Sessions() {
  const sessions = useSql(SESSIONS);
  const insights = useListing<Insight>("/v1/insights/recent");
  const unseen = useBlind(["session_processing", "session_monitoring"]);
  return (
    <>
      <PageTitle>Sessions</PageTitle>
      <Unseen blind={unseen} />
      <Card title="Newest first"><Show query={sessions} what="sessions">{(data) => <Table label="Sessions" rows={data.rows} rowKey={(row) => String(row.id)} empty="No session was sent yet (docs/sessions.md)." columns={[
        { header: "Session", cell: (row) => <Link to={`/sessions/${seg(String(row.id))}`}>{String(row.id)}</Link> }, { header: "Status", cell: (row) => <Badge word={String(row.status)} /> }, { header: "User", cell: (row) => String(row.user_id ?? "–") }, { header: "Workspace", cell: (row) => String(row.workspace_id ?? "–") },
        { header: "Started", cell: (row) => <Since at={row.start_time as string} />, sort: (row) => row.start_time as string }, { header: "Events", cell: (row) => figure(row.event_count as number), sort: (row) => row.event_count as number }, { header: "Errors per 100 events", cell: (row) => typeof row.error_density === "number" ? row.error_density.toFixed(1) : "–", sort: (row) => row.error_density as number },
      ]} />}</Show></Card>
      <Card title="Newest insights">{insights.isError ? <Failure error={insights.error} again={() => void insights.refetch()} /> : insights.isLoading ? <Loading what="insights" /> : <Insights insights={insights.data?.pages.flatMap((page) => page.items) ?? []} session />}<More listing={insights} /></Card>
    </>
  );
}
