import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { MemoryRouter } from "react-router";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { useSettings } from "../api/hooks";
import { difference } from "./change";
import { entries } from "./lists";
import { mistake, shadowed, written, type Rule } from "./policy";
import { Field, Group, Structured, type Values } from "./values";

type Call = { method: string; path: string; body: unknown };
const PATH = "/api/v1/settings";
let calls: Call[];
let inForce: Values;
let refuse: string | null;
let overridden: string[];

/** As the server does it: objects by key, null takes a key away. */
function merge(into: Values, change: Values): Values {
  const out = { ...into };
  for (const [key, value] of Object.entries(change)) {
    if (value === null) delete out[key];
    else out[key] = typeof value === "object" && !Array.isArray(value) ? merge((out[key] ?? {}) as Values, value as Values) : value;
  }
  return out;
}

beforeEach(() => {
  calls = [];
  refuse = null;
  overridden = [];
  vi.stubGlobal("fetch", (path: string, init: RequestInit = {}) => {
    const method = init.method ?? "GET";
    const body = init.body ? (JSON.parse(String(init.body)) as Values) : undefined;
    calls.push({ method, path, body });
    if (path === "/api/v1/session") return Promise.resolve(Response.json({ name: "k", person: "Alice", scopes: ["admin"], project: "default", approver: false, dev: false, now: "2026-11-20T12:00:00Z" }));
    if (method === "PATCH") {
      if (refuse) return Promise.resolve(Response.json({ error: { code: "invalid", message: refuse } }, { status: 422 }));
      if (!overridden.length) inForce = merge(inForce, body ?? {});
      return Promise.resolve(Response.json({ settings: inForce, reload: {}, changes: [{}], overridden_by_environment: overridden }));
    }
    return Promise.resolve(path === PATH ? Response.json({ settings: inForce, reload: {} }) : Response.json({ error: { code: "x", message: `nothing at ${path}` } }, { status: 404 }));
  });
});
afterEach(() => vi.unstubAllGlobals());

const at = (path: string[]) => path.reduce<unknown>((inner, name) => (inner as Values | undefined)?.[name], inForce);
/** What the page shows of the settings in force. */
function Page({ path, may }: { path: string[]; may: boolean }) {
  const settings = useSettings();
  if (!settings.data) return null;
  const value = path.reduce<unknown>((inner, name) => (inner as Values | undefined)?.[name], settings.data.settings);
  if (typeof value === "object" && value !== null && !Array.isArray(value) && path.length === 1) return <Group name={path[0] ?? ""} path={path} value={value as Values} may={may} />;
  return typeof value === "number" ? <Field path={path} value={value} may={may} /> : <Structured path={path} value={value ?? null} may={may} />;
}
const shown = (settings: Values, path: string[], may = true) => {
  inForce = settings;
  return render(<QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false, staleTime: Infinity } } })}><MemoryRouter><Page path={path} may={may} /></MemoryRouter></QueryClientProvider>);
};
const sent = () => calls.filter((call) => call.method === "PATCH").map((call) => call.body);

describe("settings that are lists", () => {
  test("whoever sets up an installation names its approvers here, and is told that nobody may approve before", async () => {
    shown({ governance: { approvers: [] } }, ["governance", "approvers"]);
    await screen.findByText(/Nobody may approve/);
    fireEvent.click(await screen.findByRole("button", { name: "Add yourself (Alice)" }));
    fireEvent.change(screen.getByRole("textbox"), { target: { value: "Alice\n  U012ABCDEF \n\nAlice\n" } });
    fireEvent.click(screen.getByRole("button", { name: "Save governance.approvers" }));
    await screen.findByText("Saved.");
    expect(sent()).toEqual([{ governance: { approvers: ["Alice", "U012ABCDEF"] } }]);
    expect((screen.getByRole("textbox") as HTMLTextAreaElement).value).toBe("Alice\nU012ABCDEF");
    expect(screen.queryByText(/Nobody may approve/)).toBeNull();
  });
  test("an entry is a line without the space around it, once", () => expect(entries(" a\n\na\nb c \n")).toEqual(["a", "b c"]));
  test("a list goes back to its default in two presses", async () => {
    shown({ incident_channels: ["mine"] }, ["incident_channels"]);
    fireEvent.click(await screen.findByRole("button", { name: "Back to the default" }));
    expect(sent()).toEqual([]);
    fireEvent.click(screen.getByRole("button", { name: "Really back to the default" }));
    await waitFor(() => expect(sent()).toEqual([{ incident_channels: null }]));
  });
  test("who may not change settings sees them, and cannot type", async () => {
    shown({ incident_channels: ["mine"] }, ["incident_channels"], false);
    const text = (await screen.findByRole("textbox")) as HTMLTextAreaElement;
    expect([text.value, text.disabled, (screen.getByRole("button", { name: /^Save/ }) as HTMLButtonElement).disabled]).toEqual(["mine", true, true]);
  });
});

