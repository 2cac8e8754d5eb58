import { CompletionContext } from "@codemirror/autocomplete";
import { EditorState } from "@codemirror/state";
import { EditorView } from "@codemirror/view";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { fireEvent, render, screen, waitFor } from "@testing-library/react";
import { MemoryRouter } from "react-router";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { ApiError } from "../api/client";
import { Completeness, Saved } from "../pages/workbench";
import { candidates, chartOf } from "./chart-of";
import { tablesOf, words } from "./completion";
import { MakeDetector } from "./detector";
import { Editor } from "./editor";
import { Cell } from "./grid";
import { place, requests, run, type Result } from "./run";

type Call = { method: string; path: string; body: Record<string, unknown> };
let calls: Call[];
let answers: Record<string, unknown>;

beforeEach(() => {
  calls = [];
  answers = { "GET /api/v1/session": { name: "k", person: "p", scopes: ["admin"], project: "default", approver: false, dev: false, now: "2026-11-20T12:00:00Z" }, "GET /api/v1/queries": { items: [] } };
  vi.stubGlobal("fetch", (path: string, init: RequestInit = {}) => {
    const method = init.method ?? "GET";
    calls.push({ method, path, body: (init.body ? JSON.parse(String(init.body)) : {}) as Record<string, unknown> });
    const answer = answers[`${method} ${path}`];
    if (typeof answer === "string") return Promise.resolve(new Response(answer));
    return Promise.resolve(answer === undefined ? Response.json({ error: { code: "x", message: `nothing at ${path}` } }, { status: 404 }) : Response.json(answer));
  });
});
afterEach(() => vi.unstubAllGlobals());

const client = () => new QueryClient({ defaultOptions: { queries: { retry: false } } });
const page = (node: React.ReactNode, queries = client()) => <QueryClientProvider client={queries}><MemoryRouter>{node}</MemoryRouter></QueryClientProvider>;
const nothing = { progress: { requests: 0, rows_read: 0 }, failed: false };
const report = { complete: true, rows: 2, truncated: false, elapsed_ms: 3, requests: 1, scans: [], warnings: [], notes: [] };

describe("where an error is", () => {
  const marked = (sql: string, message: string) => { const at = place(sql, message); return at ? sql.slice(at.from, at.to) : null; };
  test.each([
    ["SELECT count(*) FROM langfuse.observationz", "there is no table langfuse.observationz", "langfuse.observationz"],
    ["SELECT * FROM WHERE x", "there is no table where", "WHERE"],
    ["SELECT 1 +  ", "SQL syntax: sql parser error: Expected: an expression, found: EOF", "+"],
    ["SELECT 1 FROM -- so far", "SQL syntax: sql parser error: Expected: identifier, found: EOF", "FROM"],
    ["SELECT 'banana' AS b, banana FROM t WHERE opened_at > 'banana'", "Arrow error: Parser error: Error parsing timestamp from 'banana': timestamp must contain at least 10 characters", "'banana'"],
    ["SELECT 1 -- ; no\n; SELECT 'a;b'", "one query at a time", "SELECT 'a;b'"],
    ["SET tripline.timeout = '1s'; SELECT 1; SELECT 2", "one query at a time", "SELECT 2"],
    ["SELECT interval '3 bananas'", 'Arrow error: Parser error: Invalid input syntax for type interval: "3 bananas"', "'3 bananas'"],
    ["SELECT CAST('abc' AS INT)", "Arrow error: Cast error: Cannot cast string 'abc' to value of Int32 type", "'abc'"],
    ["  DROP TABLE x", "only read-only SQL is allowed\nError during planning: DDL not supported: DropTable", "DROP"],
    ["SELECT 1 FROM a JOIN b ON a.id = b.id WHERE id = 'x'", "Ambiguous reference to unqualified field id", "id"],
    ["SELECT id FROM agent.incidents GROUP BY type", 'Column in SELECT must be in GROUP BY or an aggregate function: While expanding wildcard, column "agent.incidents.id" must appear in the GROUP BY clause', "id"],
    ["SELECT * FROM agent.incidents ORDER BY 7000", "Order by column out of bounds, specified: 7000, max: 32", "7000"],
    ["SELECT '$a', $a", "parameter $a has no value", "$a"],
    ["SELECT * FROM github.commit_files", "github.commit_files: a required key is missing", "github.commit_files"],
    ["SELECT 'shaa', shaa FROM t", "No field named shaa. Did you mean 'sha'?", "shaa"],
    ["SELECT abs('x')", "Function 'abs' expects Numeric but received String", "abs"],
  ])("%s", (sql, message, expected) => { expect(marked(sql, message)).toBe(expected); });
  test("a name in a text or a comment is not it", () => {
    const sql = "SELECT 'foo' -- foo\n, foo(1)";
    expect(place(sql, "Invalid function 'foo'.")?.from).toBe(sql.lastIndexOf("foo"));
  });
});

