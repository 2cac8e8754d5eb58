// Detectors: what each looks for, how often it was right, what it found lately, and what another threshold would do.
import { useState } from "react";
import { Link, useParams } from "react-router";
import { useDetectors, useGet, useListing, useSettings, useSql } from "../api/hooks";
import { seg } from "../api/client";
import type { Anomaly, Detector, Precision } from "../api/types";
import { Badge, Card, Code, Cron, Facts, Fold, PageTitle } from "../components/bits";
import { Failure, Loading, Show } from "../components/states";
import { More, RowsTable, Table } from "../components/table";
import { Since, Time } from "../components/time";
import { count, duration, figure, percent } from "../lib/format";
import { PreviewLines, usePreview } from "../settings/preview";
import { Field } from "../settings/values";
import { useMay, Why } from "../lib/may";
import { RunNow } from "./jobs";

/** The thresholds that a detector is bound to, and what others would find. */
function Thresholds({ name }: { name: string }) {
  const settings = useSettings();
  const may = useMay("admin", "Changing thresholds");
  const [asked, setAsked] = useState(false);
  const preview = usePreview(asked ? { detector: name } : null);
  const keys = [...(preview.data?.windows ?? []), ...(preview.data?.runs.detectors ?? [])].find((item) => item.detector === name)?.settings;
  return (
    <>
      {asked ? null : <p><button type="button" onClick={() => setAsked(true)}>What would the last runs give?</button> <span className="hint">Judges the newest windows again, as the thresholds are: it asks its sources.</span></p>}
      {preview.isLoading ? <Loading what="the newest runs, judged again" /> : null}
      {preview.isError ? <Failure error={preview.error} again={() => void preview.refetch()} /> : null}
      {preview.data ? <PreviewLines preview={preview.data} /> : null}
      {keys && settings.data ? <div className="form-rows">{keys.map((key) => { const value = settings.data.settings[key]; return typeof value === "number" ? <Field key={`${key}=${value}`} path={[key]} value={value} may={may.may} /> : null; })}<p><Why id="why-settings" may={may} /></p></div> : null}
      {keys && !keys.length ? <p className="hint">It is bound to no threshold: its limits are in its file.</p> : null}
    </>
  );
}

/** Detectors of runs: what they find among the newest runs, and what they are bound to. */
function RunDetectors() {
  const preview = usePreview({});
  const settings = useSettings();
  const may = useMay("admin", "Changing thresholds");
  return (
    <Show query={preview} what="the newest runs, judged again">{({ runs }) => (
      <>
        {runs.runs ? <p className="hint">{count(runs.runs, "newest run", "newest runs")}, judged again with the thresholds in force.{runs.gone ? ` ${runs.gone} could not be: their events are kept no longer.` : ""}</p> : <p className="empty">No run was judged yet.</p>}
        <Table label="Detectors of runs" rows={runs.detectors} rowKey={(item) => item.detector} empty="No detectors of runs." columns={[
          { header: "Detector", cell: (item) => <>{item.title}{item.shadow ? <> <Badge word="shadow" /></> : null}<br /><span className="hint">{item.detector}</span></>, sort: (item) => item.detector },
          { header: "Fires for", cell: (item) => item.fires_now === null ? <span className="gap">unknown: {item.error}</span> : `${figure(item.fires_now)} of the last ${count(runs.runs, "run")}`, sort: (item) => item.fires_now },
          { header: "Thresholds", cell: (item) => item.settings.length ? <Fold summary={count(item.settings.length, "threshold")}>{item.settings.map((key) => { const value = settings.data?.settings[key]; return typeof value === "number" ? <Field key={`${key}=${value}`} path={[key]} value={value} may={may.may} /> : null; })}</Fold> : "in its file" },
        ]} />
        <p><Why id="why-settings" may={may} /></p>
      </>
    )}</Show>
  );
}

