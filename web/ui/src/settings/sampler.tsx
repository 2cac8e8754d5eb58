// Which traces are worth keeping: what each reason scores, and the sum from which on a trace is kept.
import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useState, type FormEvent } from "react";
import { write } from "../api/client";
import { useSettings } from "../api/hooks";
import { Code } from "../components/bits";
import { Empty, Failure, Show } from "../components/states";
import { useMayHere, Why } from "../lib/may";

const PATH = "/api/v1/sampling/policy";
/** The policy's figures by key: each 0 to 1000. */
export type Policy = Record<string, number>;

const WHAT: Record<string, string> = {
  has_error_score: "an observation has level ERROR or WARNING", incident_score: "a detector's finding is about it",
  cost_spike_score: "it cost more than twice the average of its feature", schema_failed_score: "an output breaks its feature's schema",
  novel_pattern_score: "it used a set of tools that no trace used before", high_gen_score: "it has more than 5 generations",
};

/** The figures that differ, as numbers; null where one is no whole number from 0 to 1000. */
export function changed(policy: Policy, typed: Record<string, string>): Policy | null {
  const next: Policy = {};
  for (const [key, text] of Object.entries(typed)) {
    const value = Number(text);
    if (!text.trim() || !Number.isInteger(value) || value < 0 || value > 1000) return null;
    if (value !== policy[key]) next[key] = value;
  }
  return next;
}

/** The reasons that keep a trace by themselves. */
export const alone = (policy: Policy) => Object.keys(WHAT).filter((key) => (policy[key] ?? 0) > 0 && (policy[key] ?? 0) >= (policy.keep_threshold ?? Infinity));

function Form({ policy }: { policy: Policy }) {
  const client = useQueryClient();
  const may = useMayHere("admin", "Changing the policy");
  const [typed, setTyped] = useState<Record<string, string>>({});
  const text = (key: string) => typed[key] ?? String(policy[key] ?? "");
  const next = changed(policy, typed);
  const save = useMutation({
    mutationFn: () => write<Policy>("PUT", PATH, next),
    onSuccess: async () => { await client.invalidateQueries({ queryKey: ["live", "/api/v1/settings"] }); setTyped({}); },
  });
  const submit = (event: FormEvent) => { event.preventDefault(); save.mutate(); };
  const field = (key: string) => <input type="number" min={key === "keep_threshold" ? 1 : 0} max={1000} step={1} className="short" aria-label={key} disabled={!may.may} value={text(key)} onChange={(event) => setTyped({ ...typed, [key]: event.target.value })} />;
  const shown: Policy = { ...policy, ...next };
  const enough = alone(shown);
  return (
    <form onSubmit={submit}>
      <div className="scroll" tabIndex={0} role="group" aria-label="Reasons and their scores"><table>
        <thead><tr><th scope="col">Reason</th><th scope="col">Scores</th><th scope="col">When</th><th scope="col">Keeps a trace by itself</th></tr></thead>
        <tbody>{Object.keys(policy).filter((key) => key !== "keep_threshold").map((key) => <tr key={key}><td><Code>{key.replace(/_score$/, "")}</Code></td><td>{field(key)}</td><td>{WHAT[key] ?? "–"}</td><td>{shown[key] === 0 ? "switched off" : enough.includes(key) ? "yes" : "only with others"}</td></tr>)}</tbody>
      </table></div>
      <p className="decide"><label>A trace is kept from a sum of {field("keep_threshold")} on.</label>
        <button type="submit" className="primary" disabled={!may.may || next === null || !Object.keys(next).length || save.isPending} aria-describedby={may.may ? undefined : "why-sampler"}>Save the policy</button>
        {Object.keys(typed).length ? <button type="button" onClick={() => setTyped({})}>Undo</button> : null}<Why id="why-sampler" may={may} /></p>
      {next === null ? <p className="gap">Scores are whole numbers from 0 to 1000.</p> : null}
      {save.isError ? <Failure error={save.error} /> : null}
      {save.isSuccess && !Object.keys(typed).length ? <p role="status">Saved; in force with the next run of the sampler.</p> : null}
    </form>
  );
}

export function SamplerPanel() {
  const settings = useSettings();
  return <Show query={settings} what="the policy">{(data) => {
    const policy = data.settings.sampling as Policy | undefined;
    return policy ? <Form policy={policy} /> : <Empty>This server has no policy to set: what makes a trace worth keeping is built in, and described in docs/sampling.md.</Empty>;
  }}</Show>;
}