describe("settings that are not set", () => {
  test("one without a value is there, is set, and is taken away by emptying it", async () => {
    shown({ governance: { public_url: null } }, ["governance", "public_url"]);
    const input = (await screen.findByRole("textbox")) as HTMLInputElement;
    fireEvent.change(input, { target: { value: "https://tripline.example.com" } });
    fireEvent.click(screen.getByRole("button", { name: /^Save/ }));
    await screen.findByText("Saved.");
    fireEvent.change(screen.getByRole("textbox"), { target: { value: " " } });
    fireEvent.click(screen.getByRole("button", { name: /^Save/ }));
    await waitFor(() => expect(sent()).toEqual([{ governance: { public_url: "https://tripline.example.com" } }, { governance: { public_url: null } }]));
  });
  test("a group shows every key of it, also those without a value", async () => {
    shown({ governance: { approvers: [], public_url: null, policy: [], close_issues: true } }, ["governance"]);
    fireEvent.click(await screen.findByText("Governance"));
    for (const key of ["governance.approvers", "governance.public_url", "governance.policy"]) await screen.findByRole("form", { name: key });
    expect(screen.getByRole("combobox")).toBeTruthy();
  });
});

describe("settings that are objects", () => {
  test("what is taken out of an object is taken out of the settings, and what did not change is not sent", async () => {
    shown({ runs: { agents: { a: { tool_loop_threshold: 5, slow_step_tool_ms: 10 }, b: { tool_loop_threshold: 4 } } } }, ["runs", "agents"]);
    const text = await screen.findByRole("textbox");
    fireEvent.change(text, { target: { value: "{" } });
    await screen.findByText(/This is no JSON/);
    expect((screen.getByRole("button", { name: /^Save/ }) as HTMLButtonElement).disabled).toBe(true);
    fireEvent.change(text, { target: { value: JSON.stringify({ a: { tool_loop_threshold: 6, slow_step_tool_ms: 10 }, c: { retry_storm_threshold: 2 } }) } });
    fireEvent.click(screen.getByRole("button", { name: /^Save/ }));
    await screen.findByText("Saved.");
    expect(sent()).toEqual([{ runs: { agents: { a: { tool_loop_threshold: 6 }, b: null, c: { retry_storm_threshold: 2 } } } }]);
    expect(at(["runs", "agents"])).toEqual({ a: { tool_loop_threshold: 6, slow_step_tool_ms: 10 }, c: { retry_storm_threshold: 2 } });
  });
  test("differences are what has to be sent", () => {
    expect(difference({ a: 1, b: [1], c: { d: null } }, { a: 1, b: [1], c: { d: null } })).toBeUndefined();
    expect(difference({ a: 1, c: { d: 1, e: 2 } }, { c: { d: 1, e: 3 }, f: [] })).toEqual({ a: null, c: { e: 3 }, f: [] });
    expect(difference({ time: null }, {})).toBeUndefined();
  });
  test("a schedule is changed by itself, and another is added", async () => {
    shown({ schedules: { weekly_digest: "0 0 9 * * MON" } }, ["schedules"]);
    fireEvent.click(await screen.findByText("Schedules"));
    const all = await screen.findByRole("form", { name: "schedules" });
    fireEvent.change(within(all).getByRole("textbox"), { target: { value: JSON.stringify({ weekly_digest: "0 0 9 * * MON", mine: "*/5 * * * *" }) } });
    fireEvent.click(within(all).getByRole("button", { name: "Save schedules" }));
    await waitFor(() => expect(sent()).toEqual([{ schedules: { mine: "*/5 * * * *" } }]));
  });
});

