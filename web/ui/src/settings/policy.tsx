// Policy: which rule decides what is done about an incident. The first that matches does, so their order is part of them.
import { useId } from "react";
import { Empty } from "../components/states";
import { title, verb } from "../lib/format";
import { useChange } from "./change";
import { Draft, useDraft } from "./draft";

export type Rule = { type?: string; min_severity?: string; when?: string; action: string; decision: string };

const SEVERITIES = ["info", "medium", "high", "critical"];
const ACTIONS = ["open_github_issue", "kill_loop", "request_changes", "record"];
const DECISIONS: Record<string, string> = { record: "write it down", ask: "ask an approver", act: "act, and say so" };
const HEADINGS = ["Rule", "Type", "From", "When", "Action", "Decision", "Order"];
const TYPES = ["agent_loop", "cost_spike", "error_cascade", "prompt_drift", "silent_tool_failure", "pr_risk"];
/** A figure, a comparison and a number: what the server takes. */
const CONDITION = /^[a-z][a-z0-9_]*\s*(>=|<=|>|<|=)\s*[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i;

/** Rules as they are sent: what is left empty is left out, and matches everything. */
export const written = (rules: Rule[]): Rule[] => rules.map(({ type, min_severity, when, action, decision }) => ({
  ...(type?.trim() ? { type: type.trim() } : {}), ...(min_severity ? { min_severity } : {}), ...(when?.trim() ? { when: when.trim() } : {}), action, decision,
}));

/** What is wrong with rules, as far as that can be told here. */
export function mistake(rules: Rule[]): string | undefined {
  const at = rules.findIndex((rule) => rule.when?.trim() && !CONDITION.test(rule.when.trim()));
  return at < 0 ? undefined : `Rule ${at + 1}: "${rules[at]?.when?.trim()}" is no condition; write a figure, one of > >= < <= = and a number, as in generations > 20.`;
}

/** Rules that can never decide, because an earlier one takes all that they would match. */
export function shadowed(rules: Rule[]): number[] {
  const rank = (rule: Rule) => Math.max(0, SEVERITIES.indexOf(rule.min_severity ?? "info"));
  // A rule that kills or asks for changes matches only what has a trace or is a pull request.
  const takesAll = (rule: Rule) => !rule.when?.trim() && (rule.action === "open_github_issue" || rule.action === "record");
  return rules.flatMap((rule, index) => rules.slice(0, index).some((earlier) => takesAll(earlier) && (!earlier.type?.trim() || earlier.type.trim() === rule.type?.trim()) && rank(earlier) <= rank(rule)) ? [index] : []);
}

export function PolicyField({ path, value, may }: { path: string[]; value: Rule[]; may: boolean }) {
  const types = useId();
  const change = useChange();
  const { shown: rules, changed, edit, undo } = useDraft(value);
  const next = written(rules);
  const wrong = mistake(rules);
  const never = shadowed(rules);
  const put = (now: Rule[]) => { change.reset(); edit(now); };
  const set = (index: number, over: Partial<Rule>) => put(rules.map((rule, at) => (at === index ? { ...rule, ...over } : rule)));
  const add = () => {
    // Before the rule for all the rest: behind it nothing is ever decided.
    const last = rules.at(-1);
    const end = last && !last.type?.trim() && !last.when?.trim() ? rules.length - 1 : rules.length;
    put([...rules.slice(0, end), { min_severity: "medium", action: "open_github_issue", decision: "ask" }, ...rules.slice(end)]);
  };
  const move = (index: number, by: number) => { const now = [...rules]; const [rule] = now.splice(index, 1); if (rule) now.splice(index + by, 0, rule); put(now); };
  const pick = (index: number, name: "min_severity" | "action" | "decision", what: string, of: string[], say: (option: string) => string) => {
    const current = rules[index]?.[name] ?? (name === "min_severity" ? "info" : "");
    return <select aria-label={`Rule ${index + 1}: ${what}`} disabled={!may} value={current} onChange={(event) => set(index, { [name]: event.target.value })}>{[...new Set([...of, current])].map((option) => <option key={option} value={option}>{say(option)}</option>)}</select>;
  };
  return (
    <Draft path={path} may={may} change={change} changed={changed && JSON.stringify(next) !== JSON.stringify(written(value))} next={next} wrong={wrong} onUndo={undo}
      hint="The first rule that matches an incident decides. Without a type it is for every one; a condition compares a figure of the finding, as in generations > 20, and is false where the finding does not have it. When no rule matches, the incident is recorded.">
      <datalist id={types}>{[...new Set([...TYPES, ...rules.flatMap((rule) => rule.type ?? [])])].map((type) => <option key={type} value={type} />)}</datalist>
      {rules.length ? (
        <div className="scroll stack policy" tabIndex={0} role="group" aria-label="Rules of the policy"><table>
          <thead><tr>{HEADINGS.map((name) => <th key={name} scope="col">{name}</th>)}</tr></thead>
          <tbody>{rules.map((rule, index) => (
            <tr key={index}>
              <td data-label="Rule">{index + 1}</td>
              <td data-label="Type"><input type="text" list={types} aria-label={`Rule ${index + 1}: type`} placeholder="every type" disabled={!may} value={rule.type ?? ""} onChange={(event) => set(index, { type: event.target.value })} /></td>
              <td data-label="From">{pick(index, "min_severity", "least severity", SEVERITIES, (option) => (option === "info" ? "every severity" : title(option)))}</td>
              <td data-label="When"><input type="text" aria-label={`Rule ${index + 1}: condition`} placeholder="always" disabled={!may} value={rule.when ?? ""} onChange={(event) => set(index, { when: event.target.value })} /></td>
              <td data-label="Action">{pick(index, "action", "action", ACTIONS, (option) => (option === "record" ? "nothing" : title(verb(option))))}</td>
              <td data-label="Decision">{pick(index, "decision", "decision", Object.keys(DECISIONS), (option) => DECISIONS[option] ?? option)}</td>
              <td className="nowrap" data-label="Order"><button type="button" disabled={!may || index === 0} aria-label={`Rule ${index + 1}: earlier`} onClick={() => move(index, -1)}>↑</button>{" "}<button type="button" disabled={!may || index === rules.length - 1} aria-label={`Rule ${index + 1}: later`} onClick={() => move(index, 1)}>↓</button>{" "}<button type="button" disabled={!may} aria-label={`Rule ${index + 1}: remove`} onClick={() => put(rules.filter((_, at) => at !== index))}>Remove</button></td>
            </tr>
          ))}</tbody>
        </table></div>
      ) : <Empty>No rule: every incident is recorded, nothing is asked.</Empty>}
      {never.length ? <p className="gap">{never.length === 1 ? `Rule ${(never[0] ?? 0) + 1} never decides` : `Rules ${never.map((index) => index + 1).join(", ")} never decide`}: an earlier rule takes all that would match.</p> : null}
      <p><button type="button" disabled={!may} onClick={add}>Add a rule</button></p>
    </Draft>
  );
}
