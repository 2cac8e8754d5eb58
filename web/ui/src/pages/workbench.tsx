// The workbench: the catalog, a query, and what came of it, with the completeness report always in sight.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, useMemo, useRef, useState } from "react";
import { Link, useLocation, useNavigate, useSearchParams } from "react-router";
import { ApiError, post, seg, write } from "../api/client";
import { useGet } from "../api/hooks";
import type { SqlAnswer } from "../api/types";
import { Badge, Card, Code, Fold, PageTitle, Pre } from "../components/bits";
import { Empty, Failure, Loading, Show } from "../components/states";
import { Table } from "../components/table";
import { bytes, count, figure } from "../lib/format";
import { useNarrow } from "../lib/narrow";
import { OfInstallation, useMayHere, Why } from "../lib/may";
import { carried, draft, remember, workbench } from "../lib/workbench";
import { candidates, chartOf } from "../workbench/chart-of";
import { MakeDetector } from "../workbench/detector";
import type { Schema, SqlFunction } from "../workbench/completion";
import { Editor, type Given } from "../workbench/editor";
import { exported, FILE_FORMATS, handOver, type FileFormat } from "../workbench/export";
import { Grid } from "../workbench/grid";
import { place, placeholders, requests, run, typed, type Result } from "../workbench/run";

const Chart = lazy(() => import("../components/chart").then((module) => ({ default: module.Chart })));
const COLUMNS = `SELECT table_schema AS source, table_name, column_name AS name, data_type FROM information_schema.columns
WHERE table_schema <> 'information_schema' ORDER BY table_schema, table_name, ordinal_position`;
const TABLES = "SELECT source, name, description, guide, required_keys, natural_order FROM tripline.tables";
const FUNCTIONS = "SELECT routine_name AS name, min(description) AS about FROM information_schema.routines GROUP BY routine_name ORDER BY routine_name";
const FILTERS = "SELECT source, table_name, column_name, operator, parameter, exact FROM tripline.filters";

type Cells = Record<string, string>;
type SavedQuery = { name: string; sql: string; saved_at: string };

async function all(sql: string, signal: AbortSignal): Promise<Cells[]> {
  return (await post<SqlAnswer>("/api/v1/sql", { sql, max_rows: 10_000 }, signal)).rows as Cells[];
}

function useCatalog() {
  return useQuery({
    queryKey: ["still", "catalog"],
    queryFn: async ({ signal }) => {
      const [columns, tables, filters] = await Promise.all([all(COLUMNS, signal), all(TABLES, signal), all(FILTERS, signal)]);
      return { columns, tables, filters };
    },
    staleTime: 600_000,
  });
}

function useFunctions() {
  return useQuery({ queryKey: ["still", "functions"], queryFn: async ({ signal }) => (await all(FUNCTIONS, signal)) as SqlFunction[], staleTime: Infinity });
}

function Catalog({ onPick }: { onPick: (text: string) => void }) {
  const catalog = useCatalog();
  const [filter, setFilter] = useState("");
  return (
    <Show query={catalog} what="the catalog">{({ columns, tables, filters }) => {
      const word = filter.trim().toLowerCase();
      const sources = [...new Set(columns.map((column) => column.source as string))].sort();
      return (
        <>
          <p><input type="search" aria-label="Find in the catalog" placeholder="find a table or column" value={filter} onChange={(event) => setFilter(event.target.value)} /></p>
          {sources.map((source) => {
            const here = columns.filter((column) => column.source === source && (!word || `${source}.${column.table_name}.${column.name}`.toLowerCase().includes(word)));
            const names = [...new Set(here.map((column) => column.table_name as string))];
            if (!names.length) return null;
            return (
              <Fold key={`${source}${word ? "*" : ""}`} open={Boolean(word) && sources.length > 0} summary={<strong>{source}</strong>}>
                {names.map((table) => {
                  const about = tables.find((item) => item.source === source && item.name === table);
                  return (
                    <Fold key={table} summary={table}>
                      <p><button type="button" className="link" onClick={() => onPick(`${source}.${table}`)}>Put {source}.{table} into the query</button></p>
                      {about?.description ? <p className="hint">{about.description}</p> : null}
                      {about?.guide ? <p className="hint">{about.guide}</p> : null}
                      {about?.required_keys ? <p className="hint">Needs {about.required_keys}.</p> : null}
                      {about?.natural_order ? <p className="hint">Comes in the order {about.natural_order}.</p> : null}
                      <ul className="tree">{here.filter((column) => column.table_name === table).map((column) => {
                        const pushed = filters.filter((item) => item.source === source && item.table_name === table && item.column_name === column.name);
                        return <li key={column.name}><code>{column.name}</code> <span className="hint">{column.data_type}</span>{pushed.length ? <span className="pushed" title={pushed.map((item) => `${item.operator} → ${item.parameter}`).join(", ")}> asked of the vendor: {[...new Set(pushed.map((item) => item.operator))].join(" ")}</span> : null}</li>;
                      })}</ul>
                    </Fold>
                  );
                })}
              </Fold>
            );
          })}
        </>
      );
    }}</Show>
  );
}

