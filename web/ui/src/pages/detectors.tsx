// Detectors: what each looks for, how often it was right, what it found lately, and what another threshold would do.
import { type ReactNode, useState } from "react";
import { Link } from "react-router";
import { useParams } from "../lib/seen";
import { useDetectors, useListing, useSettings } from "../api/hooks";
import { seg } from "../api/client";
import type { Anomaly, Detector } from "../api/types";
import { Badge, Card, Code, Cron, Facts, Fold, PageTitle } from "../components/bits";
import { Failure, Loading, Show } from "../components/states";
import { More, Table } from "../components/table";
import { Since, Time } from "../components/time";
import { Unseen, useBlind } from "../components/unseen";
import { count, duration, figure, percent } from "../lib/format";
import { PreviewLines, usePreview } from "../settings/preview";
import { Field } from "../settings/values";
import { OfInstallation, useMayHere, Why } from "../lib/may";
import { RunNow } from "./jobs";

/** The thresholds that a detector is bound to, and what others would find. */
function Thresholds({ name }: { name: string }) {
  const settings = useSettings();
  const may = useMayHere("admin", "Changing thresholds");
  const [asked, setAsked] = useState(false);
  const preview = usePreview(asked ? { detector: name } : null);
  const keys = [...(preview.data?.windows ?? []), ...(preview.data?.runs.detectors ?? [])].find((item) => item.detector === name)?.settings;
  return (
    <>
      {asked ? null : <p><button type="button" onClick={() => setAsked(true)}>What would the last runs give?</button> <span className="hint">Judges the newest windows again, as the thresholds are: it asks its sources.</span></p>}
      {preview.isLoading ? <Loading what="the newest runs, judged again" /> : null}
      {preview.isError ? <Failure error={preview.error} again={() => void preview.refetch()} /> : null}
      {preview.data ? <PreviewLines preview={preview.data} /> : null}
      {keys && settings.data ? <div className="form-rows">{keys.map((key) => { const value = settings.data.settings[key]; return typeof value === "number" ? <Field key={key} path={[key]} value={value} may={may.may} /> : null; })}<p><Why id="why-settings" may={may} /></p></div> : null}
      {keys && !keys.length ? <p className="hint">It is bound to no threshold: its limits are in its file.</p> : null}
    </>
  );
}

/** How often it was right, of what people judged. */
function precisionOf(detector?: Detector) {
  return detector?.precision === null || detector?.precision === undefined ? "not judged" : `${percent(detector.precision)} of ${figure(detector.marked_right + detector.marked_wrong)} judged`;
}

/** That a detector of one's own fails: what it did not judge is not clean. */
function Failing({ detector }: { detector: Detector | undefined }) {
  const failure = detector?.failure;
  if (!failure) return null;
  return <div className="gap">Fails since <Time at={failure.failed_since} />{failure.runs_not_judged ? `; ${count(failure.runs_not_judged, "run")} not judged by it` : ""}: {failure.error}</div>;
}

/** Detectors of runs: what they find among the newest runs, how often they were right, and what they are bound to. */
function RunDetectors({ of }: { of: (name: string) => Detector | undefined }) {
  const preview = usePreview({});
  const settings = useSettings();
  const may = useMayHere("admin", "Changing thresholds");
  return (
    <Show query={preview} what="the newest runs, judged again">{({ runs }) => (
      <>
        {runs.runs ? <p className="hint">{count(runs.runs, "newest run", "newest runs")}, judged again with the thresholds in force.{runs.gone ? ` ${runs.gone} could not be: their events are kept no longer.` : ""}</p> : <p className="empty">No run was judged yet.</p>}
        <Table label="Detectors of runs" rows={runs.detectors} rowKey={(item) => item.detector} empty="No detectors of runs." columns={[
          { header: "Detector", cell: (item) => <><Link to={`/detectors/${seg(item.detector)}`}>{item.title}</Link>{item.shadow ? <> <Badge word="shadow" /></> : null}<br /><span className="hint">{item.detector}</span><Failing detector={of(item.detector)} /></>, sort: (item) => item.detector },
          { header: "Fires for", cell: (item) => item.fires_now === null ? <span className="gap">unknown: {item.error}</span> : `${figure(item.fires_now)} of the last ${count(runs.runs, "run")}`, sort: (item) => item.fires_now },
          { header: "Found", cell: (item) => figure(of(item.detector)?.found ?? 0), sort: (item) => of(item.detector)?.found },
          { header: "Precision", cell: (item) => precisionOf(of(item.detector)), sort: (item) => of(item.detector)?.precision },
          { header: "Thresholds", cell: (item) => item.settings.length ? <Fold summary={count(item.settings.length, "threshold")}>{item.settings.map((key) => { const value = settings.data?.settings[key]; return typeof value === "number" ? <Field key={key} path={[key]} value={value} may={may.may} /> : null; })}</Fold> : "in its file" },
        ]} />
        <p><Why id="why-settings" may={may} /></p>
      </>
    )}</Show>
  );
}

