// Times in the viewer's zone, with UTC on hover; relative ones keep themselves current.
import { useEffect, useState } from "react";
import { ago, left, local, utc } from "../lib/format";

// One clock for all of them.
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
function subscribe(listener: () => void) {
  listeners.add(listener);
  timer ??= setInterval(() => { for (const each of listeners) each(); }, 1000);
  return () => {
    listeners.delete(listener);
    if (!listeners.size) { clearInterval(timer); timer = undefined; }
  };
}
/** Renders again each second. */
export function useTick() {
  const [, tick] = useState(0);
  useEffect(() => subscribe(() => tick((n) => n + 1)), []);
}

type At = string | null | undefined;

export const Time = ({ at }: { at: At }) => (at ? <time dateTime={at} title={utc(at)}>{local(at)}</time> : <>–</>);

export function Since({ at }: { at: At }) {
  useTick();
  return at ? <time dateTime={at} title={`${local(at)} · ${utc(at)}`}>{ago(at)}</time> : <>never</>;
}

export function Left({ until }: { until: string }) {
  useTick();
  const text = left(until);
  return <time className={text === "expired" ? "left expired" : "left"} dateTime={until} title={`${local(until)} · ${utc(until)}`}>{text}</time>;
}

/** Seconds since 1970, as the routes below /v1 have them. */
export const iso = (seconds: number | null | undefined) => (seconds ? new Date(seconds * 1000).toISOString() : null);
