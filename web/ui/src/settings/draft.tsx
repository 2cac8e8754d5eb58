// A setting that is more than one word or figure, while it is edited: sent as a whole, with what became of it beside it.
import { useState, type FormEvent, type ReactNode } from "react";
import { Code } from "../components/bits";
import { Failure } from "../components/states";
import { patch, useChange } from "./change";

/** What is edited: as it is in force until somebody changes it. */
export function useDraft<T>(inForce: T) {
  const [edited, setEdited] = useState<T | null>(null);
  const shown = edited ?? inForce;
  return { shown, changed: edited !== null && JSON.stringify(edited) !== JSON.stringify(inForce), edit: (value: T) => setEdited(value), undo: () => setEdited(null) };
}

/** `next` is what would be sent for the setting at `path`; `wrong` is why that cannot be. */
export function Draft({ path, hint, may, change, changed, next, wrong, onUndo, children }: {
  path: string[]; hint?: ReactNode; may: boolean; change: ReturnType<typeof useChange>; changed: boolean; next: unknown; wrong?: string; onUndo: () => void; children: ReactNode;
}) {
  const [asked, setAsked] = useState(false);
  const key = path.join(".");
  const send = (value: unknown) => change.mutate(patch(path, value), { onSuccess: () => { onUndo(); setAsked(false); } });
  const submit = (event: FormEvent) => { event.preventDefault(); if (!wrong) send(next); };
  const why = may ? undefined : "why-settings";
  return (
    <form className="long setting" data-key={key} aria-label={key} onSubmit={submit}>
      <h3><Code>{key}</Code></h3>
      {hint ? <p className="hint">{hint}</p> : null}
      {children}
      {wrong ? <p className="gap" role="status">{wrong}</p> : null}
      <p className="decide">
        <button type="submit" className="primary" disabled={!may || !changed || Boolean(wrong) || change.isPending} aria-describedby={why}>Save {key}</button>
        {changed ? <button type="button" onClick={() => { change.reset(); onUndo(); }}>Undo</button> : null}
        {asked
          ? <><button type="button" className="reject" disabled={!may || change.isPending} onClick={() => send(null)}>Really back to the default</button><button type="button" onClick={() => setAsked(false)}>Keep it</button></>
          : <button type="button" disabled={!may} aria-describedby={why} onClick={() => { change.reset(); setAsked(true); }}>Back to the default</button>}
        {change.isSuccess && !changed ? <span role="status">Saved.{change.data.overridden_by_environment.includes(key) ? <span className="gap"> The environment says otherwise, and wins.</span> : change.data.changes.length ? null : " It was so already."}</span> : null}
      </p>
      {change.isError ? <Failure error={change.error} /> : null}
    </form>
  );
}
