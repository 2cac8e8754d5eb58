// Where to begin looking: the dearest traces of a week, one trace by its id, two of them side by side.
import { useState, type FormEvent } from "react";
import { Link, useNavigate } from "react-router";
import { seg } from "../api/client";
import { useGet, useIncidents } from "../api/hooks";
import type { WorstTrace } from "../api/types";
import { Card, Code, PageTitle } from "../components/bits";
import { Failure, Loading, Show } from "../components/states";
import { Table } from "../components/table";
import { Since } from "../components/time";
import { figure, money, title } from "../lib/format";

function Find() {
  const [id, setId] = useState("");
  const go = useNavigate();
  const submit = (event: FormEvent) => { event.preventDefault(); if (id.trim()) void go(`/forensics/traces/${seg(id.trim())}`); };
  return <form className="toolbar" onSubmit={submit}><label>Trace <input value={id} onChange={(event) => setId(event.target.value)} placeholder="its id" /></label><button type="submit" disabled={!id.trim()}>Open</button><Link to="/forensics/compare">Compare two</Link></form>;
}

export default function Forensics() {
  const worst = useGet<{ items: WorstTrace[] }>("/api/v1/forensics/worst-traces?limit=25", { still: true });
  const incidents = useIncidents({ limit: 10 });
  const recent = incidents.data?.pages.flatMap((page) => page.items).slice(0, 10) ?? [];
  return (
    <>
      <PageTitle>Forensics</PageTitle>
      <Find />
      <Card title="Worst traces: the dearest of seven days">
        <Show query={worst} what="traces">{(data) => <Table label="Worst traces" rows={data.items} rowKey={(trace) => trace.trace_id} empty="No traces in seven days." columns={[
          { header: "Trace", cell: (trace) => <Link to={`/forensics/traces/${seg(trace.trace_id)}`}><Code>{trace.trace_id.slice(0, 16)}</Code></Link>, sort: (trace) => trace.trace_id },
          { header: "Cost", cell: (trace) => money(trace.total_cost), sort: (trace) => trace.total_cost },
          { header: "Observations", cell: (trace) => figure(trace.observation_count), sort: (trace) => trace.observation_count },
          { header: "Errors and warnings", cell: (trace) => figure(trace.error_count), sort: (trace) => trace.error_count },
          { header: "Began", cell: (trace) => <Since at={trace.started_at} />, sort: (trace) => trace.started_at },
          { header: "Compare", cell: (trace) => <Link to={`/forensics/compare?kind=trace&a=${seg(trace.trace_id)}`}>Compare</Link> },
        ]} />}</Show>
      </Card>
      <Card title="What led to what, by incident">
        {incidents.isError ? <Failure error={incidents.error} again={() => void incidents.refetch()} /> : incidents.isLoading ? <Loading what="incidents" /> : (
          <Table label="Incidents" rows={recent} rowKey={(incident) => incident.id} empty="No incidents." columns={[
            { header: "Incident", cell: (incident) => <Link to={`/forensics/incidents/${seg(incident.id)}`}>{title(incident.type)}: {incident.entity}</Link> },
            { header: "Opened", cell: (incident) => <Since at={incident.opened_at} />, sort: (incident) => incident.opened_at },
          ]} />
        )}
      </Card>
    </>
  );
}
