import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { fireEvent, render, screen } from "@testing-library/react";
import { MemoryRouter } from "react-router";
import { afterEach, expect, test, vi } from "vitest";
import Incidents from "./incidents";

afterEach(() => vi.unstubAllGlobals());

test("a press on Severity puts the worst first", async () => {
  const at = "2026-11-20T12:00:00Z";
  const items = ["info", "critical", "medium", "high"].map((severity) => ({ id: severity, type: "cost_spike", entity: severity, severity, status: "open", opened_at: at, last_seen_at: at, description: "", cost_usd: 1, gaps: [], narrative_parts: null }));
  vi.stubGlobal("fetch", (path: string) => Promise.resolve(Response.json(path.startsWith("/api/v1/incidents") ? { items } : { items: [] })));
  render(<QueryClientProvider client={new QueryClient({ defaultOptions: { queries: { retry: false } } })}><MemoryRouter><Incidents /></MemoryRouter></QueryClientProvider>);
  fireEvent.click(await screen.findByRole("button", { name: "Severity" }));
  expect([...document.querySelectorAll("tbody .badge[data-word]")].map((badge) => badge.textContent).filter((word) => word !== "open")).toEqual(["critical", "high", "medium", "info"]);
});
