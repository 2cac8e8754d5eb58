// What other thresholds would find: "N of the last M runs would fire", while a value is typed and before it is saved.
import { useQuery } from "@tanstack/react-query";
import { useEffect, useState } from "react";
import { Link } from "react-router";
import { post, seg } from "../api/client";
import type { Preview } from "../api/types";
import { Badge } from "../components/bits";
import { Failure, Unknown } from "../components/states";
import { count, figure } from "../lib/format";

const SOON = 500;

/** The value, once it has stayed the same for a moment; undefined before. */
export function useSettled<T>(value: T, after = SOON): T | undefined {
  const [settled, setSettled] = useState<T>();
  const text = JSON.stringify(value);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(JSON.parse(text) as T), after);
    return () => clearTimeout(timer);
  }, [text, after]);
  return settled;
}

/** Asks what a change would find; `change` null asks nothing. */
export function usePreview(change: { settings?: Record<string, unknown>; detector?: string } | null) {
  return useQuery({
    queryKey: ["still", "preview", change],
    queryFn: ({ signal }) => post<Preview>("/api/v1/settings/preview", change, signal),
    enabled: change !== null,
    retry: false,
    staleTime: 30_000,
  });
}

const moved = (now: number, then: number) => (then === now ? "as now" : `${figure(now)} now`);

export function PreviewLines({ preview }: { preview: Preview }) {
  const { runs, windows } = preview;
  if (!runs.detectors.length && !windows.length) return <p className="hint">No detector is bound to this.</p>;
  return (
    <ul className="lines preview">
      {runs.detectors.map((item) => (
        <li key={item.detector}>{item.would_fire === null || item.fires_now === null
          ? <><Badge word="failed" /> {item.title}: <span className="gap">{item.error}</span></>
          : runs.runs ? <><Badge word={item.would_fire ? "high" : "ok"} /> <strong>{item.title}</strong>: {figure(item.would_fire)} of the last {count(runs.runs, "run")} would fire ({moved(item.fires_now, item.would_fire)}){item.shadow ? <> <Badge word="shadow" /></> : null}</>
            : <><strong>{item.title}</strong>: no run was judged yet, so nothing can be said.</>}</li>
      ))}
      {runs.gone ? <li className="gap">{count(runs.gone, "run")} could not be judged again: their events are kept no longer.</li> : null}
      {windows.map((item) => (
        <li key={item.detector}><Badge word={item.would_fire ? "high" : item.unknown ? "unknown" : "ok"} /> <strong><Link to={`/detectors/${seg(item.detector)}`}>{item.title}</Link></strong>: {figure(item.would_fire)} of the last {count(item.judged, "run")} would fire ({moved(item.fires_now, item.would_fire)}), with {count(item.requests, "request")}.
          {item.unknown ? <span className="gap"> {count(item.unknown, "run")} unknown.</span> : null}{item.cut ? <span className="gap"> Its budget ended after {item.judged} of {item.due}.</span> : null}
          {item.gaps.map((gap) => <Unknown key={gap.source + gap.reason} source={gap.source} reason={gap.reason} />)}</li>
      ))}
    </ul>
  );
}

/** The preview of a change that is being typed. */
export function LivePreview({ settings }: { settings: Record<string, unknown> }) {
  const settled = useSettled(settings);
  const preview = usePreview(settled === undefined ? null : { settings: settled });
  return (
    <div role="status" className="live-preview">
      {preview.isPending ? <p className="hint">Judging the newest runs again…</p> : null}
      {preview.isError ? <Failure error={preview.error} /> : null}
      {preview.data ? <PreviewLines preview={preview.data} /> : null}
    </div>
  );
}
