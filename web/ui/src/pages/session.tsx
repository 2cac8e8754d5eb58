// One session: what somebody should know of it first, then its errors and what came before them, its agents, its events.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import type { ReactNode } from "react";
import { Link } from "react-router";
import { useParams } from "../lib/seen";
import { post, seg } from "../api/client";
import { useGet, useListing } from "../api/hooks";
import type { AgentPerformance, AgentSession, Correlation, ErrorCluster, Insight, SessionEvent } from "../api/types";
import { Badge, Card, Facts, Fold, Json, PageTitle } from "../components/bits";
import { Insights } from "../components/insights";
import { Failure, Loading, Show } from "../components/states";
import { More, Table } from "../components/table";
import { Time } from "../components/time";
import { figure, percent, title } from "../lib/format";
import { useMay } from "../lib/may";

/** A listing in a card, with its states. */
function Part<T>({ heading, path, children }: { heading: string; path: string; children: (items: T[]) => ReactNode }) {
  const rows = useListing<T>(path);
  return <Card title={heading}>{rows.isError ? <Failure error={rows.error} again={() => void rows.refetch()} /> : rows.isLoading ? <Loading /> : children(rows.data?.pages.flatMap((page) => page.items) ?? [])}<More listing={rows} /></Card>;
}

const rate = (share: number | null) => (share === null ? "–" : percent(share));
const eventId = (id: string) => `event-${id}`;
const toEvent = (id: string, text: string) => <a href={`#${eventId(id)}`}>{text}</a>;

function Analyse({ id }: { id: string }) {
  const client = useQueryClient();
  const [ingest, operate] = [useMay("ingest"), useMay("operate")];
  const may = ingest.may || operate.may;
  const analyse = useMutation({ mutationFn: (mode: string) => post(`/api/v1/sessions/${seg(id)}/analyze?mode=${mode}`), onSettled: () => client.invalidateQueries({ queryKey: ["live"] }) });
  return (
    <>
      <p className="decide"><button type="button" disabled={!may || analyse.isPending} onClick={() => analyse.mutate("light")}>Analyse now</button><button type="button" disabled={!may || analyse.isPending} onClick={() => analyse.mutate("deep")}>Analyse deeply</button>
        {may || !operate.why ? null : <span className="hint">Analysing takes a key with the scope operate or ingest.</span>}{analyse.isSuccess ? <span role="status">Done.</span> : null}</p>
      {analyse.isError ? <Failure error={analyse.error} /> : null}
    </>
  );
}

export default function SessionPage() {
  const { id = "" } = useParams();
  const base = `/v1/sessions/${seg(id)}`;
  const session = useGet<AgentSession>(base);
  return (
    <>
      <PageTitle side={<Link to="/sessions">All sessions</Link>}>Session {id}</PageTitle>
      <Show query={session} what="the session">{(data) => (
        <Card title="The session">
          <Facts items={[["Status", <Badge word={data.status} />], ["User", data.user_id], ["Workspace", data.workspace_id], ["Started", <Time at={data.start_time} />], ["Ended", <Time at={data.end_time} />], ["Events", figure(data.event_count)],
            ["Of agents", figure(data.agent_activity_score)], ["Of people", figure(data.human_activity_score)], ["Errors per 100 events", data.error_density.toFixed(1)], ["Tags", data.tags.join(", ") || "none"]]} />
          <Analyse id={id} />
          {data.session_report ? <Fold summary="Report"><Json label="Report" value={data.session_report} /></Fold> : null}
        </Card>
      )}</Show>
      <Part<Insight> heading="Insights" path={`/v1/insights/recent?session_id=${seg(id)}`}>{(items) => <Insights insights={items} />}</Part>
      <Part<ErrorCluster> heading="Error clusters" path={`${base}/errors`}>{(items) => <Table label="Error clusters" rows={items} rowKey={(item) => item.id} empty="No errors." columns={[
        { header: "Kind", cell: (item) => title(item.error_type), sort: (item) => item.error_type }, { header: "Error, without what differs", cell: (item) => item.normalized_error },
        { header: "Times", cell: (item) => figure(item.occurrence_count), sort: (item) => item.occurrence_count }, { header: "Last seen", cell: (item) => <Time at={item.last_seen_at} />, sort: (item) => item.last_seen_at },
        { header: "First event", cell: (item) => toEvent(item.representative_event_id, "show") },
      ]} />}</Part>
      <Part<Correlation> heading="Errors and the actions before them" path={`${base}/correlations`}>{(items) => <Table label="Correlations" rows={items} rowKey={(item) => item.id} empty="No error follows an action." columns={[
        { header: "What", cell: (item) => title(item.correlation_type), sort: (item) => item.correlation_type }, { header: "By", cell: (item) => String(item.metadata.source_name ?? "–") }, { header: "File", cell: (item) => String(item.metadata.file ?? "–") },
        { header: "After", cell: (item) => `${figure(item.time_delta_ms)} ms`, sort: (item) => item.time_delta_ms }, { header: "Same file", cell: (item) => (item.file_match ? "yes" : "no") },
        { header: "How likely", cell: (item) => percent(item.confidence), sort: (item) => item.confidence }, { header: "Events", cell: (item) => <>{toEvent(item.cause_event_id, "action")} → {toEvent(item.effect_event_id, "error")}</> },
      ]} />}</Part>
      <Part<AgentPerformance> heading="Performance of agents" path={`${base}/agent-performance`}>{(items) => <Table label="Performance of agents" rows={items} rowKey={(item) => item.id} empty="No agent did anything." columns={[
        { header: "Agent", cell: (item) => item.agent_id, sort: (item) => item.agent_id }, { header: "Actions", cell: (item) => figure(item.total_actions), sort: (item) => item.total_actions }, { header: "Without an error", cell: (item) => rate(item.success_rate), sort: (item) => item.success_rate },
        { header: "Errors that followed", cell: (item) => `${figure(item.induced_error_count)} (${rate(item.induced_error_rate)})`, sort: (item) => item.induced_error_count }, { header: "Edited by a person after", cell: (item) => `${figure(item.override_count)} (${rate(item.override_rate)})`, sort: (item) => item.override_count },
        { header: "Flags", cell: (item) => item.regression_flags.map((flag) => title(flag)).join(", ") || "none" },
      ]} />}</Part>
      <Part<SessionEvent> heading="Events, in the order of time" path={`${base}/events`}>{(items) => <Table label="Events" rows={items} rowKey={(event) => event.id} rowProps={(event) => ({ id: eventId(event.id) })} empty="No events." columns={[
        { header: "When", cell: (event) => <Time at={event.client_timestamp} />, sort: (event) => event.client_timestamp }, { header: "Event", cell: (event) => title(event.event_type), sort: (event) => event.event_type }, { header: "Source", cell: (event) => `${event.source_type}${event.source_name ? ` ${event.source_name}` : ""}`, sort: (event) => event.source_type },
        { header: "File", cell: (event) => event.file_path ?? "–", sort: (event) => event.file_path }, { header: "Message", cell: (event) => event.raw_message ?? (Object.keys(event.payload).length ? <code className="wrap">{JSON.stringify(event.payload).slice(0, 200)}</code> : "–") },
      ]} />}</Part>
    </>
  );
}
