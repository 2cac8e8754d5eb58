// All incidents, by what they are and how they stand. The filters are in the address.
import { Link, useSearchParams } from "react-router";
import { seg } from "../api/client";
import { useIncidents } from "../api/hooks";
import { Badge, Card, PageTitle, Tabs } from "../components/bits";
import { Failure, Loading } from "../components/states";
import { More, Table } from "../components/table";
import { Since } from "../components/time";
import { money, title } from "../lib/format";
import { SEVERITY } from "../lib/status";

export default function Incidents() {
  const [search, setSearch] = useSearchParams();
  const status = (search.get("status") ?? "all") as "all" | "open" | "resolved";
  const type = search.get("type") ?? "";
  const incidents = useIncidents({ status: status === "all" ? undefined : status, type: type || undefined });
  const set = (name: string, value: string) => setSearch((old) => { const next = new URLSearchParams(old); if (value) next.set(name, value); else next.delete(name); return next; }, { replace: true });
  const items = incidents.data?.pages.flatMap((page) => page.items) ?? [];
  const types = ["cost_spike", "agent_loop", "error_cascade", "prompt_drift", "silent_tool_failure"];
  const known = [...new Set([...types, ...items.map((incident) => incident.type), ...(type ? [type] : [])])];
  return (
    <>
      <PageTitle>Incidents</PageTitle>
      <div className="toolbar">
        <Tabs label="Status" tabs={["all", "open", "resolved"]} value={status} onChange={(tab) => set("status", tab === "all" ? "" : tab)} />
        <label>Type <select value={type} onChange={(event) => set("type", event.target.value)}><option value="">all</option>{known.map((name) => <option key={name} value={name}>{title(name)}</option>)}</select></label>
      </div>
      {incidents.isError ? <Failure error={incidents.error} again={() => void incidents.refetch()} /> : null}
      {incidents.isLoading ? <Loading what="incidents" /> : null}
      {incidents.data ? (
        <Card>
          <Table label="Incidents" rows={items} rowKey={(incident) => incident.id} empty="No incidents like that." columns={[
            { header: "Severity", cell: (incident) => <Badge word={incident.severity} />, sort: (incident) => SEVERITY[incident.severity] },
            { header: "Incident", cell: (incident) => <><Link to={`/incidents/${seg(incident.id)}`}>{title(incident.type)}: {incident.entity}</Link><br /><span className="hint">{incident.narrative_parts?.what_happened ?? incident.description}</span></>, sort: (incident) => incident.type },
            { header: "Status", cell: (incident) => <><Badge word={incident.status} />{incident.gaps.length ? <> <span className="gap">unknown: {incident.gaps.map((gap) => gap.source).join(", ")}</span></> : null}</>, sort: (incident) => incident.status },
            { header: "Cost", cell: (incident) => money(incident.cost_usd), sort: (incident) => incident.cost_usd },
            { header: "Opened", cell: (incident) => <Since at={incident.opened_at} />, sort: (incident) => incident.opened_at },
            { header: "Last seen", cell: (incident) => <Since at={incident.last_seen_at} />, sort: (incident) => incident.last_seen_at },
          ]} />
          <More listing={incidents} />
        </Card>
      ) : null}
    </>
  );
}
