// What is read and whether it answers: a test sends one cheap request, as `tripline doctor` does.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { post, seg } from "../api/client";
import type { Source, SourceTest } from "../api/types";
import { Badge, Code } from "../components/bits";
import { Failure, Unknown } from "../components/states";
import { Table } from "../components/table";
import { Since } from "../components/time";
import { figure } from "../lib/format";
import { latency, Quota } from "../components/source";
import { useMayHere, Why } from "../lib/may";
import { down } from "../lib/status";

function Test({ source, may }: { source: Source; may: boolean }) {
  const client = useQueryClient();
  const test = useMutation({
    mutationFn: () => post<SourceTest>(`/api/v1/sources/${seg(source.name)}/test`),
    onSettled: () => client.invalidateQueries({ queryKey: ["sources"] }),
  });
  return (
    <>
      <button type="button" disabled={!may || test.isPending} aria-describedby={may ? undefined : "why-test"} onClick={() => test.mutate()} aria-label={`Test ${source.name}`}>{test.isPending ? "Asking…" : "Test"}</button>
      <span role="status">{test.data ? (test.data.ok
        ? <> <Badge word="ok" /> answers in {figure(test.data.latency_ms)} ms</>
        : <> <Badge word="failed" /> <span className="gap">{test.data.error}</span>{test.data.hint ? <><br /><span className="hint">{test.data.hint}</span></> : null}</>) : null}</span>
      {test.isError ? <Failure error={test.error} /> : null}
    </>
  );
}

export function SourcesPanel({ sources }: { sources: Source[] }) {
  const may = useMayHere("operate", "Testing a source");
  return (
    <>
      {down(sources).map((source) => <Unknown key={source.name} source={source.name} reason={source.last_failure} />)}
      <Table label="Sources" rows={sources} rowKey={(source) => source.name} empty="No sources." columns={[
        { header: "Source", cell: (source) => <><strong>{source.name}</strong><br /><span className="hint">{source.description}</span></>, sort: (source) => source.name },
        { header: "Status", cell: (source) => source.status === "configured" ? <Badge word="configured" /> : source.status, sort: (source) => source.status },
        { header: "Address", cell: (source) => source.base_url ? <Code>{source.base_url}</Code> : "–" },
        { header: "Tables", cell: (source) => source.tables.length, sort: (source) => source.tables.length },
        { header: "Last success", cell: (source) => <Since at={source.last_success_at} />, sort: (source) => source.last_success_at },
        { header: "Latency", cell: latency, sort: (source) => source.latency_ms },
        { header: "Left of its limit", cell: (source) => <Quota source={source} />, sort: (source) => source.limits?.remaining },
        { header: "Test", cell: (source) => <Test source={source} may={may.may} /> },
      ]} />
      <p className="hint">A test sends one cheap request and is on the record. Credentials are in the server's environment and shown nowhere. <Why id="why-test" may={may} /></p>
    </>
  );
}