function View({ detector }: { detector: Detector }) {
  const ofRuns = detector.scope === "run";
  const unseen = useBlind([detector.name]);
  const found = useListing<Anomaly>("/api/v1/anomalies", { detector: detector.name });
  const items = found.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <PageTitle side={<Link to="/detectors">All detectors</Link>}>{detector.title}</PageTitle>
      <Card title="The detector">
        <Facts items={[["Name", <Code>{detector.name}</Code>], ["Judges", ofRuns ? "every run, when it has ended or stalled" : "windows of time"], ["Mode", detector.mode === "shadow" ? <><Badge word="shadow" /> found, but told to nobody</> : "live"],
          ...(ofRuns ? [] : [["Schedule", detector.schedule ? <Code>{detector.schedule}</Code> : "on demand"], ["Window", duration(detector.window_seconds)]] as [string, ReactNode][]), ["Reads", detector.sources.join(", ")], ["Suggests", detector.action ?? "nothing"], ["File", detector.file ? <Code>{detector.file}</Code> : "compiled in"],
          ["Found", figure(detector.found)], ["Precision", precisionOf(detector)]]} />
        {ofRuns ? null : <><p>Runs: <Link to={`/jobs/${seg(detector.name)}`}>history of its job</Link>.</p><RunNow name={detector.name} /></>}
      </Card>
      <Card title="Thresholds"><OfInstallation what="Thresholds"><Thresholds name={detector.name} /></OfInstallation></Card>
      <Card title="What it found">
        <Unseen blind={unseen} />
        {found.isError ? <Failure error={found.error} /> : found.isLoading ? <Loading /> : <Table label="Findings" more={found.hasNextPage} rows={items} rowKey={(item) => item.id} empty={unseen.length ? "Nothing where it could look." : "Nothing yet."} columns={[
          { header: "Severity", cell: (item) => <Badge word={item.severity} /> }, { header: "What", cell: (item) => item.incident_id ? <Link to={`/incidents/${seg(item.incident_id)}`}>{item.description}</Link> : item.description },
          { header: "Window", cell: (item) => <><Time at={item.window.start} /> to <Time at={item.window.end} /></> }, { header: "Found", cell: (item) => <Since at={item.detected_at} />, sort: (item) => item.detected_at },
        ]} />}
        <More listing={found} />
      </Card>
    </>
  );
}

export default function Detectors() {
  const { id } = useParams();
  const detectors = useDetectors();
  return (
    <Show query={detectors} what="detectors">{(data) => {
      const of = (name: string) => data.items.find((item) => item.name === name);
      const detector = id ? of(id) : undefined;
      if (id) return detector ? <View key={detector.name} detector={detector} /> : <p className="empty">There is no detector of that name. <Link to="/detectors">All detectors</Link></p>;
      return (
        <>
          <PageTitle>Detectors</PageTitle>
          <Card title="Detectors of windows"><Table label="Detectors" rows={data.items.filter((item) => item.scope === "window")} rowKey={(item) => item.name} empty="No detectors." columns={[
            { header: "Detector", cell: (item) => <><Link to={`/detectors/${seg(item.name)}`}>{item.title}</Link><br /><span className="hint">{item.name}</span></>, sort: (item) => item.name },
            { header: "Schedule", cell: (item) => item.schedule ? <Cron>{item.schedule}</Cron> : "on demand" }, { header: "Window", cell: (item) => duration(item.window_seconds), sort: (item) => item.window_seconds },
            { header: "Reads", cell: (item) => item.sources.join(", ") }, { header: "Suggests", cell: (item) => item.action ?? "nothing" },
            { header: "Found", cell: (item) => figure(item.found), sort: (item) => item.found },
            { header: "Precision", cell: precisionOf, sort: (item) => item.precision },
          ]} /></Card>
          <Card title="Detectors of runs"><OfInstallation what="Thresholds, and runs judged again,"><RunDetectors of={of} /></OfInstallation></Card>
          <p className="hint">A query becomes a detector in the <Link to="/workbench">workbench</Link>.</p>
        </>
      );
    }}</Show>
  );
}
