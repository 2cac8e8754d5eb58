// Times in the viewer's zone, with UTC on hover; relative ones keep themselves current.
import { useEffect, useState } from "react";
import { ago, left, local, minute, utc } from "../lib/format";

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

export function show(value: unknown): string {
  if (value === null || value === undefined) return "NULL";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** A time as the server writes it in rows. */
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z$/;

/** A value of a row: times in the viewer's zone, to the digit in UTC on hover. */
export function Value({ of: value }: { of: unknown }) {
  if (typeof value === "string" && INSTANT.test(value) && !Number.isNaN(Date.parse(value))) return <time dateTime={value} title={value}>{local(value)}</time>;
  return <>{show(value)}</>;
}

/** A text with its times in the viewer's zone, in UTC on hover. */
export function Told({ children: text }: { children: string }) {
  return <>{text.split(/(\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: UTC|Z))/).map((part, index) => (index % 2 ? <Moment key={index}>{part}</Moment> : part))}</>;
}

/** A time as texts of ours have it, such as `2026-11-20 13:49 UTC`. */
export function Moment({ children: said }: { children: string }) {
  const at = `${said.replace(" UTC", "").replace("Z", "").replace(" ", "T")}Z`;
  if (Number.isNaN(Date.parse(at))) return <>{said}</>;
  return <time dateTime={at} title={said.replace(/(\d)T/, "$1 ").replace("Z", " UTC")}>{/:\d\d:/.test(said) ? local(at) : minute(at)}</time>;
}

/** Seconds since 1970, as the routes below /v1 have them. */
export const iso = (seconds: number | null | undefined) => (seconds ? new Date(seconds * 1000).toISOString() : null);