describe("completion", () => {
  const schema = { langfuse: { observations: ["total_cost", "name"], traces: ["id", "name"] }, agent: { incidents: ["id"] } };
  const functions = [{ name: "date_trunc" }, { name: "total" }];
  const offered = (text: string, explicit = false) => {
    const at = text.indexOf("|");
    const context = new CompletionContext(EditorState.create({ doc: text.replace("|", "") }), at, explicit);
    return words(schema, functions)(context)?.options.map((option) => option.label) ?? null;
  };
  test("columns of the tables that the query reads are offered without an alias, also before FROM", () => {
    expect(offered("SELECT * FROM langfuse.observations WHERE total|")).toContain("total_cost");
    expect(offered("SELECT tota| FROM langfuse.observations")).toContain("total_cost");
    expect(offered("SELECT tota| FROM langfuse.observations")).not.toContain("id");
    expect(offered("SELECT i| FROM langfuse.observations o, langfuse.traces t")).toContain("id");
    expect(tablesOf("SELECT 'x from agent.incidents' FROM Langfuse.Traces -- join agent.incidents", schema)).toEqual([{ source: "langfuse", table: "traces" }]);
  });
  test("functions of the engine are offered", () => expect(offered("SELECT date_tr|")).toContain("date_trunc"));
  test("nothing of it stands after a dot, where tables are named, or where names are made up", () => {
    expect(["SELECT o.tot| FROM langfuse.observations o", "SELECT * FROM lang|", "SELECT 1 AS tot|", "SELECT $tot|", "SELECT |"].map((text) => offered(text))).toEqual([null, null, null, null, null]);
  });
});

test("what is typed while an older state is drawn stays", () => {
  const drafts: string[] = [];
  const editor = (given: { text: string }) => <Editor given={given} onChange={(sql) => drafts.push(sql)} schema={{}} mistake={null} onRun={() => undefined} />;
  const first = { text: "SELECT 1" };
  const { container, rerender } = render(editor(first));
  const host = container.querySelector(".editor") as HTMLElement;
  const view = EditorView.findFromDOM(host.shadowRoot?.querySelector(".cm-editor") as HTMLElement) as EditorView;
  view.dispatch({ changes: { from: 0, to: 8, insert: "" } });
  view.dispatch({ changes: { from: 0, insert: "S" } });
  // The page draws the state of before.
  rerender(editor(first));
  expect(view.state.doc.toString()).toBe("S");
  expect(drafts).toEqual(["", "S"]);
  rerender(editor({ text: "SELECT 1" }));
  expect(view.state.doc.toString(), "what is put in from elsewhere").toBe("SELECT 1");
});

describe("the answer", () => {
  const columns = [{ name: "x", type: "Int64" }, { name: "x_1", type: "Int64" }, { name: "t", type: "Utf8" }];
  test("a cell shows each digit, and NULL unlike a text of these letters", () => {
    const cells = [["9007199254740993", "Int64"], ["NULL", "Utf8"], [null, "Utf8"], ["NaN", "Float64"], [[1], "List(Int64)"]] as const;
    const { container } = render(<table><tbody><tr>{cells.map(([value, type], index) => <Cell key={index} value={value} type={type} />)}</tr></tbody></table>);
    expect([...container.querySelectorAll("td")].map((cell) => [cell.textContent, cell.className])).toEqual([
      ["9007199254740993", "number"], ["NULL", ""], ["NULL", "null"], ["NaN", "number"], ["[1]", ""],
    ]);
  });
  test("a chart draws all rows, and numbers that are text because of their digits", () => {
    const rows = Array.from({ length: 100_000 }, (_, index) => ({ n: index, d: index === 7 ? "NaN" : "1.10" }));
    const chart = chartOf({ columns: [{ name: "n", type: "Int64" }, { name: "d", type: "Decimal128(4, 2)" }], rows }, "n", ["d"]);
    expect([chart.x.values.length, chart.x.values.at(-1), chart.series[0]?.values[0], chart.series[0]?.values[7]]).toEqual([100_000, 99_999, 1.1, null]);
    expect(candidates({ columns: [{ name: "a", type: "List(Int64)" }, { name: "b", type: "Interval(MonthDayNano)" }, { name: "c", type: "UInt64" }] }).numbers).toEqual(["c"]);
  });
  test("a run that was cancelled or failed is not told as one that never was", () => {
    const cut: Result = { ...nothing, columns, rows: [{}, {}], report: null, progress: { requests: 12, rows_read: 90 } };
    const { rerender } = render(<Completeness result={cut} running={false} broken="cancelled" />);
    const text = () => screen.getByRole("status").textContent ?? "";
    expect(text()).toMatch(/cancelled 2 rows had come, and these are not all; 12 requests had been sent/);
    rerender(<Completeness result={{ ...cut, report: { ...report, complete: false, requests: 3 } }} running={false} broken="failed" />);
    expect(text()).toMatch(/failed.*3 requests: these are not all/);
    rerender(<Completeness result={null} running={false} broken="failed" />);
    expect(text()).toMatch(/No rows came/);
    rerender(<Completeness result={null} running={false} broken={null} />);
    expect(text()).toMatch(/Nothing was run yet/);
  });
  test("what is to be known of a whole answer is told with it", () => {
    render(<Completeness result={{ ...nothing, columns, rows: [], report: { ...report, notes: ["column 2 is called x_1 here"] } }} running={false} broken={null} />);
    expect(screen.getByText("column 2 is called x_1 here")).toBeTruthy();
    expect(screen.getByRole("status").textContent).toContain("complete");
  });
  test("an answer that fails has what had been asked until then", async () => {
    const lines = [{ columns }, { progress: { requests: 4, rows_read: 9 } }, { rows: [{ x: 1 }] }, { error: { code: "source", message: "503" }, so_far: { ...report, complete: false, requests: 5 } }];
    answers["POST /api/v1/sql"] = lines.map((line) => JSON.stringify(line)).join("\n");
    const heard: Result[] = [];
    await expect(run({ sql: "SELECT 1", params: {}, partial: false }, new AbortController().signal, (result) => heard.push({ ...result }))).rejects.toBeInstanceOf(ApiError);
    expect([heard[1]?.progress.requests, heard.at(-1)?.report?.requests, heard.at(-1)?.rows.length, heard.at(-1)?.failed]).toEqual([4, 5, 1, true]);
  });
  test("EXPLAIN of a scan that a join feeds says what it sends for each key", () => {
    const plan = "RemoteScanExec: github.commit_files, columns=[filename], keys=[sha from the join], requests=[1 per page of 100 for each key of the join], send=[GET /repos/a/b/commits/SHA]\n";
    expect(requests(plan)).toEqual([{ table: "github.commit_files", count: "1 per page of 100 for each key of the join", first: "GET /repos/a/b/commits/SHA" }]);
  });
});

