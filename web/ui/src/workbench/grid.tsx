// The rows of an answer: any number of them, of which only those in view are drawn.
import { useVirtualizer } from "@tanstack/react-virtual";
import { useRef } from "react";
import { show } from "../components/table";
import type { Result } from "./run";

/** Figures stand to the right, also those that are text because a double has not all of their digits. */
const isFigure = (type: string) => /^(U?Int\d|Float|Decimal)/.test(type);

const ROW = 30;

export function Cell({ value, type }: { value: unknown; type: string }) {
  if (value === null || value === undefined) return <td className="null"><span title="no value; a text of these letters has no frame">NULL</span></td>;
  const text = show(value);
  return <td title={text.length > 60 ? text : undefined} className={isFigure(type) ? "number" : undefined}>{text}</td>;
}

export function Grid({ result }: { result: Result }) {
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({ count: result.rows.length, getScrollElement: () => scroller.current, estimateSize: () => ROW, overscan: 20, initialRect: { width: 900, height: 420 } });
  const items = rows.getVirtualItems();
  const before = items[0]?.start ?? 0;
  const after = rows.getTotalSize() - (items.at(-1)?.end ?? 0);
  return (
    <div className="grid" ref={scroller} tabIndex={0} role="group" aria-label="Rows of the answer">
      <table aria-rowcount={result.rows.length + 1}>
        <thead><tr>{result.columns.map((column, index) => <th key={index} scope="col" title={column.type}>{column.name}</th>)}</tr></thead>
        <tbody>
          {before > 0 ? <tr aria-hidden="true"><td colSpan={result.columns.length} style={{ height: before, padding: 0, border: 0 }} /></tr> : null}
          {items.map((item) => {
            const row = result.rows[item.index] ?? {};
            return <tr key={item.index} aria-rowindex={item.index + 2}>{result.columns.map((column, index) => <Cell key={index} value={row[column.name]} type={column.type} />)}</tr>;
          })}
          {after > 0 ? <tr aria-hidden="true"><td colSpan={result.columns.length} style={{ height: after, padding: 0, border: 0 }} /></tr> : null}
        </tbody>
      </table>
    </div>
  );
}
