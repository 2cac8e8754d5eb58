// One incident, narrative first; every claim that can be checked links to the row it rests on.
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link, useLocation } from "react-router";
import { useParams } from "../lib/seen";
import { get, seg } from "../api/client";
import { useAudit, useIncident } from "../api/hooks";
import type { Anomaly, Evidence, IncidentDetail } from "../api/types";
import { Done } from "../components/actions";
import { Badge, Card, Code, External, Facts, Fold, Json, PageTitle, Pre } from "../components/bits";
import { DecisionBlock } from "../components/decide";
import { Causes, causesPath } from "../components/causes";
import { Feedback } from "../components/feedback";
import { Empty, Failure, Show, Unknown } from "../components/states";
import { Table } from "../components/table";
import { Moment, Since, Time, Told, Value } from "../components/time";
import { claims, findingId, rowId, suspectId, targetId, targetName, targetOf, type Part, type Target } from "../lib/claims";
import { costName, count, money, title, utc, zone } from "../lib/format";
import { usePrinting } from "../lib/print";
import { workbench } from "../lib/workbench";

const PARTS = [["what_happened", "What happened"], ["likely_cause", "Likely cause"], ["impact", "Impact"], ["recommended_action", "Do now"]] as const;
const SHOWN = 50;
/** A time that is linked as a claim. */
const TIME = /^\d{4}-\d\d-\d\d \d\d:\d\d$/;

function Claims({ part, incident, open }: { part: Part; incident: IncidentDetail; open: (target: Target) => void }) {
  const sources = { evidence: incident.evidence, anomalies: incident.anomalies, suspects: incident.suspects ?? [] };
  const told = incident.narrative_parts;
  return <>{claims(told?.[part] ?? "", sources, part, told?.what_happened).map(({ text, target }, index, all) => target
    ? <a key={index} className="claim" href={`#${targetId(target)}`} title={`${targetName(target)}${TIME.test(text) ? `: ${text} UTC` : ""}`} onClick={(event) => { event.preventDefault(); open(target); }}>{TIME.test(text) ? <Moment>{`${text} UTC`}</Moment> : text}</a>
    // The zone of a time that is a link stands in what follows it.
    : <Told key={index}>{TIME.test(all[index - 1]?.text ?? "") ? text.replace(/^ UTC/, "") : text}</Told>)}</>;
}

/** What the detector saw, figure by figure. */
function Finding({ anomaly, field }: { anomaly: Anomaly; field?: string }) {
  const seen = (anomaly.evidence ?? {}) as Record<string, unknown>;
  if (typeof seen !== "object" || !Object.keys(seen).length) return <Empty>The detector left no figures.</Empty>;
  return (
    <div className="scroll" tabIndex={0} role="group" aria-label="What the detector saw"><table>
      <thead><tr><th scope="col">Figure</th><th scope="col">As the detector saw it</th></tr></thead>
      <tbody>{Object.entries(seen).map(([name, value]) => <tr key={name} id={findingId(anomaly.id, name)} className={name === field ? "marked" : undefined}><td>{name}</td><td>{typeof value === "object" && value !== null ? <Json label={name} value={value} /> : <Value of={value} />}</td></tr>)}</tbody>
    </table></div>
  );
}

function EvidenceTable({ item, at }: { item: Evidence; at?: number }) {
  const [all, setAll] = useState(false);
  const printing = usePrinting();
  const limit = all || printing ? item.rows.length : Math.max(SHOWN, (at ?? -1) + 1);
  const rows = item.rows.slice(0, limit);
  const names = [...new Set(item.rows.flatMap((row) => Object.keys(row)))];
  if (!item.rows.length) return <Empty>{item.status === "unknown" ? "Unknown: the source did not answer." : "The source answered: nothing."}</Empty>;
  return (
    <>
      <div className="scroll tall" tabIndex={0} role="group" aria-label={`Rows of ${item.name}`}>
        <table>
          <thead><tr>{names.map((name) => <th key={name} scope="col">{name}</th>)}</tr></thead>
          <tbody>{rows.map((row, index) => <tr key={index} id={rowId(item.name, index)} className={index === at ? "marked" : undefined}>{names.map((name) => <td key={name}><Value of={row[name]} /></td>)}</tr>)}</tbody>
        </table>
      </div>
      {limit < item.rows.length ? <p className="noprint"><button type="button" onClick={() => setAll(true)}>Show all {count(item.rows.length, "row")}</button></p> : null}
    </>
  );
}

