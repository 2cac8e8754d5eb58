import { render, screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { useEffect, useState } from "react";
import { expect, test } from "vitest";
import { RowsTable, Table } from "./table";

const COLUMNS = [{ header: "Name", cell: (row: { name: string; n: number | null }) => row.name, sort: (row: { n: number | null }) => row.n }];
const names = () => within(screen.getByRole("group")).getAllByRole("cell").map((cell) => cell.textContent);

test("an empty table says so, and is no table", () => {
  render(<Table label="Things" columns={COLUMNS} rows={[]} empty="Nothing here." />);
  expect(screen.getByText("Nothing here.")).toBeTruthy();
  expect(screen.queryByRole("table")).toBeNull();
});

test("a press on a heading sorts, another one the other way, and it says which", async () => {
  render(<Table label="Things" columns={COLUMNS} rows={[{ name: "b", n: 2 }, { name: "a", n: 1 }, { name: "c", n: 3 }]} empty="" />);
  const press = () => userEvent.click(screen.getByRole("button", { name: /Name/ }));
  await press();
  const first = names();
  const direction = screen.getByRole("columnheader").getAttribute("aria-sort");
  await press();
  expect([first, names()].map((list) => list.join("")).sort()).toEqual(["abc", "cba"]);
  expect(screen.getByRole("columnheader").getAttribute("aria-sort")).not.toBe(direction);
});

test("rows that are made anew with each drawing cause no drawing by themselves", async () => {
  let drawn = 0;
  function Page() {
    const [, again] = useState(0);
    drawn += 1;
    useEffect(() => again(1), []);
    return <Table label="Things" most={1} columns={COLUMNS} rows={[{ name: "a", n: 1 }, { name: "b", n: 2 }].map((row) => ({ ...row }))} empty="" />;
  }
  render(<Page />);
  await new Promise((done) => setTimeout(done, 50));
  expect(drawn).toBeLessThan(5);
  await userEvent.click(screen.getByRole("button", { name: "Show all 2" }));
  expect(names()).toEqual(["a", "b"]);
});

test("hostile text is text", () => {
  const hostile = `"><img src=x onerror=alert(1)><script>alert(1)</script>`;
  const { container } = render(<Table label="Things" columns={COLUMNS} rows={[{ name: hostile, n: 1 }]} empty="" />);
  expect(container.querySelector("img, script")).toBeNull();
  expect(names()).toEqual([hostile]);
});

test("what is typed in a cell is still there after the table was drawn again", async () => {
  const Cell = () => { const [text, setText] = useState(""); return <input aria-label="note" value={text} onChange={(event) => setText(event.target.value)} />; };
  const table = () => <Table label="Things" columns={[{ header: "Note", cell: () => <Cell /> }]} rows={[{ id: "1" }]} rowKey={(row) => row.id} empty="" />;
  const { rerender } = render(table());
  await userEvent.type(screen.getByLabelText("note"), "seen");
  rerender(table());
  expect((screen.getByLabelText("note") as HTMLInputElement).value).toBe("seen");
});

test("a cell knows its heading, which a phone puts before it; rows of any width stay rows", () => {
  const { container, unmount } = render(<Table label="Things" columns={COLUMNS} rows={[{ name: "a", n: 1 }]} empty="" />);
  expect(container.querySelector(".stack td")?.getAttribute("data-label")).toBe("Name");
  unmount();
  render(<RowsTable label="Evidence" rows={[{ a: 1, b: 2 }]} />);
  expect(screen.getByRole("group").className).toBe("scroll");
});
