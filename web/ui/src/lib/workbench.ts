/** A query that is carried to the workbench. It is not put into the address: queries are long, and may name what is nobody's business. */
export type Draft = { sql: string; params?: Record<string, unknown> };
const KEY = "tripline-draft";

export const remember = (draft: Draft) => sessionStorage.setItem(KEY, JSON.stringify(draft));

export function draft(): Draft | null {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "null") as Draft | null;
    return kept && typeof kept.sql === "string" ? kept : null;
  } catch {
    return null;
  }
}
