// What the installation runs by: settings, sources, where actions go, keys. Secrets of vendors are in the environment and never here.
import { Link } from "react-router";
import { useSettings, useSources } from "../api/hooks";
import { Badge, Card, Fold, PageTitle } from "../components/bits";
import { Show } from "../components/states";
import { Table } from "../components/table";
import { Since, Time } from "../components/time";
import { title } from "../lib/format";
import { OfInstallation, useMayHere, Why } from "../lib/may";
import { KeysPanel } from "../settings/keys";
import { SamplerPanel } from "../settings/sampler";
import { SourcesPanel } from "../settings/sources";
import { Group, simple, Structured, Thresholds, type Values } from "../settings/values";

export default function Settings() {
  const settings = useSettings();
  const sources = useSources();
  const may = useMayHere("admin", "Changing settings");
  return (
    <>
      <PageTitle>Settings</PageTitle>
      <OfInstallation what="Settings, sources and keys">
      <Card title="In force">
        <Show query={settings} what="settings">{(data) => {
          const top = Object.fromEntries(Object.entries(data.settings).filter(([, value]) => simple(value)));
          const groups = Object.entries(data.settings).filter(([name, value]) => !simple(value) && name !== "sampling");
          return (
            <>
              {data.reload.error ? <p className="gap">The newest settings.json is not in force: {data.reload.error} (<Time at={data.reload.refused_at} />)</p> : null}
              <p className="hint">{may.may ? "A change is checked, on the record, and in force at once. " : null}<Why id="why-settings" may={may} /> What another threshold would find is shown while it is typed. <Link to="/audit">Who changed what</Link>{data.reload.reloaded_at ? <>; last taken over <Since at={data.reload.reloaded_at} /></> : null}.</p>
              {Object.keys(top).length ? <Thresholds values={top} may={may.may} /> : null}
              {groups.map(([name, value]) => value === null || Array.isArray(value) ? <Fold key={name} summary={<strong>{title(name)}</strong>}><Structured path={[name]} value={value} may={may.may} /></Fold> : <Group key={name} name={name} value={value as Values} may={may.may} path={[name]} />)}
            </>
          );
        }}</Show>
      </Card>
      <Card title="Sources"><Show query={sources} what="sources">{(data) => <SourcesPanel sources={data.items} />}</Show></Card>
      <Card title="Where actions go">
        <Show query={sources}>{(data) => <Table label="Destinations" rows={data.destinations} rowKey={(item) => item.name} empty="None." columns={[{ header: "What", cell: (item) => item.name }, { header: "State", cell: (item) => <Badge word={item.ok ? "ok" : "failed"} /> }, { header: "Found", cell: (item) => <>{item.detail}{item.hint ? <><br /><span className="hint">{item.hint}</span></> : null}</> }]} />}</Show>
      </Card>
      <Card title="Sampler policy"><p className="hint">Which traces are worth keeping: what each reason scores, added up. <Link to="/">The dashboard</Link> shows what was kept and why.</p><SamplerPanel /></Card>
      <Card title="API keys"><KeysPanel /></Card>
      </OfInstallation>
    </>
  );
}
