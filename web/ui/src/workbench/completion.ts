// What may stand where somebody types: columns of the tables that the query reads, and functions. Names after a dot, tables and
// the words of SQL are offered by the editor's own language.
import type { Completion, CompletionContext, CompletionResult } from "@codemirror/autocomplete";
import type { EditorView } from "@codemirror/view";
import { bare } from "./run";

export type Schema = Record<string, Record<string, string[]>>;
export type SqlFunction = { name: string; about?: string };

/** The tables that a query reads, as far as its text says. */
export function tablesOf(sql: string, schema: Schema): { source: string; table: string }[] {
  const found = new Map<string, { source: string; table: string }>();
  for (const match of bare(sql).matchAll(/\b(?:from|join|,)\s+"?([a-z_]\w*)"?\s*\.\s*"?([a-z_]\w*)"?/gi)) {
    const [source, table] = [(match[1] as string).toLowerCase(), (match[2] as string).toLowerCase()];
    if (schema[source]?.[table]) found.set(`${source}.${table}`, { source, table });
  }
  return [...found.values()];
}

/** Puts the function there, and the cursor between its parentheses. */
function call(view: EditorView, completion: Completion, from: number, to: number) {
  const open = view.state.sliceDoc(to, to + 1) === "(";
  view.dispatch({ changes: { from, to, insert: open ? completion.label : `${completion.label}()` }, selection: { anchor: from + completion.label.length + 1 }, userEvent: "input.complete" });
}

/** Columns and functions for the word that is being written. */
export function words(schema: Schema, functions: SqlFunction[]) {
  const offered = functions.map(({ name, about }): Completion => ({ label: name, type: "function", info: about, apply: call, boost: -1 }));
  return (context: CompletionContext): CompletionResult | null => {
    const word = context.matchBefore(/\w*/);
    if (!word || (word.from === word.to && !context.explicit)) return null;
    const before = context.state.sliceDoc(Math.max(0, word.from - 40), word.from);
    // After a dot are the columns of one table, after FROM tables, after AS and $ names of one's own; numbers are no words.
    if (/[.$"]$|\b(?:from|join|as)\s+$/i.test(before) || /^\d/.test(word.text)) return null;
    const columns = new Map<string, string[]>();
    for (const { source, table } of tablesOf(context.state.doc.toString(), schema)) {
      for (const name of schema[source]?.[table] ?? []) columns.set(name, [...(columns.get(name) ?? []), `${source}.${table}`]);
    }
    const own = [...columns].map(([name, tables]): Completion => ({ label: name, type: "property", detail: tables.join(", "), boost: 2 }));
    return { from: word.from, options: [...own, ...offered], validFor: /^\w*$/ };
  };
}
