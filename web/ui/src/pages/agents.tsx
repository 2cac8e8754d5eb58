// Agents by their judged runs.
import { useState } from "react";
import { Link } from "react-router";
import { seg } from "../api/client";
import { useGet } from "../api/hooks";
import type { Agent, Paging } from "../api/types";
import { Card, PageTitle } from "../components/bits";
import { Show } from "../components/states";
import { Table } from "../components/table";
import { Since, iso } from "../components/time";
import { figure, title } from "../lib/format";

export function Pager({ page, onTurn }: { page: Paging; onTurn: (offset: number) => void }) {
  if (page.offset === 0 && !page.has_more) return null;
  return <p className="toolbar"><button type="button" disabled={page.offset === 0} onClick={() => onTurn(Math.max(0, page.offset - page.limit))}>Newer</button><span>{page.offset + 1} to {Math.min(page.total, page.offset + page.limit)} of {figure(page.total)}</span><button type="button" disabled={!page.has_more} onClick={() => onTurn(page.offset + page.limit)}>Older</button></p>;
}

export function Sparkline({ values, label }: { values: number[]; label: string }) {
  const most = Math.max(1, ...values);
  return <svg className="spark" viewBox={`0 0 ${Math.max(1, values.length) * 6} 20`} role="img" aria-label={label} preserveAspectRatio="none">{values.map((value, index) => <rect key={index} x={index * 6} width={5} y={20 - (value / most) * 20} height={(value / most) * 20} fill="currentColor" />)}</svg>;
}

export default function Agents() {
  const [offset, setOffset] = useState(0);
  const agents = useGet<{ agents: Agent[]; page: Paging }>(`/v1/agents?limit=50&offset=${offset}`, { keep: true });
  return (
    <>
      <PageTitle>Agents</PageTitle>
      <Show query={agents} what="agents">{(data) => (
        <Card>
          <Table label="Agents" rows={data.agents} rowKey={(agent) => agent.agent_id} empty="No run was judged yet. Agents send their events to /v1/ingest (docs/ingest.md)." columns={[
            { header: "Agent", cell: (agent) => <Link to={`/agents/${seg(agent.agent_id)}`}>{agent.agent_id}</Link>, sort: (agent) => agent.agent_id }, { header: "Last seen", cell: (agent) => <Since at={iso(agent.last_seen)} />, sort: (agent) => agent.last_seen },
            { header: "Runs", cell: (agent) => figure(agent.run_count), sort: (agent) => agent.run_count }, { header: "Signals", cell: (agent) => figure(agent.signal_count), sort: (agent) => agent.signal_count }, { header: "Critical", cell: (agent) => figure(agent.critical_count), sort: (agent) => agent.critical_count }, { header: "High", cell: (agent) => figure(agent.high_count), sort: (agent) => agent.high_count },
            { header: "Trend", cell: (agent) => <Sparkline values={agent.sparkline} label={`Signals lately: ${agent.sparkline.join(", ")}`} /> }, { header: "Failures", cell: (agent) => Object.entries(agent.failure_types).sort((a, b) => b[1] - a[1]).slice(0, 3).map(([name, n]) => `${title(name.toLowerCase())} ${n}`).join(", ") || "none" },
          ]} />
          <Pager page={data.page} onTurn={setOffset} />
        </Card>
      )}</Show>
    </>
  );
}
