// Every setting as a field of its own: what would come of another value is shown before it is saved.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { write } from "../api/client";
import type { SettingsChanged } from "../api/types";
import { Code, Fold, Json } from "../components/bits";
import { Failure } from "../components/states";
import { title } from "../lib/format";
import { LivePreview } from "./preview";

export type Values = Record<string, unknown>;
export const simple = (value: unknown) => typeof value === "number" || typeof value === "boolean" || typeof value === "string";

/** A change of one value, with the objects that it lies in. */
export const patch = (path: string[], value: unknown) => path.reduceRight<unknown>((inner, name) => ({ [name]: inner }), value) as Values;

/** What was typed, as the kind of value that was there: text that is no number stays text, and the server says so. */
export function typedAs(text: string, like: unknown): unknown {
  if (typeof like === "number") return text.trim() === "" || !Number.isFinite(Number(text)) ? text : Number(text);
  return typeof like === "boolean" ? text === "true" : text;
}

/** One value, changed on its own: what is not given stays. */
export function Field({ path, value, may }: { path: string[]; value: string | number | boolean; may: boolean }) {
  const client = useQueryClient();
  const [text, setText] = useState(String(value));
  const key = path.join(".");
  const next = typedAs(text, value);
  const changed = text !== String(value);
  const change = useMutation({
    mutationFn: () => write<SettingsChanged>("PATCH", "/api/v1/settings", patch(path, next)),
    onSuccess: (answer) => { client.setQueryData(["live", "/api/v1/settings"], { settings: answer.settings, reload: answer.reload }); },
  });
  const submit = (event: FormEvent) => { event.preventDefault(); change.mutate(); };
  // Thresholds are at the top, and numbers; what a key may do does not matter for looking.
  const threshold = path.length === 1 && typeof value === "number";
  return (
    <form className="field setting" data-key={key} onSubmit={submit}>
      <label><Code>{key}</Code>{" "}{typeof value === "boolean"
        ? <select value={text} disabled={!may} onChange={(event) => setText(event.target.value)}><option value="true">true</option><option value="false">false</option></select>
        : <input type="text" inputMode={typeof value === "number" ? "decimal" : "text"} value={text} disabled={!may && !threshold} onChange={(event) => setText(event.target.value)} />}</label>
      {changed ? <><button type="submit" className="primary" disabled={!may || change.isPending} aria-describedby={may ? undefined : "why-settings"}>Save</button><button type="button" onClick={() => setText(String(value))}>Undo</button></> : null}
      {change.isSuccess && !changed ? <span role="status"> Saved.{change.data.overridden_by_environment.includes(key) ? <span className="gap"> The environment overrides it.</span> : null}</span> : null}
      {change.isError ? <Failure error={change.error} /> : null}
      {changed && threshold && typeof next === "number" ? <LivePreview settings={patch(path, next)} /> : null}
    </form>
  );
}

export function Group({ name, value, may, path }: { name: string; value: Values; may: boolean; path: string[] }) {
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

/** What thresholds are about: the first words of their names, where several have them. */
export function families(names: string[]): [string, string[]][] {
  const of = (name: string) => {
    const words = name.split("_");
    for (let n = Math.min(2, words.length - 1); n > 0; n -= 1) {
      const start = `${words.slice(0, n).join("_")}_`;
      if (names.filter((other) => other.startsWith(start)).length > 1) return start.slice(0, -1);
    }
    return "others";
  };
  const found = new Map<string, string[]>();
  for (const name of names) { const family = of(name); found.set(family, [...(found.get(family) ?? []), name]); }
  const others = found.get("others") ?? [];
  found.delete("others");
  // A family that lost all others to a longer name is none.
  for (const [family, members] of found) if (members.length < 2) { others.push(...members); found.delete(family); }
  return [...found, ...(others.length ? [["others", others] as [string, string[]]] : [])];
}

/** All thresholds, by what they are about, and found by a word. */
export function Thresholds({ values, may }: { values: Values; may: boolean }) {
  const [word, setWord] = useState("");
  const names = Object.keys(values).filter((name) => name.includes(word.trim().toLowerCase().replaceAll(" ", "_")));
  return (
    <Fold summary={<strong>Thresholds</strong>} open>
      <p><input type="search" aria-label="Find a threshold" placeholder="find a threshold" value={word} onChange={(event) => setWord(event.target.value)} /></p>
      {names.length ? families(names).map(([family, members]) => (
        <div key={family}><h3>{title(family)}</h3><div className="form-rows">{members.map((key) => <Field key={`${key}=${String(values[key])}`} path={[key]} value={values[key] as string | number | boolean} may={may} />)}</div></div>
      )) : <p className="empty">No threshold is called so.</p>}
    </Fold>
  );
}
