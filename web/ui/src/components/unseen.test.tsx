import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { render, screen, waitFor } from "@testing-library/react";
import { MemoryRouter } from "react-router";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import type { Incident, Job } from "../api/types";
import { Dashboard } from "../pages/dashboard";
import Incidents from "../pages/incidents";
import Quality from "../pages/quality";
import { blind } from "./unseen";

const NOW = "2026-11-20T18:00:45Z";
let answers: Record<string, unknown>;
const job = (name: string, status: string, over: object = {}): Job => ({ name, description: "", schedule: null, next_due_at: null, judged_until: "2026-11-20T12:00:00Z", last_run: { status, error: status === "gap" ? "langfuse: 503" : null, attempt: 1, finished_at: NOW, started_at: NOW, ...over } }) as unknown as Job;
const incident = (id: number, over: object): Incident => ({ id: String(id), type: "cost_spike", entity: `e${id}`, severity: "high", status: "open", opened_at: NOW, last_seen_at: NOW, description: "", cost_usd: 1, gaps: [], narrative_parts: null, ...over }) as unknown as Incident;

beforeEach(() => {
  answers = {
    "/api/v1/session": { name: "k", person: "p", scopes: ["read"], project: "default", approver: false, dev: false, now: NOW },
    "/api/v1/jobs": { items: [job("agent_loop", "gap"), job("prompt_drift", "gap"), job("cost_spike", "ok")] },
    "/api/v1/sources": { items: [] }, "/api/v1/audit/verify": { verdict: "intact", rows: 3, head: { seq: 3, hash: "x" } },
    "/api/v1/sql": { columns: [], rows: [], report: {} },
  };
  vi.stubGlobal("fetch", (path: string) => {
    const [where, search] = path.split("?");
    const answer = answers[path] ?? answers[`${where}?${new URLSearchParams(search).get("status")}`] ?? answers[where as string];
    if (typeof answer === "function") return Promise.resolve(Response.json((answer as (query: URLSearchParams) => unknown)(new URLSearchParams(search))));
    return Promise.resolve(Response.json(answer ?? { items: [] }));
  });
});
afterEach(() => vi.unstubAllGlobals());
const shown = (node: React.ReactNode, at = "/") => render(<QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}><MemoryRouter initialEntries={[at]}>{node}</MemoryRouter></QueryClientProvider>);

describe("what could not be looked at", () => {
  test("is what the newest run did not see, also while it is tried again", () => {
    const jobs = [job("a", "ok"), job("b", "gap"), job("c", "running"), job("d", "running", { attempt: 2 }), { ...job("e", "ok"), last_run: null }];
    expect(blind(jobs).map((each) => each.job)).toEqual(["b", "d"]);
    expect(blind(jobs, ["a", "b"])).toEqual([{ job: "b", reason: "langfuse: 503", until: "2026-11-20T12:00:00Z" }]);
  });
  test("a list of drift without rows is not said to be one without drift", async () => {
    shown(<Quality />);
    await screen.findByText("unknown: prompt drift");
    expect(screen.getByText("No drift was found where it could be looked for.")).toBeTruthy();
  });
  test("a list of incidents says which of them it cannot know", async () => {
    shown(<Incidents />, "/incidents?type=agent_loop");
    await screen.findByText("unknown: agent loop");
    expect(screen.queryByText("unknown: prompt drift"), "only what is asked for").toBeNull();
    expect(screen.queryByText("No incidents like that.")).toBeNull();
  });
  test("the dashboard does not count no loops when nobody could look for them", async () => {
    shown(<Dashboard />);
    await screen.findAllByText("unknown: agent loop");
    const stat = screen.getAllByText("Active loops")[0]?.parentElement;
    await waitFor(() => expect(stat?.querySelector(".stat-value")?.textContent).toBe("unknown"));
    expect(document.getElementById("answer")?.textContent).toContain("Not everything is known: agent loop, prompt drift.");
  });
});

test("the dashboard counts all open incidents, the worst first, however many ended since", async () => {
  const open = [...Array.from({ length: 100 }, (_, index) => incident(index, { severity: "info" })), incident(100, { severity: "critical", opened_at: "2026-11-01T00:00:00Z" })];
  answers["/api/v1/jobs"] = { items: [job("cost_spike", "ok")] };
  answers["/api/v1/incidents?open"] = (query: URLSearchParams) => (query.get("cursor") ? { items: open.slice(100) } : { items: open.slice(0, 100), next_cursor: "more" });
  answers["/api/v1/incidents?resolved"] = { items: [incident(200, { status: "resolved" })] };
  shown(<Dashboard />);
  await screen.findByText("101 open incidents, the worst critical.");
  expect(document.querySelector(".lines .badge")?.textContent).toBe("critical");
});

test("a record that was changed is said on the dashboard", async () => {
  answers["/api/v1/audit/verify"] = { verdict: "broken", seq: 12, reason: "hash" };
  shown(<Dashboard />);
  expect((await screen.findByRole("alert")).textContent).toContain("entry 12 is not as it was written");
});
