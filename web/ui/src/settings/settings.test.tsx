import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { fireEvent, render, screen, waitFor, within } from "@testing-library/react";
import { MemoryRouter } from "react-router";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { ApiKey, Preview, Source } from "../api/types";
import { KeysPanel, standing } from "./keys";
import { PreviewLines } from "./preview";
import { alone, changed, SamplerPanel } from "./sampler";
import { SourcesPanel } from "./sources";
import { families, Field, patch, typedAs } from "./values";

type Call = { method: string; path: string; body: unknown };
let calls: Call[];
let answers: Record<string, unknown>;

beforeEach(() => {
  calls = [];
  answers = {};
  vi.stubGlobal("fetch", (path: string, init: RequestInit = {}) => {
    const method = init.method ?? "GET";
    calls.push({ method, path, body: init.body ? JSON.parse(String(init.body)) : undefined });
    const answer = answers[`${method} ${path}`];
    return Promise.resolve(answer === undefined ? Response.json({ error: { code: "x", message: `nothing at ${path}` } }, { status: 404 }) : Response.json(answer));
  });
});
afterEach(() => vi.unstubAllGlobals());

const as = (...scopes: string[]) => { answers["GET /api/v1/session"] = { name: "k", person: "p", scopes, project: "default", approver: false, dev: false, now: "2026-11-20T12:00:00Z" }; };
const shown = (node: React.ReactNode) => render(<QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}><MemoryRouter>{node}</MemoryRouter></QueryClientProvider>);

const key = (over: Partial<ApiKey>): ApiKey => ({ id: "1", project_id: "default", name: "alice", person: "Alice", scopes: ["read"], prefix: "tl_abcde", created_at: "2026-11-01T00:00:00Z", last_used_at: null, expires_at: null, revoked_at: null, ...over });

describe("API keys", () => {
  test("a key is active until it is revoked or its time is over", () => {
    const at = Date.parse("2026-11-20T12:00:00Z");
    expect([key({}), key({ expires_at: "2026-11-20T12:00:00Z" }), key({ expires_at: "2026-11-20T12:00:01Z" }), key({ revoked_at: "2026-11-02T00:00:00Z" })].map((each) => standing(each, at)))
      .toEqual(["active", "expired", "active", "revoked"]);
  });
  test("a key is made, its secret is shown once and is gone when it is put away", async () => {
    as("admin");
    answers["GET /api/v1/keys"] = { items: [key({})], projects: ["default", "acme"] };
    answers["POST /api/v1/keys"] = { ...key({ id: "2", name: "bob" }), secret: "tl_secret" };
    shown(<KeysPanel />);
    await screen.findByRole("option", { name: "acme" });
    fireEvent.change(screen.getByLabelText("Name"), { target: { value: "bob" } });
    fireEvent.change(screen.getByLabelText(/^Project/), { target: { value: "acme" } });
    fireEvent.change(screen.getByLabelText("Ends"), { target: { value: "30" } });
    fireEvent.click(screen.getByLabelText(/^operate/));
    fireEvent.click(screen.getByRole("button", { name: "Make the key" }));
    await screen.findByText("tl_secret");
    expect(calls.find((call) => call.method === "POST")?.body).toEqual({ name: "bob", scopes: ["read", "operate"], project: "acme", expires_in_days: 30 });
    fireEvent.click(screen.getByRole("button", { name: "I have kept it" }));
    await waitFor(() => expect(document.body.textContent).not.toContain("tl_secret"));
  });
  test("revoking takes two presses", async () => {
    as("admin");
    answers["GET /api/v1/keys"] = { items: [key({})], projects: ["default"] };
    answers["DELETE /api/v1/keys/1"] = key({ revoked_at: "2026-11-20T12:00:00Z" });
    shown(<KeysPanel />);
    fireEvent.click(await screen.findByRole("button", { name: "Revoke alice" }));
    expect(calls.some((call) => call.method === "DELETE")).toBe(false);
    fireEvent.click(screen.getByRole("button", { name: "Really revoke alice" }));
    await waitFor(() => expect(calls.some((call) => call.method === "DELETE")).toBe(true));
  });
  test("who may not manage keys sees why, and no key is asked for", async () => {
    as("read", "operate");
    shown(<KeysPanel />);
    await screen.findByText(/Managing keys takes a key with the scope admin; yours has read, operate/);
    expect((screen.getByRole("button", { name: "Make the key" }) as HTMLButtonElement).disabled).toBe(true);
    expect(calls.some((call) => call.path === "/api/v1/keys")).toBe(false);
  });
});

describe("sources", () => {
  const source: Source = { name: "langfuse", description: "traces", base_url: "https://x", status: "configured", tables: ["traces"], last_success_at: null, last_failure_at: null, last_failure: null, latency_ms: 41, paused_seconds: 7, limits: { limit: null, remaining: 987, resets_at: null } };
  test("latency, what is left of the limit and a pause are said", () => {
    as("read");
    shown(<SourcesPanel sources={[source]} />);
    for (const text of ["41 ms", /987/, /paused for 7 s/]) screen.getByText(text);
  });
  test("a test that fails is an answer with its reason and what to do", async () => {
    as("operate");
    answers["POST /api/v1/sources/langfuse/test"] = { source: "langfuse", ok: false, latency_ms: null, error: "HTTP 401", hint: "set LANGFUSE_SECRET_KEY" };
    shown(<SourcesPanel sources={[source]} />);
    const button = screen.getByRole("button", { name: "Test langfuse" });
    await waitFor(() => expect((button as HTMLButtonElement).disabled).toBe(false));
    fireEvent.click(button);
    await screen.findByText("HTTP 401");
    screen.getByText("set LANGFUSE_SECRET_KEY");
  });
});

