import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { render, screen } from "@testing-library/react";
import { MemoryRouter } from "react-router";
import { afterEach, expect, test, vi } from "vitest";
import type { RiskScore } from "../api/types";
import { GraphView } from "../components/causes";
import Compare from "./forensics-compare";
import { Score } from "./risk-pull";

afterEach(() => { vi.unstubAllGlobals(); });

const at = "2026-01-01T00:00:00Z";
const hostile = `"><img src=x onerror=alert(1)>`;

test("a graph whose sources failed says which, and never that nothing happened", () => {
  render(<GraphView label="g" empty="Nothing happened." graph={{ nodes: [], edges: [], metadata: {}, complete: false, gaps: [{ source: "sentry", reason: "503" }] }} />);
  expect(screen.getByText("unknown: sentry")).toBeTruthy();
  expect(screen.queryByText("Nothing happened.")).toBeNull();
});

const points = { errors: 3, cost_usd: 2, error_points: 12, cost_points: 20, score: 32 };
const score: RiskScore = {
  pr_number: 7, risk_score: 32, files_changed: ["a.rs"], file_count: 1, complete: false, threshold: 70, points, commit_count: 0, commits: [],
  pull: { repository: "o/r", number: 7, title: hostile, author: null, state: "open", head_sha: null, merge_sha: null, url: "javascript:alert(1)", files: [] },
  files: [{ ...points, path: "a.rs", previous_path: null, status: "modified", changes: 4 }], coverage: { since: at, commits: 9, measured: 4, gaps: [{ source: "langfuse", reason: "timeout" }] },
};

test("a score that is not whole says so, with what is missing; a title is text and a foreign address no link", () => {
  const { container } = render(<MemoryRouter><Score data={score} /></MemoryRouter>);
  expect(screen.getByText("incomplete")).toBeTruthy();
  expect(screen.getByText("unknown: langfuse")).toBeTruthy();
  expect(screen.getByText("32 of 100, not above 70")).toBeTruthy();
  expect(screen.getByText(hostile)).toBeTruthy();
  expect(container.querySelector("img, a")).toBeNull();
});

test("a score above the threshold says what it leads to", () => {
  render(<MemoryRouter><Score data={{ ...score, risk_score: 71, complete: true, coverage: { ...score.coverage, gaps: [] } }} /></MemoryRouter>);
  expect(screen.getByText(/71 of 100, above 70: changes are requested/)).toBeTruthy();
  expect(screen.queryByText("incomplete")).toBeNull();
});

test("two traces are compared from the address alone, and one that there is none of is an error", async () => {
  const answers: Record<string, unknown> = { one: ["plan", "retry"], two: ["plan", "retry", "retry"] };
  vi.stubGlobal("fetch", vi.fn(async (path: string) => {
    const names = answers[path.split("/").pop() ?? ""] as string[] | undefined;
    if (!names) return new Response(JSON.stringify({ error: { code: "not_found", message: "there is no such trace" } }), { status: 404 });
    const nodes = names.map((name, index) => ({ id: String(index), type: "span", data: { name, tokens: 1, cost_usd: 1 }, position: { x: 0, y: 0 } }));
    return new Response(JSON.stringify({ nodes, edges: [], metadata: {}, gaps: [], complete: true }));
  }));
  const show = (b: string) => render(
    <QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}><MemoryRouter initialEntries={[`/forensics/compare?kind=trace&a=one&b=${b}`]}><Compare /></MemoryRouter></QueryClientProvider>,
  );
  show("two");
  const table = await screen.findByRole("group", { name: "By name" });
  expect([...table.querySelectorAll("tbody tr")].map((row) => [...row.querySelectorAll("td")].map((cell) => cell.textContent).join(" "))).toEqual(["retry 1 2 +1", "plan 1 1 0"]);
  show("missing");
  expect(await screen.findByText("there is no such trace")).toBeTruthy();
});