describe("the governance policy", () => {
  const rules: Rule[] = [
    { type: "agent_loop", min_severity: "medium", when: "generations > 20", action: "kill_loop", decision: "act" },
    { type: "cost_spike", min_severity: "medium", action: "open_github_issue", decision: "ask" },
    { min_severity: "info", action: "record", decision: "record" },
  ];
  test("rules are changed, moved, added before the one for all the rest, and sent as a whole", async () => {
    shown({ governance: { policy: rules } }, ["governance", "policy"]);
    fireEvent.change(await screen.findByLabelText("Rule 1: condition"), { target: { value: "generations > 50" } });
    fireEvent.click(screen.getByRole("button", { name: "Rule 2: earlier" }));
    fireEvent.click(screen.getByRole("button", { name: "Add a rule" }));
    fireEvent.change(screen.getByLabelText("Rule 3: type"), { target: { value: "mine" } });
    fireEvent.change(screen.getByLabelText("Rule 3: least severity"), { target: { value: "critical" } });
    fireEvent.change(screen.getByLabelText("Rule 3: decision"), { target: { value: "act" } });
    fireEvent.click(screen.getByRole("button", { name: "Save governance.policy" }));
    await screen.findByText("Saved.");
    expect(sent()).toEqual([{ governance: { policy: [rules[1], { ...rules[0], when: "generations > 50" }, { type: "mine", min_severity: "critical", action: "open_github_issue", decision: "act" }, rules[2]] } }]);
  });
  test("a condition that the server would refuse is said to be none, and is not sent", async () => {
    shown({ governance: { policy: rules } }, ["governance", "policy"]);
    fireEvent.change(await screen.findByLabelText("Rule 1: condition"), { target: { value: "many generations" } });
    await screen.findByText(/Rule 1: "many generations" is no condition/);
    expect((screen.getByRole("button", { name: "Save governance.policy" }) as HTMLButtonElement).disabled).toBe(true);
    for (const when of ["generations > 20", "cost_usd>=0.5", "x = -1", "y < 1e3", ""]) expect(mistake([{ when, action: "record", decision: "record" }])).toBeUndefined();
  });
  test("a rule that can never decide is pointed at", () => {
    expect(shadowed(rules)).toEqual([]);
    expect(shadowed([{ min_severity: "high", action: "open_github_issue", decision: "ask" }, { type: "cost_spike", min_severity: "critical", action: "record", decision: "record" }, { type: "cost_spike", min_severity: "medium", action: "record", decision: "record" }])).toEqual([1]);
    // A rule that kills matches only what has a trace: it takes not all of them.
    expect(shadowed([{ type: "agent_loop", action: "kill_loop", decision: "ask" }, { type: "agent_loop", action: "open_github_issue", decision: "ask" }])).toEqual([]);
  });
  test("what is left empty matches everything, and is left out", () => {
    expect(written([{ type: " ", when: "", action: "record", decision: "record" }])).toEqual([{ action: "record", decision: "record" }]);
  });
});

describe("what is said beside a value", () => {
  test("why a value was refused is said of that value only", async () => {
    refuse = "cost_spike_multiplier: \"banana\" is not allowed";
    shown({ cost_spike_multiplier: 2.5 }, ["cost_spike_multiplier"]);
    const input = await screen.findByRole("textbox");
    fireEvent.change(input, { target: { value: "banana" } });
    fireEvent.click(screen.getByRole("button", { name: "Save" }));
    await screen.findByText(/"banana" is not allowed/);
    fireEvent.change(input, { target: { value: "-3" } });
    expect(screen.queryByText(/banana/)).toBeNull();
  });
  test("a value that was saved is said to be, and that the environment wins where it does", async () => {
    shown({ cost_spike_multiplier: 2.5 }, ["cost_spike_multiplier"]);
    const input = (await screen.findByRole("textbox")) as HTMLInputElement;
    fireEvent.change(input, { target: { value: "3" } });
    fireEvent.click(screen.getByRole("button", { name: "Save" }));
    await screen.findByText("Saved.");
    expect(input.value).toBe("3");
    overridden = ["cost_spike_multiplier"];
    fireEvent.change(input, { target: { value: "4" } });
    fireEvent.click(screen.getByRole("button", { name: "Save" }));
    await screen.findByText(/The environment says otherwise, and wins/);
    expect(input.value).toBe("3");
  });
});