/** Why there are no rows: nobody configured the source, or it did not answer. */
function NotKnown({ item }: { item: Evidence }) {
  const missing = /^not configured:.*?(?:Hint: (set [A-Z0-9_, ]+))?$/s.exec(item.error ?? "");
  return missing ? <span className="hint">not asked: {item.sources.join(", ")} is not configured{missing[1] ? ` (${missing[1]})` : ""}</span> : <span className="gap">unknown: {item.error ?? "the source did not answer"}</span>;
}

/** Unfolded by hand, or because all of it is printed. */
const useUnfolded = (opened: Set<string>) => { const printing = usePrinting(); return { printing, isOpen: (name: string) => printing || opened.has(name) }; };

function Evidences({ incident, marked, opened, toggle }: { incident: IncidentDetail; marked: Target | null; opened: Set<string>; toggle: (name: string, open: boolean) => void }) {
  const { printing, isOpen } = useUnfolded(opened);
  if (!incident.evidence.length) return <Empty>No evidence was gathered yet.</Empty>;
  return (
    <>
      {incident.evidence.map((item) => (
        <details key={item.name} id={`evidence-${item.name}`} open={isOpen(item.name)} onToggle={(event) => { if (!printing) toggle(item.name, event.currentTarget.open); }}>
          <summary><strong>{item.name}</strong> ({item.sources.join(", ")}): {item.status === "unknown" ? <NotKnown item={item} /> : <>{count(item.row_count, "row")}{item.truncated ? ", not all" : ""}</>}</summary>
          {isOpen(item.name) ? (
            <div className="fold">
              {item.error && item.status !== "unknown" ? <p className="gap">{item.error}</p> : null}
              <EvidenceTable item={item} at={marked?.kind === "row" && marked.evidence === item.name ? marked.row : undefined} />
              <Fold summary="The SQL that made it"><Pre label="SQL">{item.sql}</Pre><Json label="Parameters" value={item.params} /></Fold>
              <p className="noprint"><Link to={workbench({ sql: item.sql, params: item.params as Record<string, unknown> })}>Open in workbench</Link></p>
            </div>
          ) : null}
        </details>
      ))}
    </>
  );
}

function Record({ id }: { id: string }) {
  const audit = useAudit({ subject_id: id, limit: 100 });
  return <Show query={audit}>{(data) => <Table label="Entries of the record" rows={data.items} empty="No entries." rowKey={(entry) => String(entry.seq)} columns={[
    { header: "No.", cell: (entry) => <Link to={`/audit?seq=${entry.seq}`}>{entry.seq}</Link> }, { header: "When", cell: (entry) => <Time at={entry.at} /> },
    { header: "Event", cell: (entry) => entry.event }, { header: "By", cell: (entry) => entry.actor }, { header: "Detail", cell: (entry) => <code className="wrap">{JSON.stringify(entry.detail)}</code> },
  ]} />}</Show>;
}

