import { act, fireEvent, render, screen } from "@testing-library/react";
import { afterEach, expect, test, vi } from "vitest";
import { loaded } from "../pages";
import { Fold } from "./bits";
import { Boundary } from "./boundary";
import { Table } from "./table";
import { Told, Value } from "./time";

afterEach(() => vi.restoreAllMocks());

test("a page that cannot be loaded leaves what is around it, and another page is another try", () => {
  vi.spyOn(console, "error").mockImplementation(() => undefined);
  const Broken = ({ message }: { message: string }): React.ReactNode => { throw new TypeError(message); };
  const shown = (at: string, page: React.ReactNode) => <><nav>pages</nav><Boundary at={at}>{page}</Boundary></>;
  const { rerender } = render(shown("/quality", <Broken message="Failed to fetch dynamically imported module: http://x/assets/quality-1.js" />));
  expect(screen.getByText("pages")).toBeTruthy();
  expect(screen.getByRole("heading").textContent).toBe("This page could not be loaded");
  rerender(shown("/jobs", <p>jobs</p>));
  expect(screen.getByText("jobs")).toBeTruthy();
  rerender(shown("/audit", <Broken message="x is undefined" />));
  expect(screen.getByRole("alert").textContent).toContain("x is undefined");
});

test("a page that fails to load once is loaded", async () => {
  let tries = 0;
  await expect(loaded(() => ((tries += 1) === 1 ? Promise.reject(new Error("gone")) : Promise.resolve("page")), 0)).resolves.toBe("page");
  await expect(loaded(() => Promise.reject(new Error("gone")), 0)).rejects.toThrow("gone");
});

test("all rows are sorted, also those that are not shown yet; rows that were not read are told of", () => {
  const columns = [{ header: "N", cell: (row: { n: number }) => row.n, sort: (row: { n: number }) => row.n }];
  render(<Table label="Numbers" columns={columns} rows={[5, 4, 3, 9, 1].map((n) => ({ n }))} empty="" most={2} more />);
  fireEvent.click(screen.getByRole("button", { name: /^N/ }));
  fireEvent.click(screen.getByRole("button", { name: /^N/ }));
  const first = screen.getAllByRole("cell").map((cell) => cell.textContent);
  expect([["1", "3"], ["9", "5"]]).toContainEqual(first);
  expect(screen.getByRole("status").textContent).toBe("Sorted are the 5 rows that were read; there are more.");
});

test("what is folded or cut is there when the page is printed, and folded again afterwards", () => {
  const columns = [{ header: "N", cell: (n: number) => n }];
  render(<><Fold summary="More"><p>inside</p></Fold><Table label="Numbers" columns={columns} rows={[1, 2, 3]} empty="" most={1} /></>);
  expect([screen.queryByText("inside"), screen.getAllByRole("cell").length]).toEqual([null, 1]);
  act(() => { window.dispatchEvent(new Event("beforeprint")); });
  expect([screen.queryByText("inside") !== null, screen.getAllByRole("cell").length]).toEqual([true, 3]);
  act(() => { window.dispatchEvent(new Event("afterprint")); });
  expect([screen.queryByText("inside"), screen.getAllByRole("cell").length]).toEqual([null, 1]);
});

test("times in texts and rows are in the viewer's zone, with UTC on hover", () => {
  const { container } = render(<><p><Told>It began at 2026-11-20 13:49 UTC, not at 2026-11-20.</Told></p><p><Value of="2026-11-20T13:49:05.123Z" /><Value of="2026-11-20" /></p></>);
  const times = [...container.querySelectorAll("time")];
  expect(times.map((time) => time.title)).toEqual(["2026-11-20 13:49 UTC", "2026-11-20T13:49:05.123Z"]);
  expect(times[0]?.textContent).toBe(new Date("2026-11-20T13:49:00Z").toLocaleString(undefined, { year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit" }));
  expect(container.textContent).toContain(", not at 2026-11-20.");
});
