// What led to what around an incident: the graph, and the same as a table. An edge says what the data says, and no more.
import { lazy, Suspense } from "react";
import { seg } from "../api/client";
import { useGet } from "../api/hooks";
import type { Graph } from "../api/types";
import { edgeRows } from "../lib/graph";
import { count, title } from "../lib/format";
import { Badge, Fold } from "./bits";
import { Empty, Loading, Show, Unknown } from "./states";
import { Table } from "./table";

const Drawing = lazy(() => import("./graph"));

/** A graph with its gaps, and its edges in words for whoever does not see it. */
export function GraphView({ graph, label, empty }: { graph: Graph; label: string; empty: string }) {
  return (
    <>
      {graph.gaps.map((gap) => <Unknown key={gap.source} source={gap.source} reason={gap.reason} />)}
      {graph.nodes.length ? <Suspense fallback={<Loading what="the graph" />}><Drawing graph={graph} label={label} /></Suspense>
        : <Empty>{graph.complete ? empty : "Nothing was found in what is known."}</Empty>}
      {graph.nodes.length ? <Fold summary={`In words: ${count(graph.edges.length, "edge")}`}>
        <Table label={`Edges: ${label}`} most={50} rows={edgeRows(graph)} rowKey={(row) => row.id} empty="Nothing is connected." columns={[
          { header: "From", cell: (row) => row.from, sort: (row) => row.from }, { header: "Edge", cell: (row) => <Badge word={row.kind} />, sort: (row) => row.kind },
          { header: "To", cell: (row) => row.to, sort: (row) => row.to }, { header: "What the data says", cell: (row) => row.label },
        ]} />
      </Fold> : null}
    </>
  );
}

export const causesPath = (incident: string) => `/api/v1/forensics/incident?incident_id=${seg(incident)}`;

export function Causes({ incident }: { incident: string }) {
  const graph = useGet<Graph>(causesPath(incident), { still: true });
  return <Show query={graph} what="commits, errors, traces and messages">{(data) => (
    <>
      <p className="hint">{(["commit", "error", "trace", "message"] as const).map((kind) => `${title(kind)}s: ${Number(data.metadata[`${kind}_count`] ?? 0)}`).join(", ")}. At most 25 of each are drawn. An edge says what the data says (after, overlaps, mentions, during), not that one caused the other.</p>
      <GraphView graph={data} label="What led to what around the incident" empty="Nothing happened in this window." />
    </>
  )}</Show>;
}
