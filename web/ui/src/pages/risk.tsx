// Which changes were followed by trouble: scores of pull requests, and the history they rest on.
import { useState, type FormEvent } from "react";
import { Link, useNavigate } from "react-router";
import { withParams } from "../api/client";
import { useGet, useSql } from "../api/hooks";
import type { FileRisk } from "../api/types";
import { Badge, Card, Code, PageTitle } from "../components/bits";
import { Show } from "../components/states";
import { Table } from "../components/table";
import { Since, Time } from "../components/time";
import { Unseen, useBlind } from "../components/unseen";
import { money } from "../lib/format";

const SCORES = "SELECT repository, number, score, complete, scored_at FROM agent.risk_scores ORDER BY scored_at DESC LIMIT 50";
type Scored = { repository: string; number: number; score: number; complete: boolean; scored_at: string };

function Ask() {
  const [number, setNumber] = useState("");
  const go = useNavigate();
  const fits = /^[1-9]\d{0,8}$/.test(number.trim());
  const submit = (event: FormEvent) => { event.preventDefault(); if (fits) void go(`/risk/${number.trim()}`); };
  return <form className="toolbar" onSubmit={submit}><label>Pull request <input inputMode="numeric" value={number} onChange={(event) => setNumber(event.target.value)} placeholder="its number" /></label><button type="submit" disabled={!fits}>Score it</button></form>;
}

function History() {
  const [draft, setDraft] = useState("");
  const [file, setFile] = useState("");
  const unseen = useBlind(["risk_history"]);
  const history = useGet<{ items: FileRisk[] }>(withParams("/api/v1/risk/history", { file, limit: 200 }), { keep: true });
  return (
    <>
      <form className="toolbar" onSubmit={(event) => { event.preventDefault(); setFile(draft.trim()); }}><label>File <input value={draft} onChange={(event) => setDraft(event.target.value)} placeholder="its whole path" /></label><button type="submit">Show</button></form>
      <Unseen blind={unseen} />
      <Show query={history} what="the history">{(data) => <Table label="History of files" most={50} rows={data.items} rowKey={(row) => `${row.commit_sha} ${row.file_path}`} empty={file ? "Nothing is measured of this file." : unseen.length ? "Nothing is measured where it could be." : "Nothing is measured yet: the job risk_history does it, a day after each commit."} columns={[
        { header: "File", cell: (row) => <button type="button" className="link" onClick={() => { setDraft(row.file_path); setFile(row.file_path); }}>{row.file_path}</button>, sort: (row) => row.file_path },
        { header: "Commit", cell: (row) => <Code>{row.commit_sha.slice(0, 8)}</Code> }, { header: "Landed", cell: (row) => <Time at={row.change_date} />, sort: (row) => row.change_date },
        { header: "Cost, day after minus day before", cell: (row) => money(row.cost_delta), sort: (row) => row.cost_delta }, { header: "New errors, likewise", cell: (row) => row.error_delta, sort: (row) => row.error_delta },
        { header: "Score", cell: (row) => row.risk_score, sort: (row) => row.risk_score },
      ]} />}</Show>
    </>
  );
}

export default function Risk() {
  const scores = useSql(SCORES);
  const unseen = useBlind(["pr_risk"]);
  return (
    <>
      <PageTitle>Risk</PageTitle>
      <Ask />
      <Card title="Pull requests, scored last first">
        <Unseen blind={unseen} />
        <Show query={scores} what="scores">{(data) => <Table label="Scores" rows={data.rows as Scored[]} rowKey={(row) => `${row.repository} ${row.number}`} empty="No pull request was scored yet." columns={[
          { header: "Pull request", cell: (row) => <Link to={`/risk/${row.number}`}>{row.repository} #{row.number}</Link>, sort: (row) => row.number },
          { header: "Score", cell: (row) => <>{row.score}{row.complete ? "" : <> <Badge word="partial" /></>}</>, sort: (row) => row.score },
          { header: "Scored", cell: (row) => <Since at={row.scored_at} />, sort: (row) => row.scored_at },
        ]} />}</Show>
      </Card>
      <Card title="What followed when files were changed"><History /></Card>
    </>
  );
}
