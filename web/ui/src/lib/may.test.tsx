import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { render, screen } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { ApiError } from "../api/client";
import { Failure } from "../components/states";
import { OfInstallation, useMayHere } from "./may";

afterEach(() => vi.unstubAllGlobals());
function Press() { const may = useMayHere("operate", "Scanning"); return <button type="button" disabled={!may.may} title={may.why}>Scan now</button>; }
function shown(session: object) {
  vi.stubGlobal("fetch", () => Promise.resolve(Response.json({ name: "k", person: "p", approver: false, dev: false, now: "2026-11-20T12:00:00Z", ...session })));
  render(<QueryClientProvider client={new QueryClient()}><OfInstallation what="Jobs"><p>the jobs</p></OfInstallation><Press /></QueryClientProvider>);
}

test("what is the installation's is neither shown nor offered to a key of another project, whatever it may do", async () => {
  shown({ scopes: ["operate", "admin"], project: "acme", installation: false });
  await screen.findByText(/Jobs belong to the installation/);
  expect(screen.queryByText("the jobs")).toBeNull();
  const press = screen.getByRole("button") as HTMLButtonElement;
  expect([press.disabled, press.title]).toEqual([true, "Scanning belongs to the installation: it takes a key of its own project, and yours is of acme."]);
});

test("a key of its own project sees and does what its scopes say", async () => {
  shown({ scopes: ["operate"], project: "default", installation: true });
  await screen.findByText("the jobs");
  await vi.waitFor(() => expect((screen.getByRole("button") as HTMLButtonElement).disabled).toBe(false));
});

test("another try is offered only where it may help", () => {
  const { rerender } = render(<Failure error={new ApiError(403, "forbidden", "no")} again={() => undefined} />);
  expect(screen.queryByRole("button")).toBeNull();
  rerender(<Failure error={new ApiError(503, "busy", "no")} again={() => undefined} />);
  expect(screen.getByRole("button").textContent).toBe("Try again");
});
