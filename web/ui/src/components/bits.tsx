// Small parts that every page uses.
import { useId, useState, type ReactNode } from "react";
import { safeLink, title } from "../lib/format";
import { usePrinting } from "../lib/print";

const TONES: Record<string, string> = {
  critical: "bad", high: "warn", medium: "note", info: "calm", low: "calm",
  open: "warn", resolved: "good", pending: "note", approved: "good", rejected: "calm", expired: "calm",
  done: "good", succeeded: "good", ok: "good", failed: "bad", error: "bad", unknown: "warn", partial: "warn", executing: "note",
  running: "note", configured: "good", intact: "good", broken: "bad", shadow: "calm", stopped: "good", requested: "note", kill_requested: "note", killed: "good", ended: "calm", active: "warn", revoked: "calm", cancelled: "warn", verified: "good", likely_fixed: "good", still_occurring: "bad", insufficient_data: "calm", complete: "good",
};

/** A word with a tone; the word itself says it, the colour only helps. */
export const Badge = ({ word }: { word: string | null | undefined }) =>
  <span className={`badge tone-${TONES[word ?? ""] ?? "calm"}`} data-word={word ?? ""}>{(word ?? "–").replaceAll("_", " ")}</span>;

export function Card({ title: heading, id, children, action, level = 2 }: { title?: ReactNode; id?: string; children: ReactNode; action?: ReactNode; level?: 2 | 3 }) {
  const label = useId();
  const Heading = level === 2 ? "h2" : "h3";
  return (
    <section className="card" id={id} aria-labelledby={heading ? label : undefined}>
      {heading ? <header className="card-head"><Heading id={label}>{heading}</Heading>{action}</header> : null}
      {children}
    </section>
  );
}

export const Stat = ({ label, value, hint, tone, to }: { label: string; value: ReactNode; hint?: ReactNode; tone?: "bad" | "warn" | "good"; to?: ReactNode }) => (
  <div className={`stat${tone ? ` stat-${tone}` : ""}`}>
    <dt>{label}</dt>
    <dd><span className="stat-value">{value}</span>{hint ? <span className="hint">{hint}</span> : null}{to}</dd>
  </div>
);

export function Facts({ items }: { items: [string, ReactNode][] }) {
  return <dl className="facts">{items.map(([label, value]) => <div key={label}><dt>{label}</dt><dd>{value ?? "–"}</dd></div>)}</dl>;
}

export function Fold({ summary, children, open: initially = false }: { summary: ReactNode; children: ReactNode; open?: boolean }) {
  const [unfolded, setOpen] = useState(initially);
  const printing = usePrinting();
  const open = unfolded || printing;
  return (
    <details open={open} onToggle={(event) => { if (!printing) setOpen(event.currentTarget.open); }}>
      <summary>{summary}</summary>
      {open ? <div className="fold">{children}</div> : null}
    </details>
  );
}

/** A schedule as cron writes it: one line. */
export const Cron = ({ children }: { children: ReactNode }) => <code className="cron">{children}</code>;
export const Code = ({ children }: { children: ReactNode }) => <code>{children}</code>;
export const Pre = ({ label, children }: { label: string; children: ReactNode }) => <pre tabIndex={0} role="group" aria-label={label}>{children}</pre>;
export const Json = ({ value, label }: { value: unknown; label: string }) => <Pre label={label}>{JSON.stringify(value, null, 2)}</Pre>;

/** A link to GitHub if the address is one of GitHub's, else only the text. */
export function External({ address, children }: { address: unknown; children: ReactNode }) {
  const href = safeLink(address);
  return href ? <a href={href} rel="noreferrer noopener" target="_blank">{children}</a> : <>{children}</>;
}

export const PageTitle = ({ children, side }: { children: ReactNode; side?: ReactNode }) => (
  <div className="page-title"><h1 tabIndex={-1}>{children}</h1>{side ? <div className="side">{side}</div> : null}</div>
);

export function Tabs<T extends string>({ label, tabs, value, onChange }: { label: string; tabs: T[]; value: T; onChange: (tab: T) => void }) {
  return (
    <div className="tabs" role="group" aria-label={label}>
      {tabs.map((tab) => <button key={tab} type="button" aria-pressed={tab === value} onClick={() => onChange(tab)}>{title(tab)}</button>)}
    </div>
  );
}
