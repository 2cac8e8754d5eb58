// How the pages say things: figures, money, times, names. No state but the server's clock.

let skew = 0;
/** The server's time is what approvals expire by; the viewer's clock may be off. */
export const setServerTime = (now: string) => { skew = Date.parse(now) - Date.now(); };
export const now = () => Date.now() + skew;

const capital = (text: string) => text.replace(/^./, (c) => c.toUpperCase());
/** `cost_spike` → `Cost spike`, `TOOL_LOOP` → `Tool loop`. */
export const title = (name: string | null | undefined) => {
  const text = (name ?? "").replaceAll("_", " ");
  return capital(text === text.toUpperCase() && text.length > 4 ? text.toLowerCase() : text);
};

const VERBS: Record<string, string> = { open_github_issue: "open a GitHub issue", kill_loop: "kill the loop" };
export const verb = (action: string) => VERBS[action] ?? action.replaceAll("_", " ");

/** Dollars: two digits from a dollar up, four below, and the first two that are none where four would say nothing; `unknown` when nobody knows. */
export function money(usd: number | null | undefined): string {
  if (usd === null || usd === undefined || !Number.isFinite(usd)) return "unknown";
  if (usd !== 0 && Math.abs(usd) < 0.001) return usd.toLocaleString("en-US", { style: "currency", currency: "USD", maximumSignificantDigits: 2 });
  const digits = usd === 0 || Math.abs(usd) >= 1 ? 2 : 4;
  return usd.toLocaleString("en-US", { style: "currency", currency: "USD", minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export const figure = (n: number | null | undefined) => (n === null || n === undefined ? "unknown" : n.toLocaleString("en-US"));
export const count = (n: number, one: string, many = `${one}s`) => `${figure(n)} ${n === 1 ? one : many}`;
export const percent = (share: number) => `${(share * 100).toLocaleString("en-US", { maximumFractionDigits: 1 })} %`;

export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB"];
  let at = 0;
  let left = n;
  while (left >= 1024 && at < units.length - 1) { left /= 1024; at += 1; }
  return `${at ? left.toFixed(1) : left} ${units[at]}`;
}

export function duration(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  const [days, hours, minutes] = [Math.floor(s / 86_400), Math.floor((s % 86_400) / 3600), Math.floor((s % 3600) / 60)];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min ${s % 60} s` : `${s} s`;
}

export function ago(text: string | null | undefined, at = now()): string {
  if (!text) return "never";
  const seconds = Math.round((at - Date.parse(text)) / 1000);
  if (seconds < -5) return `in ${duration(-seconds)}`;
  if (seconds < 5) return "just now";
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

/** What is left until then; `expired` afterwards. */
export function left(text: string, at = now()): string {
  const seconds = Math.floor((Date.parse(text) - at) / 1000);
  return seconds <= 0 ? "expired" : `${duration(seconds)} left`;
}

export const local = (text: string) => new Date(text).toLocaleString(undefined, {
  year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit",
});
/** As `local`, of a time that is told to the minute. */
export const minute = (text: string) => new Date(text).toLocaleString(undefined, { year: "numeric", month: "short", day: "2-digit", hour: "2-digit", minute: "2-digit" });
/** The zone that times are shown in. */
export const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;
/** What an incident's cost is: of a spike, what went beyond the usual. */
export const costName = (type: string) => (type === "cost_spike" ? "Cost above the usual" : "Cost");
export const utc = (text: string) => `${new Date(text).toISOString().replace("T", " ").slice(0, 19)} UTC`;

/** An address that may be a link: GitHub's and other https pages without credentials, nothing that runs. */
export function safeLink(address: unknown, hosts: string[] = ["github.com"]): string | null {
  if (typeof address !== "string") return null;
  try {
    const url = new URL(address);
    return url.protocol === "https:" && !url.username && hosts.includes(url.host) ? url.href : null;
  } catch {
    return null;
  }
}