describe("thresholds", () => {
  const preview: Preview = {
    runs: { runs: 200, gone: 3, detectors: [{ detector: "tool_loop", title: "Tool loop", settings: ["tool_loop_threshold"], shadow: false, fires_now: 12, would_fire: 7, error: null }, { detector: "mine", title: "Mine", settings: [], shadow: true, fires_now: null, would_fire: null, error: "no such column" }] },
    windows: [{ detector: "agent_loop", title: "Agent loops", settings: [], due: 12, judged: 9, fires_now: 1, would_fire: 1, unknown: 2, requests: 31, cut: true, gaps: [{ source: "langfuse", reason: "503" }] }],
  };
  test("how many of the last runs would fire is said, and what is not known is not said to be quiet", () => {
    shown(<PreviewLines preview={preview} />);
    const text = document.body.textContent ?? "";
    for (const part of ["7 of the last 200 runs would fire (12 now)", "no such column", "3 runs could not be judged again", "1 of the last 9 runs would fire (as now), with 31 requests", "2 runs unknown", "Its budget ended after 9 of 12", "unknown: langfuse"]) expect(text).toContain(part);
  });
  test("what another value would find is asked for while it is typed, once it stays, and nothing is saved", async () => {
    as("read");
    answers["POST /api/v1/settings/preview"] = preview;
    shown(<Field path={["tool_loop_threshold"]} value={3} may={false} />);
    const input = screen.getByRole("textbox");
    for (const value of ["4", "45", "5"]) fireEvent.change(input, { target: { value } });
    await screen.findByText(/7 of the last 200 runs would fire/, undefined, { timeout: 10_000 });
    expect(calls.filter((call) => call.path.endsWith("/preview")).map((call) => call.body)).toEqual([{ settings: { tool_loop_threshold: 5 } }]);
    expect((within(document.body).getByRole("button", { name: "Save" }) as HTMLButtonElement).disabled).toBe(true);
    expect(calls.some((call) => call.method === "PATCH")).toBe(false);
  });
  test("thresholds are put together by what they are about", () => {
    expect(families(["tool_loop_window", "tool_loop_threshold", "slow_step_ms", "cost_spike_floor", "cost_spike_ratio", "tool_error_lift", "tool_error_minutes", "time_zone"])).toEqual([
      ["tool_loop", ["tool_loop_window", "tool_loop_threshold"]], ["cost_spike", ["cost_spike_floor", "cost_spike_ratio"]], ["tool_error", ["tool_error_lift", "tool_error_minutes"]], ["others", ["slow_step_ms", "time_zone"]],
    ]);
  });
  test("a value keeps its kind, and lies where it belongs", () => {
    expect([typedAs("5", 3), typedAs("5.5", 3), typedAs("", 3), typedAs("x", 3), typedAs("true", false), typedAs("5", "a")]).toEqual([5, 5.5, "", "x", true, "5"]);
    expect(patch(["narrator", "max_tokens"], 5)).toEqual({ narrator: { max_tokens: 5 } });
  });
});

describe("the sampler's policy", () => {
  const policy = { has_error_score: 100, high_gen_score: 40, novel_pattern_score: 30, keep_threshold: 40 };
  test("only what differs is sent, and what is no score is not", () => {
    expect(changed(policy, { has_error_score: "100", high_gen_score: "20" })).toEqual({ high_gen_score: 20 });
    for (const wrong of ["", "-1", "1001", "4.5", "x"]) expect(changed(policy, { high_gen_score: wrong })).toBeNull();
  });
  test("a score is changed, checked and saved, and which reason it switches off is said", async () => {
    as("admin");
    answers["GET /api/v1/settings"] = { settings: { sampling: policy }, reload: {} };
    answers["PUT /api/v1/sampling/policy"] = { ...policy, high_gen_score: 0 };
    shown(<SamplerPanel />);
    const input = await screen.findByLabelText("high_gen_score");
    await waitFor(() => expect((input as HTMLInputElement).disabled).toBe(false));
    fireEvent.change(input, { target: { value: "0" } });
    screen.getByText("switched off");
    fireEvent.click(screen.getByRole("button", { name: "Save the policy" }));
    await screen.findByText(/in force with the next run/);
    expect(calls.find((call) => call.method === "PUT")?.body).toEqual({ high_gen_score: 0 });
  });
  test("a server without a policy says so", async () => {
    as("admin");
    answers["GET /api/v1/settings"] = { settings: {}, reload: {} };
    shown(<SamplerPanel />);
    await screen.findByText(/This server has no policy to set/);
  });
  test("which reasons keep a trace by themselves is said", () => expect(alone(policy)).toEqual(["has_error_score", "high_gen_score"]));
});