test("what is said to be saved is what was saved, whatever is typed afterwards", async () => {
  answers["PUT /api/v1/queries/first"] = { name: "first" };
  render(page(<Saved sql="SELECT 1" onOpen={() => undefined} />));
  const name = await screen.findByLabelText("Name of the query");
  await waitFor(() => expect((name as HTMLInputElement).disabled).toBe(false));
  fireEvent.change(name, { target: { value: "first" } });
  fireEvent.click(screen.getByRole("button", { name: "Save" }));
  await screen.findByText("Saved as queries/saved/first.sql.");
  fireEvent.change(name, { target: { value: "second" } });
  expect(screen.getByText("Saved as queries/saved/first.sql.")).toBeTruthy();
});

describe("a query becomes a detector", () => {
  const outcome = { due: 72, judged: 72, fired: 72, unknown: 0, requests: 72, findings: [], gaps: [] };
  const save = () => screen.getByRole("button", { name: "Save as a detector" }) as HTMLButtonElement;
  const columns = [{ name: "trace_id", type: "Utf8" }];
  async function tried() {
    answers["POST /api/v1/detectors/dry-run"] = outcome;
    answers["PUT /api/v1/detectors/dear"] = { name: "dear" };
    const queries = client();
    const shown = (sql: string) => page(<MakeDetector sql={sql} columns={columns} />, queries);
    const { rerender } = render(shown("SELECT 1"));
    fireEvent.change(screen.getByLabelText("Name"), { target: { value: "dear" } });
    fireEvent.click(screen.getByRole("button", { name: "Dry run" }));
    await screen.findByText(/72 of the last 72 runs/);
    await waitFor(() => expect(save().disabled).toBe(false));
    return (sql: string) => rerender(shown(sql));
  }
  test("only the query that was tried can be saved", async () => {
    const edit = await tried();
    edit("SELECT 1 WHERE false");
    expect(save().disabled).toBe(true);
    expect(screen.queryByText(/72 of the last 72 runs/)).toBeNull();
    edit("SELECT 1");
    fireEvent.click(save());
    await screen.findByText(/Saved as queries\/detectors\/dear\.sql/);
    const [asked, kept] = [calls.find((call) => call.path.endsWith("dry-run")), calls.find((call) => call.method === "PUT")];
    expect(kept?.body.text).toBe(asked?.body.text);
  });
  test("another number of days or another severity is another trial, and was not saved", async () => {
    await tried();
    fireEvent.change(screen.getByLabelText(/Dry run over the last/), { target: { value: "7" } });
    expect(save().disabled).toBe(true);
    fireEvent.change(screen.getByLabelText(/Dry run over the last/), { target: { value: "3" } });
    fireEvent.click(save());
    await screen.findByText(/Saved as/);
    fireEvent.change(screen.getByLabelText("Severity"), { target: { value: "critical" } });
    expect(screen.queryByText(/Saved as/)).toBeNull();
    expect(save().disabled).toBe(true);
  });
});
