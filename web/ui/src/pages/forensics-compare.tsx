// Two traces or two runs, side by side. The address holds both, so that it can be sent to somebody.
import { useState, type FormEvent } from "react";
import { useSearchParams } from "react-router";
import { seg } from "../api/client";
import { useGet } from "../api/hooks";
import { useRunUse, type RunUse } from "../api/run-use";
import type { Graph, RunDetail } from "../api/types";
import { Card, PageTitle } from "../components/bits";
import { Empty, Failure, Loading } from "../components/states";
import { Table } from "../components/table";
import { duration, figure, money } from "../lib/format";
import { differing, ofRun, ofTrace, type Side } from "../lib/graph";

type Kind = "trace" | "run";
type Why = { why?: string | null };

function Sides({ a, b, kind }: { a: Side & Why; b: Side & Why; kind: Kind }) {
  const took = (side: Side) => (side.seconds === null ? "unknown" : duration(side.seconds));
  const figures: [string, string, string][] = [
    [kind === "run" ? "Steps" : "Observations", figure(a.steps), figure(b.steps)], [kind === "run" ? "Signals" : "Errors and warnings", figure(a.errors), figure(b.errors)], ["Took", took(a), took(b)],
    ["Cost", money(a.cost), money(b.cost)], ["Tokens", figure(a.tokens), figure(b.tokens)],
  ];
  return (
    <>
      <Card title="In figures"><Table label="In figures" rows={figures} rowKey={([name]) => name} empty="" columns={[{ header: "What", cell: ([name]) => name }, { header: "A", cell: (row) => row[1] }, { header: "B", cell: (row) => row[2] }]} />
        {[a, b].map((side, index) => side.why ? <p key={index} className="gap">The cost of {"AB"[index]} is unknown: {side.why}.</p> : null)}</Card>
      <Card title="What happened, by name: what differs most first"><Table label="By name" most={50} rows={differing(a, b)} rowKey={(row) => row.name} empty="Nothing happened in either." columns={[
        { header: "Name", cell: (row) => row.name, sort: (row) => row.name }, { header: "A", cell: (row) => figure(row.a), sort: (row) => row.a }, { header: "B", cell: (row) => figure(row.b), sort: (row) => row.b },
        { header: "B minus A", cell: (row) => (row.b > row.a ? `+${figure(row.b - row.a)}` : figure(row.b - row.a)), sort: (row) => row.b - row.a },
      ]} /></Card>
    </>
  );
}

function Compared({ kind, a, b }: { kind: Kind; a: string; b: string }) {
  const path = (id: string) => (kind === "run" ? `/v1/runs/${seg(id)}` : `/api/v1/forensics/trace/${seg(id)}`);
  const [left, right] = [useGet<Graph | RunDetail>(path(a), { still: true }), useGet<Graph | RunDetail>(path(b), { still: true })];
  const used = [useRunUse(a, kind === "run"), useRunUse(b, kind === "run")] as const;
  const failed = [left, right].filter((query) => query.isError);
  if (failed.length) return <>{failed.map((query, index) => <Failure key={index} error={query.error} again={() => void query.refetch()} />)}</>;
  if (!left.data || !right.data) return <Loading what={`both ${kind}s`} />;
  const side = (data: Graph | RunDetail, use: RunUse): Side & Why => ("nodes" in data ? ofTrace(data) : { ...ofRun(data, { tokens: use.tokens, cost: use.cost }), why: use.why });
  const cut = [left.data, right.data].some((data) => "events_truncated" in data && data.events_truncated);
  return <>{cut ? <p className="gap">One of them has more events than are compared.</p> : null}<Sides a={side(left.data, used[0])} b={side(right.data, used[1])} kind={kind} /></>;
}

export default function Compare() {
  const [params, setParams] = useSearchParams();
  const kind: Kind = params.get("kind") === "run" ? "run" : "trace";
  const [a, b] = [params.get("a") ?? "", params.get("b") ?? ""];
  const [draft, setDraft] = useState({ kind, a, b });
  const submit = (event: FormEvent) => { event.preventDefault(); setParams({ kind: draft.kind, a: draft.a.trim(), b: draft.b.trim() }); };
  return (
    <>
      <PageTitle>Compare</PageTitle>
      <form className="toolbar" onSubmit={submit}>
        <label>What <select value={draft.kind} onChange={(event) => setDraft({ ...draft, kind: event.target.value as Kind })}><option value="trace">traces</option><option value="run">runs</option></select></label>
        <label>A <input value={draft.a} onChange={(event) => setDraft({ ...draft, a: event.target.value })} /></label>
        <label>B <input value={draft.b} onChange={(event) => setDraft({ ...draft, b: event.target.value })} /></label>
        <button type="submit" className="primary" disabled={!draft.a.trim() || !draft.b.trim()}>Compare</button>
      </form>
      {a && b ? <Compared key={`${kind} ${a} ${b}`} kind={kind} a={a} b={b} /> : <Empty>Name two of them by their ids.</Empty>}
    </>
  );
}
