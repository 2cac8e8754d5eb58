/**
 * A query that is carried to the workbench, in the part of an address that browsers send to no server: it can be opened in
 * another tab, and sent to somebody. What is being written is kept for this tab alone.
 */
export type Draft = { sql: string; params?: Record<string, unknown> };
const KEY = "tripline-draft";

export const remember = (draft: Draft) => sessionStorage.setItem(KEY, JSON.stringify(draft));

function checked(value: unknown): Draft | null {
  const { sql, params } = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  if (typeof sql !== "string") return null;
  return { sql, params: typeof params === "object" && params !== null && !Array.isArray(params) ? (params as Record<string, unknown>) : undefined };
}

export function draft(): Draft | null {
  try {
    return checked(JSON.parse(sessionStorage.getItem(KEY) ?? "null"));
  } catch {
    return null;
  }
}

/** The address of a query. */
export function workbench({ sql, params }: Draft): string {
  const parts = new URLSearchParams({ sql });
  if (params && Object.keys(params).length) parts.set("params", JSON.stringify(params));
  return `/workbench#${parts.toString()}`;
}

/** The query that an address carries. */
export function carried(hash: string): Draft | null {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  const sql = parts.get("sql");
  if (sql === null) return null;
  try {
    return checked({ sql, params: JSON.parse(parts.get("params") ?? "null") as unknown });
  } catch {
    return { sql };
  }
}
