// Tables: sorted by a press on a heading, scrolled sideways inside of themselves, never wider than the page. On a phone a row is a
// list of what it says, so that nothing of it is beyond the edge.
import { flexRender, getCoreRowModel, getSortedRowModel, useReactTable, type ColumnDef, type SortingState } from "@tanstack/react-table";
import { useState, type ReactNode } from "react";
import { usePrinting } from "../lib/print";
import { Empty } from "./states";
import { Value } from "./time";
export { show } from "./time";

export type Column<T> = { header: string; cell: (row: T) => ReactNode; sort?: (row: T) => string | number | null | undefined };

export function Table<T>({ label, columns, rows: every, empty, rowKey, rowProps, most = Infinity, more = false, wide = false }: {
  label: string; columns: Column<T>[]; rows: T[]; empty: ReactNode; rowKey?: (row: T, index: number) => string;
  /** An id to be linked to, and a class, by the row and its place in `rows`. */ rowProps?: (row: T, index: number) => { id?: string; className?: string };
  /** How many rows are shown before somebody asks for all. */ most?: number;
  /** Whether there are rows that were not read yet. */ more?: boolean;
  /** Whether there may be so many columns that a row stays a row on a phone, too. */ wide?: boolean;
}) {
  const [pressed, setAll] = useState(false);
  const all = usePrinting() || pressed;
  const [sorting, setSorting] = useState<SortingState>([]);
  const definitions: ColumnDef<T>[] = columns.map((column, index) => ({
    id: String(index),
    header: column.header,
    accessorFn: (row) => column.sort?.(row) ?? undefined,
    // Cells are called and not made components of: a new function each time would be a new component, and what was typed in it lost.
    enableSorting: Boolean(column.sort),
    sortUndefined: "last",
  }));
  const table = useReactTable({
    data: every, columns: definitions, state: { sorting }, onSortingChange: setSorting,
    // Rows that are made anew with each drawing must not cause the next one.
    autoResetAll: false,
    getCoreRowModel: getCoreRowModel(), getSortedRowModel: getSortedRowModel(), getRowId: rowKey ? (row, index) => rowKey(row, index) : undefined,
  });
  // All of them are sorted, also those that are not shown yet.
  const sorted = table.getRowModel().rows;
  const rows = all ? sorted : sorted.slice(0, most);
  if (!every.length) return <Empty>{empty}</Empty>;
  return (
    <div className={wide ? "scroll" : "scroll stack"} tabIndex={0} role="group" aria-label={label}>
      <table>
        <thead>
          {table.getHeaderGroups().map((group) => (
            <tr key={group.id}>
              {group.headers.map((header) => {
                const sorted = header.column.getIsSorted();
                const text = flexRender(header.column.columnDef.header, header.getContext());
                return (
                  <th key={header.id} scope="col" aria-sort={sorted ? (sorted === "asc" ? "ascending" : "descending") : undefined}>
                    {header.column.getCanSort()
                      ? <button type="button" className="sort" onClick={header.column.getToggleSortingHandler()}>{text}<span aria-hidden="true">{sorted === "asc" ? " ▲" : sorted === "desc" ? " ▼" : ""}</span></button>
                      : text}
                  </th>
                );
              })}
            </tr>
          ))}
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.id} {...rowProps?.(row.original, row.index)}>{row.getVisibleCells().map((cell) => <td key={cell.id} data-label={columns[Number(cell.column.id)]?.header}>{columns[Number(cell.column.id)]?.cell(row.original) ?? "–"}</td>)}</tr>
          ))}
        </tbody>
      </table>
      {more && sorting.length ? <p className="hint" role="status">Sorted are the {every.length} rows that were read; there are more.</p> : null}
      {rows.length < every.length ? <p className="noprint"><button type="button" onClick={() => setAll(true)}>Show all {every.length}</button></p> : null}
    </div>
  );
}

/** The rows of an answer to SQL or of evidence: whatever columns there are. */
export function RowsTable({ label, rows, empty = "No rows." }: { label: string; rows: Record<string, unknown>[]; empty?: string }) {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const columns = names.map((name): Column<Record<string, unknown>> => ({
    header: name,
    cell: (row) => <Value of={row[name]} />,
    sort: (row) => { const value = row[name]; return typeof value === "number" || typeof value === "string" ? value : value === null || value === undefined ? null : JSON.stringify(value); },
  }));
  return <Table label={label} columns={columns} rows={rows} empty={empty} wide />;
}

/** What `useListing` has read so far, and a button for more. */
export function More({ listing }: { listing: { hasNextPage: boolean; isFetchingNextPage: boolean; fetchNextPage: () => unknown } }) {
  if (!listing.hasNextPage) return null;
  return <p><span className="onlyprint gap">There are more than these. </span><button className="noprint" type="button" disabled={listing.isFetchingNextPage} onClick={() => void listing.fetchNextPage()}>{listing.isFetchingNextPage ? "Loading…" : "Show more"}</button></p>;
}
