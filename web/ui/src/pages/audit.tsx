// The record: each entry carries the hash of the one before, and anybody can have the chain verified.
import { useState } from "react";
import { Link, useSearchParams } from "react-router";
import { useAudit, useAuditVerdict } from "../api/hooks";
import { Badge, Card, Code, PageTitle } from "../components/bits";
import { Show } from "../components/states";
import { Table } from "../components/table";
import { Time } from "../components/time";
import { count } from "../lib/format";

const SUBJECTS: Record<string, string> = { incident: "/incidents/", approval: "/approvals/", job: "/jobs/" };

export default function Audit() {
  const [search, setSearch] = useSearchParams();
  const seq = Number(search.get("seq")) || undefined;
  const [before, setBefore] = useState<number | undefined>(seq ? seq + 1 : undefined);
  const [event, setEvent] = useState("");
  const audit = useAudit({ before_seq: before, event: event.trim() || undefined, limit: 100 });
  const verdict = useAuditVerdict();
  return (
    <>
      <PageTitle>Audit</PageTitle>
      <Card title="The chain" action={<button type="button" disabled={verdict.isFetching} onClick={() => void verdict.refetch()}>Verify again</button>}>
        <Show query={verdict}>{(data) => data.verdict === "intact"
          ? <p><Badge word="intact" /> {count(data.rows ?? 0, "entry", "entries")}, the last is number {data.head?.seq} with hash <Code>{data.head?.hash}</Code>.</p>
          : <p className="gap"><Badge word="broken" /> entry {data.seq} is not as it was written: {data.reason}</p>}</Show>
      </Card>
      <div className="toolbar"><label>Event <input type="text" value={event} placeholder="such as approval.approved" onChange={(change) => { setEvent(change.target.value); setBefore(undefined); }} /></label>
        {before ? <button type="button" onClick={() => { setBefore(undefined); setSearch({}, { replace: true }); }}>Newest</button> : null}</div>
      <Show query={audit} what="the record">{(data) => (
        <>
          <Table label="The record" rows={data.items} empty="No entries like that." rowKey={(entry) => String(entry.seq)} rowProps={(entry) => (entry.seq === seq ? { className: "marked" } : {})} columns={[
            { header: "No.", cell: (entry) => entry.seq === seq ? <strong>{entry.seq}</strong> : entry.seq }, { header: "When", cell: (entry) => <Time at={entry.at} /> }, { header: "Event", cell: (entry) => entry.event },
            { header: "By", cell: (entry) => entry.actor },
            { header: "About", cell: (entry) => { const to = SUBJECTS[entry.subject_type]; return to ? <Link to={`${to}${encodeURIComponent(entry.subject_id)}`}>{entry.subject_type}</Link> : <>{entry.subject_type} <Code>{entry.subject_id}</Code></>; } },
            { header: "Detail", cell: (entry) => <code className="wrap">{JSON.stringify(entry.detail)}</code> }, { header: "Hash", cell: (entry) => <Code>{entry.hash.slice(0, 12)}…</Code> },
          ]} />
          {data.next_before_seq ? <p><button type="button" onClick={() => setBefore(data.next_before_seq)}>Older</button></p> : null}
        </>
      )}</Show>
    </>
  );
}
