// What the installation runs by: settings, sources, where actions go. Secrets are in the environment and never here.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { Link } from "react-router";
import { write } from "../api/client";
import { useSession, useSettings, useSources } from "../api/hooks";
import type { SettingsChanged } from "../api/types";
import { Badge, Card, Code, Fold, Json, PageTitle } from "../components/bits";
import { Failure, Show, Unknown } from "../components/states";
import { Table } from "../components/table";
import { Since, Time } from "../components/time";
import { down } from "../lib/status";
import { title } from "../lib/format";

type Values = Record<string, unknown>;
const simple = (value: unknown) => typeof value === "number" || typeof value === "boolean" || typeof value === "string";

/** One value, changed on its own: what is not given stays. */
function Field({ path, value, may }: { path: string[]; value: string | number | boolean; may: boolean }) {
  const client = useQueryClient();
  const [text, setText] = useState(String(value));
  const key = path.join(".");
  const change = useMutation({
    mutationFn: (next: unknown) => write<SettingsChanged>("PATCH", "/api/v1/settings", path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), next)),
    onSuccess: (answer) => { client.setQueryData(["live", "/api/v1/settings"], { settings: answer.settings, reload: answer.reload }); },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate(typeof value === "number" ? (text.trim() === "" ? text : Number(text)) : typeof value === "boolean" ? text === "true" : text);
  };
  return (
    <form className="field" onSubmit={submit}>
      <label><Code>{key}</Code>{" "}{typeof value === "boolean"
        ? <select value={text} disabled={!may} onChange={(event) => setText(event.target.value)}><option value="true">true</option><option value="false">false</option></select>
        : <input type="text" inputMode={typeof value === "number" ? "decimal" : "text"} value={text} disabled={!may} onChange={(event) => setText(event.target.value)} />}</label>
      {may && text !== String(value) ? <button type="submit" className="primary" disabled={change.isPending}>Save</button> : null}
      {change.isSuccess && text === String(value) ? <span role="status"> Saved.{change.data.overridden_by_environment.includes(key) ? <span className="gap"> The environment overrides it.</span> : null}</span> : null}
      {change.isError ? <Failure error={change.error} /> : null}
    </form>
  );
}

function Group({ name, value, may, path }: { name: string; value: Values; may: boolean; path: string[] }) {
  const entries = Object.entries(value);
  const fields = entries.filter(([, inner]) => simple(inner));
  const rest = Object.fromEntries(entries.filter(([, inner]) => !simple(inner) && inner !== null));
  return (
    <Fold summary={<strong>{title(name)}</strong>} open={path.length === 0}>
      <div className="form-rows">{fields.map(([key, inner]) => <Field key={`${key}=${String(inner)}`} path={[...path, key]} value={inner as string | number | boolean} may={may} />)}</div>
      {Object.entries(rest).map(([key, inner]) => !Array.isArray(inner) && Object.values(inner as Values).some(simple)
        ? <Group key={key} name={key} value={inner as Values} may={may} path={[...path, key]} />
        : <Fold key={key} summary={<Code>{[...path, key].join(".")}</Code>}><Json label={key} value={inner} /></Fold>)}
    </Fold>
  );
}

export default function Settings() {
  const settings = useSettings();
  const sources = useSources();
  const session = useSession();
  const may = Boolean(session.data?.scopes.includes("admin"));
  return (
    <>
      <PageTitle>Settings</PageTitle>
      <Card title="In force">
        <Show query={settings} what="settings">{(data) => {
          const top = Object.fromEntries(Object.entries(data.settings).filter(([, value]) => simple(value)));
          const groups = Object.entries(data.settings).filter(([, value]) => !simple(value) && value !== null) as [string, Values][];
          return (
            <>
              {data.reload.error ? <p className="gap">The newest settings.json is not in force: {data.reload.error} (<Time at={data.reload.refused_at} />)</p> : null}
              <p className="hint">{may ? "A change is checked, on the record, and in force at once." : "Changing them takes a key with the scope admin."} <Link to="/audit">Who changed what</Link>{data.reload.reloaded_at ? <>; last taken over <Since at={data.reload.reloaded_at} /></> : null}.</p>
              {Object.keys(top).length ? <Group name="thresholds" value={top} may={may} path={[]} /> : null}
              {groups.map(([name, value]) => Array.isArray(value) ? <Fold key={name} summary={<Code>{name}</Code>}><Json label={name} value={value} /></Fold> : <Group key={name} name={name} value={value} may={may} path={[name]} />)}
            </>
          );
        }}</Show>
      </Card>
      <Card title="Sources">
        <Show query={sources} what="sources">{(data) => (
          <>
            {down(data.items).map((source) => <Unknown key={source.name} source={source.name} reason={source.last_failure} />)}
            <Table label="Sources" rows={data.items} rowKey={(source) => source.name} empty="No sources." columns={[
              { header: "Source", cell: (source) => <><strong>{source.name}</strong><br /><span className="hint">{source.description}</span></>, sort: (source) => source.name }, { header: "Status", cell: (source) => source.status === "configured" ? <Badge word="configured" /> : source.status, sort: (source) => source.status },
              { header: "Address", cell: (source) => source.base_url ? <Code>{source.base_url}</Code> : "–" }, { header: "Tables", cell: (source) => source.tables.length, sort: (source) => source.tables.length }, { header: "Last success", cell: (source) => <Since at={source.last_success_at} />, sort: (source) => source.last_success_at },
            ]} />
          </>
        )}</Show>
      </Card>
      <Card title="Where actions go">
        <Show query={sources}>{(data) => <Table label="Destinations" rows={data.destinations} rowKey={(item) => item.name} empty="None." columns={[{ header: "What", cell: (item) => item.name }, { header: "State", cell: (item) => <Badge word={item.ok ? "ok" : "failed"} /> }, { header: "Found", cell: (item) => <>{item.detail}{item.hint ? <><br /><span className="hint">{item.hint}</span></> : null}</> }]} />}</Show>
      </Card>
      <Card title="Sampler policy"><p>What makes a trace worth keeping, and the score that it takes, is built in and described in <Code>docs/sampling.md</Code>: this version has no setting for it. The dashboard shows what was kept and why.</p></Card>
      <Card title="API keys"><p>Keys are made, listed and revoked on the machine itself: <Code>tripline keys create NAME</Code>, <Code>tripline keys list</Code>, <Code>tripline keys revoke ID</Code>. <Code>tripline keys link NAME</Code> prints an address that signs a browser in, once.</p></Card>
    </>
  );
}
