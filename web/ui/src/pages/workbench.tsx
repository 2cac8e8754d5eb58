// The workbench: the catalog, a query, and what came of it, with the completeness report always in sight.
import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useMemo, useRef, useState } from "react";
import { ApiError, post, seg, write } from "../api/client";
import { useGet } from "../api/hooks";
import type { Report, SqlAnswer } from "../api/types";
import { Badge, Card, Code, Fold, PageTitle, Pre } from "../components/bits";
import { Empty, Failure, Loading, Show } from "../components/states";
import { Table } from "../components/table";
import { bytes, count, figure } from "../lib/format";
import { useNarrow } from "../lib/narrow";
import { useMay, Why } from "../lib/may";
import { draft, remember } from "../lib/workbench";
import { candidates, chartOf } from "../workbench/chart-of";
import { MakeDetector } from "../workbench/detector";
import { Editor, type Schema } from "../workbench/editor";
import { exported, FILE_FORMATS, handOver, type FileFormat } from "../workbench/export";
import { Grid } from "../workbench/grid";
import { place, placeholders, requests, run, typed, type Result } from "../workbench/run";

const Chart = lazy(() => import("../components/chart").then((module) => ({ default: module.Chart })));
const COLUMNS = `SELECT table_schema AS source, table_name, column_name AS name, data_type FROM information_schema.columns
WHERE table_schema <> 'information_schema' ORDER BY table_schema, table_name, ordinal_position`;
const TABLES = "SELECT source, name, description, guide, required_keys, natural_order FROM tripline.tables";
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

function Completeness({ report, rows, running }: { report: Report | null; rows: number; running: boolean }) {
  return (
    <div className="completeness" role="status" aria-label="Completeness">
      {running ? <p><Badge word="running" /> {count(rows, "row")} so far</p> : null}
      {!running && !report ? <p className="hint">Nothing was run yet: what came, and whether it is all, will be said here.</p> : null}
      {report ? (
        <>
          <p>{report.complete ? <Badge word="complete" /> : <Badge word="partial" />} {count(report.rows, "row")} in {figure(report.elapsed_ms)} ms, {count(report.requests, "request")}{report.truncated ? "; cut by the row limit" : ""}.</p>
          {report.warnings.map((warning) => <p key={warning} className="gap">{warning}</p>)}
          {report.scans.length ? <Fold summary={count(report.scans.length, "scan")}><Table label="Scans" rows={report.scans} empty="none" columns={[
            { header: "Table", cell: (scan) => <Code>{scan.source}.{scan.table}</Code> }, { header: "Requests", cell: (scan) => scan.requests }, { header: "Pages", cell: (scan) => scan.pages }, { header: "Rows", cell: (scan) => figure(scan.rows) },
            { header: "From the shelf", cell: (scan) => scan.cache_hits }, { header: "Received", cell: (scan) => bytes(scan.bytes) }, { header: "Retries", cell: (scan) => scan.retries }, { header: "Waited", cell: (scan) => `${figure(scan.waited_ms)} ms` },
            { header: "Missing", cell: (scan) => scan.gap ? <span className="gap">{scan.gap}</span> : "nothing" },
          ]} /></Fold> : null}
        </>
      ) : null}
    </div>
  );
}