/** How a run ended that did not end well. */
type Broken = "cancelled" | "failed" | null;

export function Completeness({ result, running, broken }: { result: Result | null; running: boolean; broken: Broken }) {
  const report = result?.report ?? null;
  const rows = result?.rows.length ?? 0;
  const asked = result ? count(result.progress.requests, "request") : null;
  return (
    <div className="completeness" role="status" aria-label="Completeness">
      {running ? <p><Badge word="running" /> {count(rows, "row")} so far{result?.progress.requests ? `, ${asked}` : ""}</p> : null}
      {!running && !report && !broken ? <p className="hint">Nothing was run yet: what came, and whether it is all, will be said here.</p> : null}
      {!running && !report && broken ? <p><Badge word={broken} /> {result ? `${count(rows, "row")} had come, and these are not all; ${asked} had been sent when it was last heard of.` : "No rows came: the query was not begun."}</p> : null}
      {report ? (
        <>
          <p>{broken ? <Badge word={broken} /> : report.complete ? <Badge word="complete" /> : <Badge word="partial" />} {count(report.rows, "row")} in {figure(report.elapsed_ms)} ms, {count(report.requests, "request")}{report.truncated ? "; cut by the row limit" : ""}{broken ? ": these are not all" : ""}.</p>
          {report.warnings.map((warning) => <p key={warning} className="gap">{warning}</p>)}
          {report.notes.map((note) => <p key={note} className="hint">{note}</p>)}
          {report.scans.length ? <Fold summary={count(report.scans.length, "scan")}><Table label="Scans" rows={report.scans} empty="none" columns={[
            { header: "Table", cell: (scan) => <Code>{scan.source}.{scan.table}</Code> }, { header: "Requests", cell: (scan) => scan.requests }, { header: "Pages", cell: (scan) => scan.pages }, { header: "Rows", cell: (scan) => figure(scan.rows) },
            { header: "From the shelf", cell: (scan) => scan.cache_hits }, { header: "Received", cell: (scan) => bytes(scan.bytes) }, { header: "Retries", cell: (scan) => scan.retries }, { header: "Waited", cell: (scan) => `${figure(scan.waited_ms)} ms` },
            { header: "Missing", cell: (scan) => scan.gap ? <span className="gap">{scan.gap}</span> : scan.finished || !broken ? "nothing" : <span className="gap">it was not read to its end</span> },
          ]} /></Fold> : null}
        </>
      ) : null}
    </div>
  );
}

function ResultChart({ result }: { result: Result }) {
  const { numbers, others, time } = candidates(result);
  const [x, setX] = useState(time ?? others[0] ?? "");
  const [ys, setYs] = useState<string[]>(numbers.filter((name) => name !== x).slice(0, 1));
  const data = useMemo(() => chartOf(result, x, ys), [result, x, ys]);
  if (!numbers.length) return <Empty>There is no column of numbers to draw.</Empty>;
  return (
    <>
      <div className="toolbar">
        <label>Along the bottom <select value={x} onChange={(event) => setX(event.target.value)}>{others.map((name) => <option key={name}>{name}</option>)}</select></label>
        <fieldset><legend>Drawn</legend>{numbers.map((name) => <label key={name}><input type="checkbox" checked={ys.includes(name)} onChange={(event) => setYs(event.target.checked ? [...ys, name].slice(-5) : ys.filter((other) => other !== name))} /> {name}</label>)}</fieldset>
      </div>
      {ys.length && data.x.values.length ? <Suspense fallback={<Loading />}><Chart data={data} label={`${ys.join(", ")} by ${x}; the rows are in the grid`} /></Suspense> : <Empty>Choose what to draw.</Empty>}
    </>
  );
}

