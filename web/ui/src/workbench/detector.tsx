// A query becomes a detector: a header is put before it, it is tried over the last days, and only then it is saved.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useId, useState } from "react";
import { post, seg, write } from "../api/client";
import { Badge, Code, Pre } from "../components/bits";
import { Failure, Unknown } from "../components/states";
import { Table } from "../components/table";
import { Time } from "../components/time";
import { count } from "../lib/format";
import { useMayHere, Why } from "../lib/may";
import { placeholders, type ResultColumn } from "./run";

export type DryRun = {
  due: number; judged: number; fired: number; unknown: number; requests: number;
  findings: { severity: string; entity: string; description: string; window_start: string; window_end: string }[];
  gaps: { source: string; reason: string }[];
};

type Draft = { name: string; text: string; days: number };
type Form = { name: string; title: string; schedule: string; window: string; severity: string; entity: string; fingerprint: string; description: string; sources: string };

/** The file of a detector: its header, and the query as it is. */
export function detectorFile(form: Form, sql: string): string {
  const line = (key: string, value: string) => (value.trim() ? [`-- ${key}: ${value.trim().replaceAll(/\s+/g, " ")}`] : []);
  return [
    ...line("name", form.name), ...line("title", form.title), ...line("schedule", form.schedule), ...line("window", form.window), ...line("sources", form.sources),
    ...line("severity", form.severity), ...line("entity", form.entity), ...line("fingerprint", form.fingerprint), ...line("description", form.description), "-- action: none", "",
    sql.split("\n").filter((row) => !/^--\s*\w+:/.test(row)).join("\n").trim(), "",
  ].join("\n");
}

/** The sources that a query names. */
export const sourcesOf = (sql: string) => [...new Set([...sql.matchAll(/\b(?:from|join)\s+([a-z_]+)\.[a-z_]+/gi)].map((match) => (match[1] as string).toLowerCase()))].join(", ");

export function MakeDetector({ sql, columns }: { sql: string; columns: ResultColumn[] }) {
  const client = useQueryClient();
  const may = useMayHere("admin", "Saving a detector");
  const id = useId();
  const [days, setDays] = useState(3);
  const [form, setForm] = useState<Form>({ name: "", title: "", schedule: "0 0 * * * *", window: "1h", severity: "medium", entity: "", fingerprint: "", description: "", sources: "" });
  const entity = form.entity || (columns[0]?.name ?? "");
  const whole: Form = { ...form, entity, sources: form.sources || sourcesOf(sql), title: form.title || form.name, description: form.description || `{entity} was found by ${form.name || "this detector"}` };
  const text = detectorFile(whole, sql);
  const draft: Draft = { name: form.name.trim(), text, days };
  const trial = useMutation({ mutationFn: (tried: Draft) => post<DryRun>("/api/v1/detectors/dry-run", tried) });
  const save = useMutation({ mutationFn: (tried: Draft) => write("PUT", `/api/v1/detectors/${seg(tried.name)}`, { text: tried.text }), onSuccess: () => client.invalidateQueries({ queryKey: ["live"] }) });
  // A trial is of one text over some days, and says nothing of any other.
  const same = (other: Draft | undefined) => other !== undefined && other.name === draft.name && other.text === draft.text;
  const tried = same(trial.variables) && trial.variables?.days === days;
  const outcome = tried ? trial.data : undefined;
  const field = (name: keyof Form, label: string, hint: string) => (
    <label htmlFor={`${id}-${name}`}>{label}<input id={`${id}-${name}`} type="text" value={form[name]} placeholder={hint} onChange={(event) => { setForm({ ...form, [name]: event.target.value }); }} /></label>
  );
  const bound = placeholders(sql).some((name) => name === "window_start" || name === "window_end");
  return (
    <>
      <p className="hint">The query is run for each window; each row it answers with is a finding. It takes the window as <Code>$window_start</Code> and <Code>$window_end</Code>{bound ? "." : ", which this query does not use: it would find the same each time."}</p>
      <div className="form">
        {field("name", "Name", "costly_traces")}{field("title", "Title", form.name || "Costly traces")}{field("schedule", "Schedule", "0 0 * * * *")}{field("window", "Window", "1h")}
        <label htmlFor={`${id}-severity`}>Severity<select id={`${id}-severity`} value={form.severity} onChange={(event) => { setForm({ ...form, severity: event.target.value }); }}>{["info", "medium", "high", "critical", ...columns.map((column) => column.name)].map((word) => <option key={word} value={word}>{word}</option>)}</select></label>
        {field("entity", "Entity: a column", entity || "feature")}{field("fingerprint", "Fingerprint: columns", "as the entity")}{field("description", "Description", "{entity} cost {cost_usd:usd}")}{field("sources", "Sources", sourcesOf(sql) || "langfuse")}
      </div>
      <details><summary>The file</summary><Pre label="The detector's file">{text}</Pre></details>
      <div className="toolbar">
        <label>Dry run over the last <input className="short" type="number" min={1} max={30} value={days} onChange={(event) => setDays(Number(event.target.value) || 1)} /> days</label>
        <button type="button" disabled={!form.name.trim() || trial.isPending} onClick={() => trial.mutate(draft)}>{trial.isPending ? "Trying…" : "Dry run"}</button>
        <button type="button" className="primary" disabled={!outcome || !may.may || save.isPending} onClick={() => save.mutate(draft)}>Save as a detector</button>
        <Why may={may} />
      </div>
      {trial.isError && tried ? <Failure error={trial.error} /> : null}
      {trial.data && !tried ? <p className="hint" role="status">The dry run was of another query, form or number of days: what this one would find is not known before it is tried.</p> : null}
      {outcome ? (
        <div role="status">
          <p><Badge word={outcome.fired ? "high" : "ok"} /> {outcome.fired} of the last {count(outcome.judged, "run")} would fire{outcome.judged < outcome.due ? ` (${outcome.judged} of ${outcome.due} due ones were tried)` : ""}, with {count(outcome.requests, "request")}.{outcome.unknown ? <span className="gap"> {count(outcome.unknown, "run")} unknown.</span> : null}</p>
          {outcome.gaps.map((gap) => <Unknown key={gap.source + gap.reason} source={gap.source} reason={gap.reason} />)}
          <Table label="What would have been found" rows={outcome.findings} empty="Nothing would have been found." most={20} columns={[
            { header: "Window", cell: (finding) => <><Time at={finding.window_start} /> to <Time at={finding.window_end} /></> }, { header: "Severity", cell: (finding) => <Badge word={finding.severity} /> }, { header: "Entity", cell: (finding) => finding.entity }, { header: "Description", cell: (finding) => finding.description },
          ]} />
        </div>
      ) : null}
      {save.isError && same(save.variables) ? <Failure error={save.error} /> : null}
      {save.isSuccess && same(save.variables) ? <p role="status">Saved as queries/detectors/{save.variables.name}.sql; it runs by its schedule from now on.</p> : null}
    </>
  );
}