function View({ incident }: { incident: IncidentDetail }) {
  const [marked, setMarked] = useState<Target | null>(null);
  const [opened, setOpened] = useState<Set<string>>(new Set());
  const [drawn, setDrawn] = useState(false);
  const toggle = (name: string, open: boolean) => setOpened((old) => { const next = new Set(old); if (open) next.add(name); else next.delete(name); return next; });
  const bring = (id: string) => requestAnimationFrame(() => requestAnimationFrame(() => {
    const row = document.getElementById(id);
    row?.scrollIntoView({ block: "center" });
    row?.setAttribute("tabindex", "-1");
    row?.focus({ preventScroll: true });
  }));
  const jump = (target: Target) => {
    if (target.kind === "row") toggle(target.evidence, true);
    if (target.kind === "finding") toggle(`finding ${target.anomaly}`, true);
    setMarked(target);
    // The address is one that can be sent to somebody; going back still leaves the page.
    window.history.replaceState(window.history.state, "", `#${targetId(target)}`);
    bring(targetId(target));
  };
  const { hash } = useLocation();
  useEffect(() => {
    const target = hash ? targetOf(hash, { evidence: incident.evidence, anomalies: incident.anomalies, suspects: incident.suspects ?? [] }) : undefined;
    if (target?.kind === "evidence") { toggle(target.evidence, true); bring(`evidence-${target.evidence}`); }
    else if (target) jump(target);
    // Only where the page was opened at: what is pressed afterwards goes there by itself.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [hash]);
  const client = useQueryClient();
  const { printing, isOpen } = useUnfolded(opened);
  const [preparing, setPreparing] = useState(false);
  // What is asked of sources is drawn before, if they answer; what is folded unfolds by itself.
  const print = async () => {
    setDrawn(true);
    setPreparing(true);
    const path = causesPath(incident.id);
    await client.prefetchQuery({ queryKey: ["still", path], queryFn: ({ signal }) => get(path, signal) });
    setPreparing(false);
    setTimeout(() => window.print(), 500);
  };
  const parts = incident.narrative_parts;
  const suspects = incident.suspects ?? [];
  const culprit = suspects.find((suspect) => suspect.sha && suspect.sha === incident.culprit_sha);
  const pending = incident.approvals.filter((approval) => approval.status === "pending");
  const remediations = incident.actions.filter((action) => action.kind === "remediation");
  return (
    <>
      <PageTitle side={<><Badge word={incident.severity} /> <Badge word={incident.status} /></>}>{title(incident.type)}: {incident.entity}</PageTitle>
      <p className="hint">Opened <Since at={incident.opened_at} />, seen in {count(incident.occurrences, "window")}{incident.reopened_count ? `, reopened ${incident.reopened_count}×` : ""}, narrated by {incident.narrator ?? "nobody yet"}.
        {" "}<button type="button" className="link noprint" disabled={preparing} onClick={() => void print()}>{preparing ? "Preparing…" : "Print"}</button>
        {printing ? ` Printed ${utc(new Date().toISOString())}; times are of ${zone()}.` : ""}</p>
      {incident.gaps.map((gap) => <Unknown key={gap.source} source={gap.source} reason={gap.reason} />)}
      <Card title="What this is">
        {parts
          ? <dl className="narrative">{PARTS.filter(([name]) => parts[name]).map(([name, label]) => <div key={name}><dt>{label}</dt><dd><Claims part={name} incident={incident} open={jump} /></dd></div>)}</dl>
          : <p className="narrative"><Told>{incident.narrative ?? `${incident.description}. It is being investigated.`}</Told></p>}
        <Facts items={[
          [costName(incident.type), money(incident.cost_usd)],
          ["Culprit", incident.culprit_sha ? <External address={culprit?.url}><Code>{incident.culprit_sha.slice(0, 8)}</Code></External> : incident.gaps.some((gap) => gap.source === "github") ? "unknown (commits could not be read)" : "none found"],
          ["Window", <><Time at={incident.window.start} /> to <Time at={incident.window.end} /></>],
          ["Last seen", <Since at={incident.last_seen_at} />],
          ...(incident.resolved_at ? [["Resolved", <Time at={incident.resolved_at} />] as [string, React.ReactNode]] : []),
          ...(incident.github_issue_url ? [["Issue", <External address={incident.github_issue_url}>{incident.github_issue_url}</External>] as [string, React.ReactNode]] : []),
        ]} />
        <Feedback incident={incident.id} given={incident.feedback} />
      </Card>
      <Card title="Decisions and actions">
        {pending.map((approval) => <DecisionBlock key={approval.id} approval={approval} />)}
        <Done approvals={incident.approvals} actions={remediations} />
        {!incident.approvals.length && !incident.actions.length ? <Empty>Nothing was asked and nothing was done.</Empty> : null}
        <Fold summary="All actions, messages included"><Done approvals={[]} actions={incident.actions} /></Fold>
        <Fold summary="What the record says"><Record id={incident.id} /></Fold>
      </Card>
      <Card title="Suspects, most likely first">
        <Table label="Suspects" most={marked?.kind === "suspect" ? Math.max(5, marked.index + 1) : 5} rows={suspects} rowProps={(_, index) => ({ id: suspectId(index), className: marked?.kind === "suspect" && marked.index === index ? "marked" : undefined })} empty={incident.gaps.some((gap) => gap.source === "github") ? "Unknown: commits could not be read." : "No commit comes into question."} columns={[
          { header: "Change", cell: (suspect) => <External address={suspect.url}><Code>{suspect.sha?.slice(0, 8) ?? suspect.id ?? "?"}</Code></External> },
          { header: "Score", cell: (suspect) => typeof suspect.score === "number" ? suspect.score.toFixed(2) : "–", sort: (suspect) => suspect.score },
          { header: "What", cell: (suspect) => suspect.message }, { header: "By", cell: (suspect) => suspect.author },
          { header: "Parts of the score", cell: (suspect) => <ul className="parts">{(suspect.parts ?? []).map((part, index) => <li key={index}><strong>{part.name}</strong> {typeof part.value === "number" ? part.value.toFixed(2) : "–"} × {part.weight ?? "–"}: {part.reason}</li>)}</ul> },
        ]} />
      </Card>
      <Card title="Evidence"><Evidences incident={incident} marked={marked} opened={opened} toggle={toggle} /></Card>
      <Card title="Timeline across sources, newest first">
        <Table label="Timeline" most={30} rows={[...(incident.timeline ?? [])].reverse()} empty="Empty." columns={[
          { header: "When", cell: (entry) => <Time at={entry.at} />, sort: (entry) => entry.at }, { header: "Source", cell: (entry) => entry.source, sort: (entry) => entry.source },
          { header: "Kind", cell: (entry) => entry.kind, sort: (entry) => entry.kind }, { header: "What", cell: (entry) => <Told>{entry.text ?? ""}</Told> },
        ]} />
      </Card>
      <Card title="Causal graph" action={<Link className="noprint" to={`/forensics/incidents/${seg(incident.id)}`}>On a page of its own</Link>}>
        {drawn ? <Causes incident={incident.id} /> : <p><button type="button" className="noprint" onClick={() => setDrawn(true)}>Draw it</button> <span className="hint noprint">Reads commits, errors, traces and messages of two hours around the incident.</span><span className="onlyprint">It was not drawn: the button Print of the page draws it first.</span></p>}
      </Card>
      <Card title="Occurrences">
        {incident.anomalies.map((anomaly) => {
          const name = `finding ${anomaly.id}`;
          return (
            <details key={anomaly.id} open={isOpen(name)} onToggle={(event) => { if (!printing) toggle(name, event.currentTarget.open); }}>
              <summary><Time at={anomaly.detected_at} />: <Told>{anomaly.description}</Told></summary>
              {isOpen(name) ? <div className="fold"><Finding anomaly={anomaly} field={marked?.kind === "finding" && marked.anomaly === anomaly.id ? marked.field : undefined} /></div> : null}
            </details>
          );
        })}
      </Card>
    </>
  );
}

export default function Incident() {
  const { id = "" } = useParams();
  const incident = useIncident(id);
  return incident.isError && !incident.data ? <><PageTitle side={<Link to="/incidents">All incidents</Link>}>Incident</PageTitle><Failure error={incident.error} again={() => void incident.refetch()} /></> : <Show query={incident} what="the incident">{(data) => <View key={data.id} incident={data} />}</Show>;
}