function ResultChart({ result }: { result: Result }) {
  const { numbers, others } = candidates(result);
  const time = result.columns.find((column) => /Timestamp|Date/.test(column.type))?.name;
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

function Saved({ sql, onOpen }: { sql: string; onOpen: (query: SavedQuery) => void }) {
  const client = useQueryClient();
  const { may, why } = useMay("operate", "Saving or removing a query");
  const saved = useGet<{ items: SavedQuery[] }>("/api/v1/queries");
  const [name, setName] = useState("");
  const done = () => client.invalidateQueries({ queryKey: ["live", "/api/v1/queries"] });
  const save = useMutation({ mutationFn: () => write("PUT", `/api/v1/queries/${seg(name.trim())}`, { sql }), onSuccess: done });
  const remove = useMutation({ mutationFn: (which: string) => write("DELETE", `/api/v1/queries/${seg(which)}`), onSuccess: done });
  return (
    <>
      <p className="decide"><input type="text" disabled={!may} aria-label="Name of the query" placeholder="name, such as costly_traces" value={name} onChange={(event) => setName(event.target.value)} /><button type="button" disabled={!may || !name.trim() || !sql.trim() || save.isPending} onClick={() => save.mutate()}>Save</button><Why may={{ may, why }} /></p>
      {save.isError ? <Failure error={save.error} /> : null}
      {save.isSuccess ? <p role="status">Saved as queries/saved/{name.trim()}.sql.</p> : null}
      {remove.isError ? <Failure error={remove.error} /> : null}
      <Show query={saved} what="saved queries">{(data) => data.items.length
        ? <ul className="tree">{data.items.map((query) => <li key={query.name}><button type="button" className="link" onClick={() => onOpen(query)}>{query.name}</button>{" "}<button type="button" className="link" disabled={!may} aria-label={`Remove ${query.name}`} onClick={() => remove.mutate(query.name)}>remove</button></li>)}</ul>
        : <Empty>No saved queries. They are files in queries/saved/.</Empty>}</Show>
    </>
  );
}

const NAMES: Record<FileFormat, string> = { csv: "CSV", json: "JSON", parquet: "Parquet" };

export default function Workbench() {
  const first = useMemo(draft, []);
  const [sql, setSqlState] = useState(first?.sql ?? "");
  const [values, setValues] = useState<Record<string, string>>(() => Object.fromEntries(Object.entries(first?.params ?? {}).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)])));
  const [partial, setPartial] = useState(false);
  const [result, setResult] = useState<Result | null>(null);
  const [running, setRunning] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const [plan, setPlan] = useState<string | null>(null);
  const [view, setView] = useState<"grid" | "chart">("grid");
  const [exporting, setExporting] = useState<{ format: FileFormat; bytes: number } | null>(null);
  const stop = useRef<AbortController | null>(null);
  const catalog = useCatalog();
  const narrow = useNarrow();
  const setSql = (text: string) => { setSqlState(text); remember({ sql: text }); };

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
    let drawn = 0;
    setResult(await run({ sql, params: params(), partial }, signal, (next) => {
      // Not each piece is drawn, but the first ones at once.
      if (performance.now() - drawn < 100) return;
      drawn = performance.now();
      setResult({ ...next, rows: [...next.rows] });
    }));
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
      <Card title="Catalog"><Catalog onPick={(table) => setSql(sql.trim() ? `${sql}${/\s$/.test(sql) ? "" : " "}${table}` : `SELECT *\nFROM ${table}\nLIMIT 100`)} /></Card>
      <Card title="Saved queries"><Saved sql={sql} onOpen={(query) => setSql(query.sql)} /></Card>
    </div>
  );
  return (
    <>
      <PageTitle>Workbench</PageTitle>
      <div className="workbench">
        {narrow ? null : beside}
        <div className="bench">
          <Card title="Query">
            <Editor value={sql} onChange={setSql} schema={schema} mistake={mistake} onRun={() => void execute()} />
            {names.length ? <div className="toolbar" role="group" aria-label="Values of the query's placeholders">{names.map((name) => <label key={name}>${name} <input type="text" value={values[name] ?? ""} onChange={(event) => setValues({ ...values, [name]: event.target.value })} /></label>)}</div> : null}
            <div className="toolbar">
              <button type="button" className="primary" disabled={!sql.trim() || running} onClick={() => void execute()} title="Ctrl+Enter">Run</button>
              <button type="button" disabled={!running} onClick={() => stop.current?.abort()}>Cancel</button>
              <button type="button" disabled={!sql.trim() || running} onClick={() => void explain()}>Explain</button>
              <label><input type="checkbox" checked={partial} onChange={(event) => setPartial(event.target.checked)} /> take what there is when a source fails</label>
            </div>
            {error ? <Failure error={error} /> : null}
            <Completeness report={result?.report ?? null} rows={result?.rows.length ?? 0} running={running && plan === null && exporting === null} />
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