export function Saved({ sql, onOpen }: { sql: string; onOpen: (query: SavedQuery) => void }) {
  const client = useQueryClient();
  const { may, why } = useMayHere("operate", "Saving or removing a query");
  const saved = useGet<{ items: SavedQuery[] }>("/api/v1/queries");
  const [name, setName] = useState("");
  const done = () => client.invalidateQueries({ queryKey: ["live", "/api/v1/queries"] });
  const save = useMutation({ mutationFn: (query: { name: string; sql: string }) => write("PUT", `/api/v1/queries/${seg(query.name)}`, { sql: query.sql }), onSuccess: done });
  // A saved query has an address.
  const [search] = useSearchParams();
  const asked = search.get("saved");
  const found = saved.data?.items.find((query) => query.name === asked);
  const opened = useRef<string | null>(null);
  useEffect(() => {
    if (!found || opened.current === found.name) return;
    opened.current = found.name;
    onOpen(found);
    // Once for each address: what is typed afterwards stays.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [found?.name]);
  const remove = useMutation({ mutationFn: (which: string) => write("DELETE", `/api/v1/queries/${seg(which)}`), onSuccess: done });
  return (
    <>
      <p className="decide"><input type="text" disabled={!may} aria-label="Name of the query" placeholder="name, such as costly_traces" value={name} onChange={(event) => setName(event.target.value)} /><button type="button" disabled={!may || !name.trim() || !sql.trim() || save.isPending} onClick={() => save.mutate({ name: name.trim(), sql })}>Save</button><Why may={{ may, why }} /></p>
      {asked && saved.data && !found ? <p className="gap">There is no saved query {asked}.</p> : null}
      {save.isError ? <Failure error={save.error} /> : null}
      {save.isSuccess ? <p role="status">Saved as queries/saved/{save.variables.name}.sql.</p> : null}
      {remove.isError ? <Failure error={remove.error} /> : null}
      <Show query={saved} what="saved queries">{(data) => data.items.length
        ? <ul className="tree">{data.items.map((query) => <li key={query.name}><Link to={`/workbench?saved=${seg(query.name)}`} onClick={(event) => { if (!event.ctrlKey && !event.metaKey && !event.shiftKey) onOpen(query); }}>{query.name}</Link>{" "}<button type="button" className="link" disabled={!may} aria-label={`Remove ${query.name}`} onClick={() => remove.mutate(query.name)}>remove</button></li>)}</ul>
        : <Empty>No saved queries. They are files in queries/saved/.</Empty>}</Show>
    </>
  );
}

/** Values as they are typed. */
const texts = (params: Record<string, unknown> = {}) => Object.fromEntries(Object.entries(params).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]));
const NAMES: Record<FileFormat, string> = { csv: "CSV", json: "JSON", parquet: "Parquet" };