function View({ detector, precision }: { detector: Detector; precision?: Precision }) {
  const found = useListing<Anomaly>("/api/v1/anomalies", { detector: detector.name });
  const items = found.data?.pages.flatMap((page) => page.items) ?? [];
  return (
    <>
      <PageTitle side={<Link to="/detectors">All detectors</Link>}>{detector.title}</PageTitle>
      <Card title="The detector">
        <Facts items={[["Name", <Code>{detector.name}</Code>], ["Schedule", detector.schedule ? <Code>{detector.schedule}</Code> : "on demand"], ["Window", duration(detector.window_seconds)], ["Reads", detector.sources.join(", ")], ["Suggests", detector.action ?? "nothing"], ["File", detector.file ? <Code>{detector.file}</Code> : "compiled in"],
          ["Precision", precision?.precision === null || precision?.precision === undefined ? "nobody has judged it yet" : `${percent(precision.precision)} of ${precision.marked_right + precision.marked_wrong} judged`]]} />
        <p>Runs: <Link to={`/jobs/${seg(detector.name)}`}>history of its job</Link>.</p>
        <RunNow name={detector.name} />
      </Card>
      <Card title="Thresholds"><Thresholds name={detector.name} /></Card>
      <Card title="What it found">
        {found.isError ? <Failure error={found.error} /> : found.isLoading ? <Loading /> : <Table label="Findings" rows={items} rowKey={(item) => item.id} empty="Nothing yet." columns={[
          { header: "Severity", cell: (item) => <Badge word={item.severity} /> }, { header: "What", cell: (item) => item.incident_id ? <Link to={`/incidents/${seg(item.incident_id)}`}>{item.description}</Link> : item.description },
          { header: "Window", cell: (item) => <><Time at={item.window.start} /> to <Time at={item.window.end} /></> }, { header: "Found", cell: (item) => <Since at={item.detected_at} />, sort: (item) => item.detected_at },
        ]} />}
        <More listing={found} />
      </Card>
    </>
  );
}

function ShadowPrecision() {
  const shadow = useSql("SELECT a.detector, count(*) AS judged, sum(CASE WHEN f.correct THEN 1 ELSE 0 END) AS correct_signals FROM agent.signal_feedback f JOIN agent.anomalies a ON a.signal_id = f.signal_id GROUP BY a.detector ORDER BY a.detector");
  return <Show query={shadow}>{(data) => <RowsTable label="Signals of run detectors as judged" rows={data.rows} empty="No signal of a run was judged yet." />}</Show>;
}

export default function Detectors() {
  const { id } = useParams();
  const detectors = useDetectors();
  const precision = useGet<{ items: Precision[] }>("/api/v1/quality/precision");
  const of = (name: string) => precision.data?.items.find((item) => item.detector === name);
  return (
    <Show query={detectors} what="detectors">{(data) => {
      const detector = data.items.find((item) => item.name === id);
      if (id) return detector ? <View key={detector.name} detector={detector} precision={of(detector.name)} /> : <p className="empty">There is no detector of that name. <Link to="/detectors">All detectors</Link></p>;
      return (
        <>
          <PageTitle>Detectors</PageTitle>
          <Card title="Detectors of windows"><Table label="Detectors" rows={data.items} rowKey={(item) => item.name} empty="No detectors." columns={[
            { header: "Detector", cell: (item) => <><Link to={`/detectors/${seg(item.name)}`}>{item.title}</Link><br /><span className="hint">{item.name}</span></>, sort: (item) => item.name },
            { header: "Schedule", cell: (item) => item.schedule ? <Cron>{item.schedule}</Cron> : "on demand" }, { header: "Window", cell: (item) => duration(item.window_seconds), sort: (item) => item.window_seconds },
            { header: "Reads", cell: (item) => item.sources.join(", ") }, { header: "Suggests", cell: (item) => item.action ?? "nothing" },
            { header: "Precision", cell: (item) => { const known = of(item.name); return known?.precision === null || known?.precision === undefined ? "not judged" : percent(known.precision); }, sort: (item) => of(item.name)?.precision },
          ]} /></Card>
          <Card title="Detectors of runs"><RunDetectors /></Card>
          <Card title="Detectors of runs, as people judged their signals"><ShadowPrecision /></Card>
          <p className="hint">A query becomes a detector in the <Link to="/workbench">workbench</Link>.</p>
        </>
      );
    }}</Show>
  );
}
