// The SQL editor. It lives in a shadow root: its styles are then a constructed sheet, which the strict content security
// policy (no inline styles) lets pass.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, ifNotIn } from "@codemirror/autocomplete";
import { defaultKeymap, history, historyKeymap } from "@codemirror/commands";
import { sql as sqlLanguage } from "@codemirror/lang-sql";
import { bracketMatching, HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { setDiagnostics } from "@codemirror/lint";
import { Compartment, EditorState } from "@codemirror/state";
import { EditorView, keymap, lineNumbers, placeholder } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { useEffect, useRef } from "react";
import { words, type Schema, type SqlFunction } from "./completion";
import { dialect } from "./dialect";

export type Mistake = { from: number; to: number; message: string };

const colours = HighlightStyle.define([
  { tag: tags.keyword, color: "var(--accent)", fontWeight: "600" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--good)" },
  { tag: tags.number, color: "var(--note)" },
  { tag: tags.comment, color: "var(--muted)", fontStyle: "italic" },
]);
/** Completions that are shown at once. */
const OFFERED = 12;
const look = EditorView.theme({
  "&": { fontSize: "14px", backgroundColor: "var(--bg)", color: "var(--text)", border: "1px solid var(--line)", borderRadius: "6px", minHeight: "9rem", maxHeight: "24rem" },
  "&.cm-focused": { outline: "2px solid var(--accent)" },
  ".cm-scroller": { overflow: "auto", fontFamily: "var(--mono)", minHeight: "9rem", maxHeight: "24rem" },
  ".cm-content": { caretColor: "var(--text)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-gutters": { backgroundColor: "var(--sunk)", color: "var(--muted)", border: "none" },
  ".cm-tooltip": { backgroundColor: "var(--card)", color: "var(--text)", border: "1px solid var(--line)" },
  ".cm-tooltip-autocomplete ul li[aria-selected]": { backgroundColor: "var(--accent-bg)", color: "var(--on-accent)" },
  // As many as are shown fit: nothing that scrolls and cannot be reached with the keyboard.
  ".cm-tooltip.cm-tooltip-autocomplete > ul": { maxHeight: "none" },
  ".cm-completionDetail": { color: "inherit" },
  ".cm-placeholder": { color: "var(--muted)" },
  ".cm-lintRange-error": { backgroundImage: "none", textDecoration: "underline wavy var(--bad)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "light-dark(#cfe3ff, #274a75)" },
});

/**
 * Text that takes the place of a selection. Left to itself the browser keeps the look of what it replaces by a style of its own
 * making, which the content security policy refuses, loudly; so it is replaced here, by the same rules as what is typed elsewhere.
 */
const replacing = EditorView.domEventHandlers({
  beforeinput(event, editor) {
    const { main } = editor.state.selection;
    const text = event.data;
    if (event.inputType !== "insertText" || text === null || event.isComposing || editor.composing || main.empty || editor.state.selection.ranges.length > 1) return false;
    event.preventDefault();
    const insert = () => editor.state.update(editor.state.replaceSelection(text), { userEvent: "input.type", scrollIntoView: true });
    if (!editor.state.facet(EditorView.inputHandler).some((handler) => handler(editor, main.from, main.to, text, insert))) editor.dispatch(insert());
    return true;
  },
});

/** A text that comes from elsewhere than the keyboard. Each one is a new object: it is put in once, whatever was typed since. */
export type Given = { text: string };
const TEXTS = ["String", "LineComment", "BlockComment", "QuotedIdentifier"];
const NO_FUNCTIONS: SqlFunction[] = [];

export function Editor({ given, onChange, schema, functions = NO_FUNCTIONS, mistake, onRun }: { given: Given; onChange: (sql: string) => void; schema: Schema; functions?: SqlFunction[]; mistake: Mistake | null; onRun: () => void }) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const language = useRef(new Compartment());
  const put = useRef(given);
  const callbacks = useRef({ onChange, onRun });
  callbacks.current = { onChange, onRun };

  useEffect(() => {
    if (!host.current) return;
    const root = host.current.shadowRoot ?? host.current.attachShadow({ mode: "open" });
    const made = new EditorView({
      parent: root,
      root,
      state: EditorState.create({
        doc: given.text,
        extensions: [
          lineNumbers(), history(), bracketMatching(), closeBrackets(), autocompletion({ maxRenderedOptions: OFFERED }), EditorView.lineWrapping,
          replacing, syntaxHighlighting(colours), look, placeholder("SELECT …"), EditorState.tabSize.of(2),
          language.current.of(sqlLanguage({ dialect })),
          EditorView.contentAttributes.of({ "aria-label": "SQL" }),
          keymap.of([
            { key: "Mod-Enter", run: () => { callbacks.current.onRun(); return true; } },
            ...closeBracketsKeymap, ...completionKeymap, ...defaultKeymap, ...historyKeymap,
          ]),
          EditorView.updateListener.of((update) => { if (update.docChanged) callbacks.current.onChange(update.state.doc.toString()); }),
        ],
      }),
    });
    view.current = made;
    return () => { made.destroy(); view.current = null; };
    // The editor is made once; what changes afterwards comes through the effects below.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, []);
  useEffect(() => {
    const editor = view.current;
    // The editor holds the text. What was typed goes out and never comes back: coming late it would undo what was typed since.
    if (!editor || put.current === given) return;
    put.current = given;
    editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: given.text } });
  }, [given]);
  useEffect(() => {
    const ours = dialect.language.data.of({ autocomplete: ifNotIn(TEXTS, words(schema, functions)) });
    view.current?.dispatch({ effects: language.current.reconfigure([sqlLanguage({ dialect, schema, upperCaseKeywords: true }), ours]) });
  }, [schema, functions]);
  useEffect(() => {
    const editor = view.current;
    if (!editor) return;
    const end = editor.state.doc.length;
    editor.dispatch(setDiagnostics(editor.state, mistake ? [{ from: Math.min(mistake.from, end), to: Math.min(Math.max(mistake.to, mistake.from), end), severity: "error", message: mistake.message }] : []));
  }, [mistake]);
  return <div className="editor" ref={host} />;
}
