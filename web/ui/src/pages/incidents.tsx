// All incidents, by what they are and how they stand. The filters are in the address.
import { Link, useSearchParams } from "react-router";
import { seg } from "../api/client";
import { useIncidents } from "../api/hooks";
import { Badge, Card, PageTitle, Tabs } from "../components/bits";
import { Failure, Loading } from "../components/states";
import { More, Table } from "../components/table";
import { Since, Told } from "../components/time";
import { DETECTORS, Unseen, useBlind } from "../components/unseen";
import { costName, money, title } from "../lib/format";
import { SEVERITY } from "../lib/status";

export default function Incidents() {
  const [search, setSearch] = useSearchParams();
  const status = (search.get("status") ?? "all") as "all" | "open" | "resolved";
  const type = search.get("type") ?? "";
  const incidents = useIncidents({ status: status === "all" ? undefined : status, type: type || undefined });
  const set = (name: string, value: string) => setSearch((old) => { const next = new URLSearchParams(old); if (value) next.set(name, value); else next.delete(name); return next; }, { replace: true });
  const items = incidents.data?.pages.flatMap((page) => page.items) ?? [];
  // Drift is looked for by two.
  const unseen = useBlind(!type ? [...DETECTORS, "drift_patrol"] : type === "prompt_drift" ? [type, "drift_patrol"] : [type]);
  const known = [...new Set([...DETECTORS, ...items.map((incident) => incident.type), ...(type ? [type] : [])])];
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
          <Unseen blind={unseen} />
          <Table label="Incidents" more={incidents.hasNextPage} rows={items} rowKey={(incident) => incident.id} empty={unseen.length ? "No incidents like that are known; see above what could not be looked at." : "No incidents like that."} columns={[
            { header: "Severity", cell: (incident) => <Badge word={incident.severity} />, sort: (incident) => -SEVERITY[incident.severity] },
            { header: "Incident", cell: (incident) => <><Link to={`/incidents/${seg(incident.id)}`}>{title(incident.type)}: {incident.entity}</Link><br /><span className="hint"><Told>{incident.narrative_parts?.what_happened ?? incident.description}</Told></span></>, sort: (incident) => incident.type },
            { header: "Status", cell: (incident) => <><Badge word={incident.status} />{incident.gaps.length ? <> <span className="gap">unknown: {incident.gaps.map((gap) => gap.source).join(", ")}</span></> : null}</>, sort: (incident) => incident.status },
            { header: "Cost", cell: (incident) => <span title={costName(incident.type)}>{money(incident.cost_usd)}{incident.type === "cost_spike" && incident.cost_usd !== null ? <span className="hint"> above the usual</span> : null}</span>, sort: (incident) => incident.cost_usd },
            { header: "Opened", cell: (incident) => <Since at={incident.opened_at} />, sort: (incident) => incident.opened_at },
            { header: "Last seen", cell: (incident) => <Since at={incident.last_seen_at} />, sort: (incident) => incident.last_seen_at },
          ]} />
          <More listing={incidents} />
        </Card>
      ) : null}
    </>
  );
}
