// How a source has been doing: how fast it answered, and how much it still allows.
import type { Source } from "../api/types";
import { figure, now } from "../lib/format";
import { Since } from "./time";

export const latency = (source: Source) => (source.latency_ms === null ? "not asked yet" : `${figure(source.latency_ms)} ms`);

/** What a vendor still allows, as it last said. */
export function Quota({ source }: { source: Source }) {
  const { limits, paused_seconds: paused } = source;
  const left = limits?.remaining === null || limits?.remaining === undefined ? "not told" : `${figure(limits.remaining)}${limits.limit === null ? "" : ` of ${figure(limits.limit)}`}`;
  return <>{left}{limits?.resets_at && Date.parse(limits.resets_at) > now() ? <span className="hint"> renewed <Since at={limits.resets_at} /></span> : null}{paused ? <span className="gap"> paused for {figure(paused)} s, as it asked</span> : null}</>;
}
