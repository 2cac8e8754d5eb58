// What features answer with: the schema each is held to, how it changed, what drifted, and who is to blame.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "react-router";
import { post, seg } from "../api/client";
import { useGet, useListing } from "../api/hooks";
import type { Drift, Snapshot, Validation } from "../api/types";
import { Badge, Card, Code, Fold, Json, PageTitle } from "../components/bits";
import { Failure, Loading, Show } from "../components/states";
import { More, Table } from "../components/table";
import { Since, Time } from "../components/time";
import { DRIFT, Unseen, useBlind } from "../components/unseen";
import { count, percent, title } from "../lib/format";
import { differences } from "../lib/diff";
import { useMayHere, Why } from "../lib/may";

function Scan() {
  const client = useQueryClient();
  const may = useMayHere("operate", "Scanning");
  const scan = useMutation({ mutationFn: () => post("/api/v1/quality/scan"), onSettled: () => client.invalidateQueries({ queryKey: ["live"] }) });
  return <><button type="button" className="primary" disabled={!may.may || scan.isPending} onClick={() => scan.mutate()}>Scan now</button><Why may={may} />{scan.isSuccess ? <span role="status"> The drift patrol has started; <Link to="/jobs">Jobs</Link> says when it is done.</span> : null}{scan.isError ? <Failure error={scan.error} /> : null}</>;
}

function Versions({ feature }: { feature: string }) {
  const versions = useGet<{ items: Snapshot[] }>(`/api/v1/quality/snapshots?feature=${seg(feature)}&all_versions=true`);
  return <Show query={versions}>{({ items }) => {
    const sorted = [...items].sort((a, b) => b.version - a.version);
    return <>{sorted.map((snapshot, index) => {
      const before = sorted[index + 1];
      const changes = before ? differences(before.schema, snapshot.schema) : [];
      return (
        <Fold key={snapshot.id} open={index === 0} summary={<>Version {snapshot.version}, <Time at={snapshot.captured_at} />, {count(snapshot.sample_count, "output")}{before ? `: ${count(changes.length, "difference")} to version ${before.version}` : ""}</>}>
          {changes.length ? <ul className="diff">{changes.map((change) => <li key={change.path} className={`diff-${change.kind}`}><Badge word={change.kind} /> <Code>{change.path}</Code> {change.before === undefined ? "" : JSON.stringify(change.before)}{change.kind === "changed" ? " → " : ""}{change.after === undefined ? "" : JSON.stringify(change.after)}</li>)}</ul> : null}
          <Json label={`Schema of version ${snapshot.version}`} value={snapshot.schema} />
        </Fold>
      );
    })}</>;
  }}</Show>;
}

function Check({ feature }: { feature: string }) {
  const check = useGet<Validation>(`/api/v1/quality/feature/${seg(feature)}/validation`);
  return <Show query={check} what="the newest outputs">{(data) => <><p>{count(data.passed, "output")} of {data.total} as the schema says, {percent(data.fail_rate)} not{data.first_failed_at ? <>; the first at <Time at={data.first_failed_at} /></> : null}{data.truncated ? " (there are more outputs than were looked at)" : ""}.</p>{data.failures.length ? <Json label="Failures" value={data.failures} /> : null}</>}</Show>;
}

export default function Quality() {
  const snapshots = useGet<{ items: Snapshot[] }>("/api/v1/quality/snapshots");
  const drift = useListing<Drift>("/api/v1/quality/drift");
  const [feature, setFeature] = useState<string | null>(null);
  const unseen = useBlind(DRIFT);
  const events = drift.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <PageTitle side={<Scan />}>Quality</PageTitle>
      <Card title="Drift, newest first">
        <Unseen blind={unseen} />
        {drift.isError ? <Failure error={drift.error} again={() => void drift.refetch()} /> : drift.isLoading ? <Loading /> : (
          <Table label="Drift" more={drift.hasNextPage} rows={events} rowKey={(event) => event.id} empty={unseen.length ? "No drift was found where it could be looked for." : "No drift was found."} columns={[
            { header: "Feature", cell: (event) => event.incident_id ? <Link to={`/incidents/${seg(event.incident_id)}`}>{event.feature_name}</Link> : event.feature_name, sort: (event) => event.feature_name },
            { header: "Kind", cell: (event) => event.drift_type ? title(event.drift_type) : "–", sort: (event) => event.drift_type }, { header: "Severity", cell: (event) => <Badge word={event.severity} /> },
            { header: "Fail rate", cell: (event) => event.validation_fail_rate === null ? "–" : percent(event.validation_fail_rate), sort: (event) => event.validation_fail_rate },
            { header: "Blame", cell: (event) => event.blame_commit_sha ? <><Code>{event.blame_commit_sha.slice(0, 8)}</Code> {event.blame_commit_message}</> : "none found" }, { header: "When", cell: (event) => <Since at={event.detected_at} />, sort: (event) => event.detected_at },
          ]} />
        )}
        <More listing={drift} />
      </Card>
      <Card title="Schemas that features are held to">
        <Show query={snapshots}>{(data) => <Table label="Schemas" rows={data.items} rowKey={(item) => item.id} empty="No schema was kept yet: it takes healthy outputs." columns={[
          { header: "Feature", cell: (item) => <button type="button" className="link" aria-expanded={feature === item.feature_name} onClick={() => setFeature(feature === item.feature_name ? null : item.feature_name)}>{item.feature_name}</button>, sort: (item) => item.feature_name },
          { header: "Version", cell: (item) => item.version, sort: (item) => item.version }, { header: "Outputs", cell: (item) => item.sample_count, sort: (item) => item.sample_count }, { header: "Kept", cell: (item) => <Since at={item.captured_at} />, sort: (item) => item.captured_at },
        ]} />}</Show>
      </Card>
      {feature ? <Card title={feature}><h3>The newest outputs</h3><Check feature={feature} /><h3>Versions</h3><Versions feature={feature} /></Card> : null}
    </>
  );
}
