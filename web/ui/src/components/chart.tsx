// A chart of columns over a column: lines over time or numbers, bars over anything else.
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

export type Series = { name: string; values: (number | null)[] };
export type ChartData = { x: { kind: "time" | "number" | "text"; values: (number | string)[]; name: string }; series: Series[] };

// Told apart also without seeing colours: each has a dash of its own.
const STROKES: [string, number[]][] = [["#2b7de0", []], ["#d9622b", [8, 4]], ["#2f9e5b", [2, 3]], ["#a05bc9", [12, 3, 2, 3]], ["#b58900", [4, 4]]];

export function Chart({ data, label }: { data: ChartData; label: string }) {
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const box = host.current;
    if (!box) return;
    const style = getComputedStyle(document.documentElement);
    const text = getComputedStyle(box).color;
    const line = style.getPropertyValue("--grid-line") || "#8886";
    const named = data.x.kind === "text";
    const xs = named ? data.x.values.map((_, index) => index) : (data.x.values as number[]);
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
    const made = new uPlot({
      width: Math.max(280, box.clientWidth), height: 300,
      scales: { x: { time: data.x.kind === "time", ...(named ? { range: [-0.5, xs.length - 0.5] as uPlot.Range.MinMax } : {}) } },
      axes: [named ? { ...axis, values: (_: uPlot, at: number[]) => at.map((index) => (Number.isInteger(index) ? String(data.x.values[index] ?? "").slice(0, 18) : "")) } : axis, { ...axis, size: 70 }],
      series: [{ label: data.x.name }, ...data.series.map((series, index) => {
        const [stroke, dash] = STROKES[index % STROKES.length] as [string, number[]];
        return named
          ? { label: series.name, stroke, fill: `${stroke}88`, paths: uPlot.paths.bars?.({ size: [0.7, 80] }), points: { show: false } }
          : { label: series.name, stroke, dash, width: 2, spanGaps: false };
      })],
    }, [xs, ...data.series.map((series) => series.values)] as uPlot.AlignedData, box);
    const observer = new ResizeObserver(() => made.setSize({ width: Math.max(280, box.clientWidth), height: 300 }));
    observer.observe(box);
    return () => { observer.disconnect(); made.destroy(); };
  }, [data]);
  return <div ref={host} className="chart" role="img" aria-label={label} />;
}
