// One trace: who called whom, what it cost, what failed, what it repeats.
import { Link } from "react-router";
import { useParams } from "../lib/seen";
import { seg } from "../api/client";
import { useGet } from "../api/hooks";
import type { Fingerprint, Graph } from "../api/types";
import { Badge, Card, Facts, PageTitle } from "../components/bits";
import { GraphView } from "../components/causes";
import { Show } from "../components/states";
import { Table } from "../components/table";
import { Time } from "../components/time";
import { count, duration, figure, money } from "../lib/format";
import { ofTrace, words } from "../lib/graph";

const known = (value: unknown) => (typeof value === "number" ? value : null);

export default function ForensicsTrace() {
  const { id = "" } = useParams();
  const trace = useGet<Graph>(`/api/v1/forensics/trace/${seg(id)}`, { still: true });
  const print = useGet<Fingerprint>(`/api/v1/loops/${seg(id)}/fingerprint`, { still: true, enabled: trace.isSuccess });
  return (
    <>
      <PageTitle side={<Link to={`/forensics/compare?kind=trace&a=${seg(id)}`}>Compare with another trace</Link>}>Trace {id}</PageTitle>
      <Show query={trace} what="the trace">{(data) => {
        const side = ofTrace(data);
        return (
          <>
            <Card title="The trace"><Facts items={[["Observations", figure(side.steps)], ["Cost", money(side.cost)], ["Tokens", figure(side.tokens)], ["Took", side.seconds === null ? "unknown" : duration(side.seconds)], ["Errors and warnings", figure(side.errors)]]} /></Card>
            <Card title="Who called whom"><GraphView graph={data} label={`Observations of trace ${id}`} empty="No observations." /></Card>
            <Card title="What it repeats"><Show query={print}>{(data) => (
              <>
                <p>{data.pattern ? <>Most of all <strong>{data.pattern}</strong>, at {money(data.cost_velocity_per_min)} a minute.</> : "Nothing."}</p>
                <Table label="Names and how often" most={20} rows={Object.entries(data.name_histogram).sort((a, b) => b[1] - a[1])} rowKey={([name]) => name} empty="No names." columns={[{ header: "Name", cell: ([name]) => name, sort: ([name]) => name }, { header: "Times", cell: ([, n]) => figure(n), sort: ([, n]) => n }]} />
              </>
            )}</Show></Card>
            <Card title="Observations, in order">
              <Table label="Observations" most={100} rows={data.nodes} rowKey={(node) => node.id} empty="None." columns={[
                { header: "Began", cell: (node) => node.data.started_at ? <Time at={words(node.data.started_at)} /> : "unknown", sort: (node) => words(node.data.started_at) },
                { header: "Type", cell: (node) => <>{node.type}{node.data.parent_missing === true ? <span className="gap"> its parent is missing</span> : null}</>, sort: (node) => node.type },
                { header: "Name", cell: (node) => words(node.data.label), sort: (node) => words(node.data.label) }, { header: "Model", cell: (node) => words(node.data.model) || "–" },
                { header: "Tokens", cell: (node) => figure(known(node.data.tokens)), sort: (node) => known(node.data.tokens) }, { header: "Cost", cell: (node) => money(known(node.data.cost_usd)), sort: (node) => known(node.data.cost_usd) },
                { header: "Level", cell: (node) => node.data.is_error === true ? <><Badge word={words(node.data.level).toLowerCase()} /> {words(node.data.status_message)}</> : words(node.data.level).toLowerCase() },
              ]} />
              <p className="hint">{count(data.edges.length, "call")} between them.</p>
            </Card>
          </>
        );
      }}</Show>
    </>
  );
}
