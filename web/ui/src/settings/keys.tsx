// API keys: made here, shown once, revoked here. A secret is in the answer to whoever made it, in this tab, until it is put away.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useId, useState, type FormEvent } from "react";
import { post, seg, write } from "../api/client";
import { useGet } from "../api/hooks";
import type { ApiKey, ApiKeys, MadeKey } from "../api/types";
import { Badge, Code } from "../components/bits";
import { Empty, Failure, Show } from "../components/states";
import { Table } from "../components/table";
import { Since, Time } from "../components/time";
import { now } from "../lib/format";
import { useMayHere, Why, type Scope } from "../lib/may";

const PATH = "/api/v1/keys";
const SCOPES: [Scope, string][] = [["read", "reads everything of its project"], ["ingest", "sends events"], ["operate", "decides, runs jobs, tests sources"], ["admin", "settings, keys, detectors; all of the others too"]];

export const standing = (key: ApiKey, at = now()) => (key.revoked_at ? "revoked" : key.expires_at && Date.parse(key.expires_at) <= at ? "expired" : "active");

/** The secret, once: it is shown and can be copied, and is gone when it is put away. */
function Secret({ made, onDone }: { made: MadeKey; onDone: () => void }) {
  const [copied, setCopied] = useState<boolean | null>(null);
  const copy = () => navigator.clipboard.writeText(made.secret).then(() => setCopied(true), () => setCopied(false));
  return (
    <div className="decision" role="status">
      <p><strong>{made.name}</strong> was made. This is the only time its secret is shown:</p>
      <p className="decide"><code id="secret">{made.secret}</code>
        <button type="button" onClick={() => void copy()}>Copy</button><button type="button" onClick={onDone}>I have kept it</button>
        {copied === true ? <span>Copied.</span> : copied === false ? <span className="gap">The browser does not let this page copy; select it instead.</span> : null}</p>
    </div>
  );
}

function NewKey({ projects, disabled }: { projects: string[]; disabled: boolean }) {
  const client = useQueryClient();
  const id = useId();
  const [name, setName] = useState("");
  const [person, setPerson] = useState("");
  const [project, setProject] = useState("");
  const [days, setDays] = useState("90");
  const [scopes, setScopes] = useState<Scope[]>(["read"]);
  const make = useMutation({
    mutationFn: () => post<MadeKey>(PATH, { name: name.trim(), scopes, ...(person.trim() ? { person: person.trim() } : {}), ...(project ? { project } : {}), ...(days ? { expires_in_days: Number(days) } : {}) }),
    onSuccess: () => { setName(""); setPerson(""); return client.invalidateQueries({ queryKey: ["live", PATH] }); },
    // The secret stays no longer than this card shows it.
    gcTime: 0,
  });
  const submit = (event: FormEvent) => { event.preventDefault(); make.mutate(); };
  if (make.data) return <Secret made={make.data} onDone={make.reset} />;
  return (
    <form onSubmit={submit}>
      <div className="form">
        <label htmlFor={`${id}-name`}>Name<input id={`${id}-name`} type="text" required maxLength={200} autoComplete="off" disabled={disabled} value={name} onChange={(event) => setName(event.target.value)} placeholder="alice" /></label>
        <label htmlFor={`${id}-person`}>Person: recorded as who decided<input id={`${id}-person`} type="text" maxLength={200} autoComplete="off" disabled={disabled} value={person} onChange={(event) => setPerson(event.target.value)} placeholder={name || "as the name"} /></label>
        <label htmlFor={`${id}-project`}>Project: whose rows it sees<select id={`${id}-project`} disabled={disabled} value={project} onChange={(event) => setProject(event.target.value)}><option value="">the installation's own</option>{projects.filter((each) => each !== "default").map((each) => <option key={each} value={each}>{each}</option>)}</select></label>
        <label htmlFor={`${id}-days`}>Ends<select id={`${id}-days`} disabled={disabled} value={days} onChange={(event) => setDays(event.target.value)}><option value="1">in a day</option><option value="7">in 7 days</option><option value="30">in 30 days</option><option value="90">in 90 days</option><option value="365">in a year</option><option value="">never by itself</option></select></label>
      </div>
      <fieldset><legend>Scopes</legend>{SCOPES.map(([scope, what]) => <label key={scope}><input type="checkbox" disabled={disabled} checked={scopes.includes(scope)} onChange={(event) => setScopes(event.target.checked ? [...scopes, scope] : scopes.filter((each) => each !== scope))} /> {scope} <span className="hint">{what}</span></label>)}</fieldset>
      <p><button type="submit" className="primary" disabled={disabled || !name.trim() || !scopes.length || make.isPending} aria-describedby={disabled ? "why-keys" : undefined}>Make the key</button></p>
      {make.isError ? <Failure error={make.error} /> : null}
    </form>
  );
}

function Revoke({ item }: { item: ApiKey }) {
  const client = useQueryClient();
  const [asked, setAsked] = useState(false);
  const revoke = useMutation({ mutationFn: () => write<ApiKey>("DELETE", `${PATH}/${seg(item.id)}`), onSettled: () => client.invalidateQueries({ queryKey: ["live", PATH] }) });
  if (item.revoked_at) return <>–</>;
  return (
    <span className="decide">
      {asked
        ? <><button type="button" className="reject" disabled={revoke.isPending} onClick={() => revoke.mutate()}>Really revoke {item.name}</button><button type="button" onClick={() => setAsked(false)}>Keep it</button></>
        : <button type="button" aria-label={`Revoke ${item.name}`} onClick={() => setAsked(true)}>Revoke</button>}
      {revoke.isError ? <Failure error={revoke.error} /> : null}
    </span>
  );
}

export function KeysPanel() {
  const may = useMayHere("admin", "Managing keys");
  const keys = useGet<ApiKeys>(PATH, { enabled: may.may });
  if (!may.may) return <><Empty>Keys are shown to whoever may make them.</Empty><NewKey projects={[]} disabled /><Why id="why-keys" may={may} /></>;
  return (
    <>
      <NewKey projects={keys.data?.projects ?? []} disabled={false} />
      <Show query={keys} what="keys">{(data) => <Table label="API keys" rows={data.items} rowKey={(key) => key.id} most={25} empty="There is no key yet: this server is open to this machine only." columns={[
        { header: "Name", cell: (key) => <><strong>{key.name}</strong><br /><span className="hint">{key.person}</span></>, sort: (key) => key.name },
        { header: "Project", cell: (key) => key.project_id, sort: (key) => key.project_id }, { header: "Scopes", cell: (key) => key.scopes.join(", ") },
        { header: "Begins with", cell: (key) => <Code>{key.prefix}…</Code> }, { header: "State", cell: (key) => <Badge word={standing(key)} />, sort: (key) => standing(key) },
        { header: "Made", cell: (key) => <Since at={key.created_at} />, sort: (key) => key.created_at }, { header: "Last used", cell: (key) => <Since at={key.last_used_at} />, sort: (key) => key.last_used_at },
        { header: "Ends", cell: (key) => key.expires_at ? <Time at={key.expires_at} /> : "never", sort: (key) => key.expires_at }, { header: "Revoke", cell: (key) => <Revoke item={key} /> },
      ]} />}</Show>
      <p className="hint"><Code>tripline keys link NAME</Code> on the machine prints an address that signs a browser in, once.</p>
    </>
  );
}
