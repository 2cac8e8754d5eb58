// Settings that are lists, objects or not set at all.
import { useSession } from "../api/hooks";
import { useId } from "react";
import { difference, useChange } from "./change";
import { Draft, useDraft } from "./draft";

/** What they are for, as docs/settings.md and docs/governance.md have it. */
const WHAT: Record<string, string> = {
  incident_channels: "Slack channels whose messages belong to an incident's timeline. When none of them exists, all readable ones are taken.",
  "governance.approvers": "Who may approve: Slack user ids (U012ABCDEF), names of API keys, or the persons behind them. Empty: nobody can approve.",
  "governance.public_url": "Where people open Tripline in their browser, for links in Slack and GitHub. Empty: messages have no links.",
  "ingest.keep_content": "Projects whose events keep their raw content, beside its hash.",
  "runs.shadow": "Detectors of runs that are on trial: what they find is kept and told to nobody.",
  "runs.live": "Detectors of your own that are no longer on trial.",
  "runs.agents": "Thresholds of single agents, as {\"my-agent\": {\"tool_loop_threshold\": 5}}: those of run detectors.",
  model_prices: "US dollars per million tokens, for model calls that come without a price, as {\"gpt-4o*\": {\"input\": 2.5, \"output\": 10}}. A model that no pattern names has no price.",
  schedules: "A cron expression per job, in UTC: 5 fields, or 6 with seconds first. A detector's own is in the header of its file; one given here takes its place.",
  sync: "Tables of which a local copy is kept, as {\"langfuse.observations\": {\"window\": \"7d\", \"interval\": \"5m\"}}.",
};

type Given<T> = { path: string[]; value: T; may: boolean };

/** One entry a line; empty lines are none, and what is there twice is there once. */
export const entries = (text: string) => [...new Set(text.split("\n").map((line) => line.trim()).filter(Boolean))];

/** A list of words. */
export function ListField({ path, value, may }: Given<string[]>) {
  const id = useId();
  const change = useChange();
  const session = useSession();
  const key = path.join(".");
  const { shown, changed, edit, undo } = useDraft(value.join("\n"));
  const next = entries(shown);
  const me = session.data?.person;
  const type = (text: string) => { change.reset(); edit(text); };
  return (
    <Draft path={path} hint={WHAT[key]} may={may} change={change} changed={changed && JSON.stringify(next) !== JSON.stringify(value)} next={next} onUndo={undo}>
      {key === "governance.approvers" && !value.length ? <p className="gap">Nobody may approve: what waits for a decision expires.</p> : null}
      <label htmlFor={id} className="hint">One a line</label>
      <textarea id={id} aria-label={key} rows={Math.min(12, Math.max(3, next.length + 1))} disabled={!may} spellCheck={false} value={shown} onChange={(event) => type(event.target.value)} />
      {key === "governance.approvers" && may && me && !next.includes(me) ? <p><button type="button" onClick={() => type([...next, me].join("\n"))}>Add yourself ({me})</button></p> : null}
    </Draft>
  );
}

/** A value that may be missing; empty is not set. */
export function OptionalField({ path, value, may }: Given<string | null>) {
  const change = useChange();
  const key = path.join(".");
  const { shown, changed, edit, undo } = useDraft(value ?? "");
  return (
    <Draft path={path} hint={WHAT[key]} may={may} change={change} changed={changed} next={shown.trim() || null} onUndo={undo}>
      <input type="text" aria-label={key} placeholder="not set" disabled={!may} value={shown} onChange={(event) => { change.reset(); edit(event.target.value); }} />
    </Draft>
  );
}

/** What a text says as JSON, or why it says nothing. */
export function parsed(text: string): { value?: unknown; wrong?: string } {
  try {
    return { value: JSON.parse(text) as unknown };
  } catch (error) {
    return { wrong: `This is no JSON: ${error instanceof Error ? error.message : String(error)}` };
  }
}

/** Whatever else there is, as JSON; what is taken out of an object is taken out of the settings. */
export function JsonField({ path, value, may }: Given<unknown>) {
  const change = useChange();
  const key = path.join(".");
  const { shown, changed, edit, undo } = useDraft(JSON.stringify(value, null, 2));
  const { value: next, wrong } = parsed(shown);
  const differs = wrong ? undefined : difference(value, next);
  return (
    <Draft path={path} hint={WHAT[key]} may={may} change={change} changed={changed && (Boolean(wrong) || differs !== undefined)} next={differs} wrong={wrong} onUndo={undo}>
      <textarea className="code" aria-label={key} rows={Math.min(20, Math.max(3, shown.split("\n").length + 1))} disabled={!may} spellCheck={false} value={shown} onChange={(event) => { change.reset(); edit(event.target.value); }} />
    </Draft>
  );
}

/** Objects whose keys are anybody's: an entry can be added and taken out. */
export const OPEN = ["schedules", "sync", "runs.agents"];