export default function Workbench() {
  const { hash } = useLocation();
  const go = useNavigate();
  const first = useMemo(() => carried(hash) ?? draft(), []); // eslint-disable-line react-hooks/exhaustive-deps
  const [sql, setSqlState] = useState(first?.sql ?? "");
  const [given, setGiven] = useState<Given>({ text: first?.sql ?? "" });
  const [values, setValues] = useState<Record<string, string>>(() => texts(first?.params));
  const [partial, setPartial] = useState(false);
  const [result, setResult] = useState<Result | null>(null);
  const [running, setRunning] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [broken, setBroken] = useState<Broken>(null);
  const [plan, setPlan] = useState<string | null>(null);
  const [view, setView] = useState<"grid" | "chart">("grid");
  const [exporting, setExporting] = useState<{ format: FileFormat; bytes: number } | null>(null);
  const stop = useRef<AbortController | null>(null);
  const catalog = useCatalog();
  const functions = useFunctions();
  const narrow = useNarrow();
  const setSql = (text: string) => { setSqlState(text); remember({ sql: text }); };
  const put = (text: string) => { setGiven({ text }); setSql(text); };
  const seen = useRef(hash);
  useEffect(() => {
    // Another query was followed to while this page was open.
    const next = seen.current === hash ? null : carried(hash);
    seen.current = hash;
    if (!next) return;
    put(next.sql);
    setValues(texts(next.params));
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [hash]);
  // An address is of the query that it carries, and of no other.
  const edit = (text: string) => { setSql(text); if (hash || window.location.search) { seen.current = ""; void go("/workbench", { replace: true }); } };

  const schema = useMemo(() => {
    const tree: Schema = {};
    for (const column of catalog.data?.columns ?? []) ((tree[column.source as string] ??= {})[column.table_name as string] ??= []).push(column.name as string);
    return tree;
  }, [catalog.data]);
  const names = placeholders(sql);
  const params = () => Object.fromEntries(names.map((name) => [name, typed(values[name] ?? "")]));
  const mistake = useMemo(() => {
    if (!(error instanceof ApiError)) return null;
    const at = place(sql, [error.message, error.detail].filter(Boolean).join("\n"));
    return at ? { ...at, message: error.message } : null;
  }, [error, sql]);

  const start = async (work: (signal: AbortSignal) => Promise<void>) => {
    stop.current?.abort();
    const mine = new AbortController();
    stop.current = mine;
    setRunning(true);
    setError(null);
    try {
      await work(mine.signal);
    } catch (failure) {
      if (mine.signal.aborted) setError(new ApiError(0, "cancelled", "cancelled: the query was stopped, and these rows are not all"));
      else setError(failure);
    } finally {
      if (stop.current === mine) setRunning(false);
    }
  };
  const execute = () => start(async (signal) => {
    setPlan(null);
    setResult(null);
    setBroken(null);
    let drawn = 0;
    let newest: Result | null = null;
    try {
      setResult(await run({ sql, params: params(), partial }, signal, (next) => {
        newest = next;
        // Not each piece is drawn, but the first ones at once.
        if (performance.now() - drawn < 100) return;
        drawn = performance.now();
        setResult({ ...next, rows: [...next.rows] });
      }));
    } catch (failure) {
      // What had come stays, with what is known of it.
      if (stop.current?.signal === signal) {
        setResult(newest);
        setBroken(signal.aborted ? "cancelled" : "failed");
      }
      throw failure;
    }
  });
  const explain = () => start(async (signal) => {
    const answer = await post<SqlAnswer>("/api/v1/sql", { sql: `EXPLAIN ${sql}`, params: params() }, signal);
    setPlan(String(answer.rows.find((row) => row.plan_type === "physical_plan")?.plan ?? answer.rows.at(-1)?.plan ?? ""));
  });
  const save = (format: FileFormat) => start(async (signal) => {
    setExporting({ format, bytes: 0 });
    try {
      const { file, missing } = await exported({ sql, params: params(), partial, format }, signal, (read) => setExporting({ format, bytes: read }));
      handOver(file, `tripline.${format}`);
      if (missing !== null) setError(new ApiError(0, "incomplete", "the file does not have all rows", missing, "narrow the query, and export again"));
    } finally {
      setExporting(null);
    }
  });

  const beside = (
    <div className="aside">
      <Card title="Catalog"><Catalog onPick={(table) => put(sql.trim() ? `${sql}${/\s$/.test(sql) ? "" : " "}${table}` : `SELECT *\nFROM ${table}\nLIMIT 100`)} /></Card>
      <Card title="Saved queries"><OfInstallation what="Saved queries"><Saved sql={sql} onOpen={(query) => put(query.sql)} /></OfInstallation></Card>
    </div>
  );
  return (
    <>
      <PageTitle>Workbench</PageTitle>
      <div className="workbench">
        {narrow ? null : beside}
        <div className="bench">
          <Card title="Query">
            <Editor given={given} onChange={edit} schema={schema} functions={functions.data} mistake={mistake} onRun={() => void execute()} />
            {names.length ? <div className="toolbar" role="group" aria-label="Values of the query's placeholders">{names.map((name) => <label key={name}>${name} <input type="text" value={values[name] ?? ""} onChange={(event) => setValues({ ...values, [name]: event.target.value })} /></label>)}</div> : null}
            <div className="toolbar">
              <button type="button" className="primary" disabled={!sql.trim() || running} onClick={() => void execute()} title="Ctrl+Enter">Run</button>
              <button type="button" disabled={!running} onClick={() => stop.current?.abort()}>Cancel</button>
              <button type="button" disabled={!sql.trim() || running} onClick={() => void explain()}>Explain</button>
              <label><input type="checkbox" checked={partial} onChange={(event) => setPartial(event.target.checked)} /> take what there is when a source fails</label>
              {sql.trim() ? <Link to={workbench({ sql, params: names.length ? params() : undefined })}>Link to this query</Link> : null}
            </div>
            {error ? <Failure error={error} /> : null}
            <Completeness result={result} running={running && plan === null && exporting === null} broken={broken} />
          </Card>
          {plan !== null ? (
            <Card title="Plan: nothing was sent">
              <Table label="Requests that the query would send" rows={requests(plan)} empty="It would send no request: everything is here." columns={[{ header: "Table", cell: (scan) => <Code>{scan.table}</Code> }, { header: "Requests", cell: (scan) => scan.count }, { header: "The first of them", cell: (scan) => <Code>{scan.first || "told by a join"}</Code> }]} />
              <Pre label="Plan">{plan}</Pre>
            </Card>
          ) : null}
          {result?.columns.length ? (
            <Card title="Answer" action={<span className="toolbar">
              <button type="button" aria-pressed={view === "grid"} onClick={() => setView("grid")}>Grid</button><button type="button" aria-pressed={view === "chart"} onClick={() => setView("chart")}>Chart</button>
              {FILE_FORMATS.map((format) => <button key={format} type="button" disabled={running} onClick={() => void save(format)}>{exporting?.format === format ? `Exporting… ${bytes(exporting.bytes)}` : `Export ${NAMES[format]}`}</button>)}
            </span>}>
              {view === "grid" ? <Grid result={result} /> : <ResultChart key={result.columns.map((column) => column.name).join()} result={result} />}
            </Card>
          ) : null}
          {sql.trim() ? <Card title="Make this a detector"><MakeDetector sql={sql} columns={result?.columns ?? []} /></Card> : null}
        </div>
        {narrow ? beside : null}
      </div>
    </>
  );
}
