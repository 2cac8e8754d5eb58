// Every setting as a field of its own: what would come of another value is shown before it is saved.
import { useState, type FormEvent } from "react";
import { Code, Fold } from "../components/bits";
import { Failure } from "../components/states";
import { title } from "../lib/format";
import { patch, useChange, type Values } from "./change";
import { useDraft } from "./draft";
import { JsonField, ListField, OPEN, OptionalField } from "./lists";
import { PolicyField, type Rule } from "./policy";
import { LivePreview } from "./preview";

export { patch, type Values };
export const simple = (value: unknown) => typeof value === "number" || typeof value === "boolean" || typeof value === "string";

/** What was typed, as the kind of value that was there: text that is no number stays text, and the server says so. */
export function typedAs(text: string, like: unknown): unknown {
  if (typeof like === "number") return text.trim() === "" || !Number.isFinite(Number(text)) ? text : Number(text);
  return typeof like === "boolean" ? text === "true" : text;
}

/** One value, changed on its own: what is not given stays. */
export function Field({ path, value, may }: { path: string[]; value: string | number | boolean; may: boolean }) {
  const change = useChange();
  const { shown: text, changed, edit, undo } = useDraft(String(value));
  const key = path.join(".");
  const next = typedAs(text, value);
  // What was refused was said of what had been typed then.
  const type = (typed: string) => { change.reset(); edit(typed); };
  const submit = (event: FormEvent) => { event.preventDefault(); change.mutate(patch(path, next), { onSuccess: undo }); };
  // Thresholds are at the top, and numbers; what a key may do does not matter for looking.
  const threshold = path.length === 1 && typeof value === "number";
  return (
    <form className="field setting" data-key={key} onSubmit={submit}>
      <label><Code>{key}</Code>{" "}{typeof value === "boolean"
        ? <select value={text} disabled={!may} onChange={(event) => type(event.target.value)}><option value="true">true</option><option value="false">false</option></select>
        : <input type="text" inputMode={typeof value === "number" ? "decimal" : "text"} value={text} disabled={!may && !threshold} onChange={(event) => type(event.target.value)} />}</label>
      {changed ? <><button type="submit" className="primary" disabled={!may || change.isPending} aria-describedby={may ? undefined : "why-settings"}>Save</button><button type="button" onClick={() => { change.reset(); undo(); }}>Undo</button></> : null}
      {change.isSuccess && !changed ? <span role="status"> Saved.{change.data.overridden_by_environment.includes(key) ? <span className="gap"> The environment says otherwise, and wins.</span> : null}</span> : null}
      {change.isError ? <Failure error={change.error} /> : null}
      {changed && threshold && typeof next === "number" ? <LivePreview settings={patch(path, next)} /> : null}
    </form>
  );
}

const words = (value: unknown): value is string[] => Array.isArray(value) && value.every((each) => typeof each === "string");

/** A setting of any other shape, with a field that fits it. */
export function Structured({ path, value, may }: { path: string[]; value: unknown; may: boolean }) {
  const key = path.join(".");
  if (value === null || value === undefined) return <OptionalField path={path} value={null} may={may} />;
  // Not set at the moment or set: it stays the same field.
  if (key === "governance.public_url") return <OptionalField path={path} value={String(value)} may={may} />;
  if (key === "governance.policy" && Array.isArray(value)) return <PolicyField path={path} value={value as Rule[]} may={may} />;
  return words(value) ? <ListField path={path} value={value} may={may} /> : <JsonField path={path} value={value} may={may} />;
}

/** Whether a key has a field of its own shape although its value is one word. */
const shaped = (path: string[]) => path.join(".") === "governance.public_url";

export function Group({ name, value, may, path }: { name: string; value: Values; may: boolean; path: string[] }) {
  const entries = Object.entries(value);
  const open = OPEN.includes(path.join("."));
  const fields = entries.filter(([key, inner]) => simple(inner) && !shaped([...path, key]));
  const rest = entries.filter(([key, inner]) => !open && (!simple(inner) || shaped([...path, key])));
  return (
    <Fold summary={<strong>{title(name)}</strong>} open={path.length === 0}>
      <div className="form-rows">{fields.map(([key, inner]) => <Field key={key} path={[...path, key]} value={inner as string | number | boolean} may={may} />)}</div>
      {open ? <JsonField path={path} value={value} may={may} /> : null}
      {rest.map(([key, inner]) => inner !== null && typeof inner === "object" && !Array.isArray(inner) && !OPEN.includes([...path, key].join(".")) && Object.values(inner).some(simple)
        ? <Group key={key} name={key} value={inner as Values} may={may} path={[...path, key]} />
        : <Structured key={key} path={[...path, key]} value={inner} may={may} />)}
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
        <div key={family}><h3>{title(family)}</h3><div className="form-rows">{members.map((key) => <Field key={key} path={[key]} value={values[key] as string | number | boolean} may={may} />)}</div></div>
      )) : <p className="empty">No threshold is called so.</p>}
    </Fold>
  );
}
