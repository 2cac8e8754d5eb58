// How the page says things: words for figures and times, and the elements it is made of.
//
// Owns no state and sends nothing. Must hold: a child that is text becomes text, whatever it contains; nothing here parses HTML.
// Plain scripts share their names: app.js uses these, and gives them the server's time and the configured hosts (`state`).
"use strict";

/** An element with properties and children; text children are text. */
function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "onclick" || name === "oninput" || name === "ontoggle") element.addEventListener(name.slice(2), value);
    else if (name === "disabled" || name === "hidden") element[name] = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) {
    if (child !== null && child !== undefined && child !== false) element.append(child);
  }
  return element;
}

// ---- words ----

const severityOrder = { critical: 0, high: 1, medium: 2, info: 3 };
const names = { open_github_issue: "open a GitHub issue", kill_loop: "kill the loop" };
const capital = (text) => text.replace(/^./, (c) => c.toUpperCase());
const title = (name) => capital(name.replaceAll("_", " "));
const verb = (action) => names[action] ?? action.replaceAll("_", " ");
/** That there is no culprit is known only if the commits could be read. */
const noCulprit = (incident) =>
  (list(incident.gaps).some((gap) => gap.source === "github") ? "unknown (commits could not be read)" : "none found");
const money = (usd) =>
  (usd === null || usd === undefined ? "unknown" : `$${usd.toFixed(usd === 0 || Math.abs(usd) >= 1 ? 2 : 4)}`);
const time = (text) => (text ? new Date(text).toLocaleString() : "–");
const now = () => Date.now() + state.skew;
const count = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;
const list = (value) => (Array.isArray(value) ? value : []);

function ago(text) {
  if (!text) return "never";
  const seconds = Math.round((now() - Date.parse(text)) / 1000);
  if (seconds < 5) return "just now";
  if (seconds < 90) return `${seconds} s ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 129_600) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86_400)} d ago`;
}

function left(text) {
  const seconds = Math.floor((Date.parse(text) - now()) / 1000);
  if (seconds <= 0) return "expired";
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor((seconds % 3600) / 60)];
  return hours ? `${hours} h ${minutes} min left` : minutes ? `${minutes} min ${seconds % 60} s left` : `${seconds} s left`;
}

// ---- elements ----

const badge = (word, kind) => h("span", { class: `badge ${kind}-${word}` }, word.replaceAll("_", " "));
const code = (text) => h("code", {}, text);
/** A time that keeps itself current. */
const since = (text) => h("time", { "data-ago": text, datetime: text, title: time(text) }, ago(text));

function fact(label, value) {
  return [h("dt", {}, label), h("dd", {}, value ?? "–")];
}

function table(columns, rows, empty) {
  if (!rows.length) return h("p", { class: "empty" }, empty);
  return h("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": columns.join(", ") }, h("table", {},
    h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell) => h("td", {}, cell ?? "–")))))));
}

/** A part that folds, and stays as it is when its card is drawn anew. */
function fold(key, summary, ...children) {
  const element = h("details", {
    ontoggle: () => { if (element.open) state.unfolded.add(key); else state.unfolded.delete(key); },
  }, h("summary", { "data-focus": key }, summary), children);
  element.open = state.unfolded.has(key);
  return element;
}

/** A link when the address is GitHub's (the public one, or the configured host); else its text, which leads nowhere. */
function github(address, text = address) {
  const parsed = (text) => { try { return new URL(text); } catch { return null; } };
  const hosts = ["github.com", parsed(state.sources.find((source) => source.name === "github")?.base_url)?.hostname];
  const url = parsed(address);
  if (url?.protocol !== "https:" || url.username || !hosts.includes(url.hostname)) return text;
  return h("a", { href: url.href, rel: "noreferrer noopener", target: "_blank" }, text);
}

/** Puts one element per item into the container. What did not change stays; focus stays where it was. */
function place(container, items, key, make) {
  const focused = container.contains(document.activeElement) ? document.activeElement : null;
  const [focus, card] = [focused?.dataset.focus, focused?.closest("[data-key]")?.dataset.key];
  const old = new Map([...container.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const signature = JSON.stringify(item);
    const kept = old.get(key(item));
    if (kept?.signature === signature) return kept;
    const element = make(item);
    element.dataset.key = key(item);
    element.signature = signature;
    return element;
  });
  for (const child of [...container.children]) if (!wanted.includes(child)) child.remove();
  wanted.forEach((element, at) => {
    if (container.children[at] !== element) container.insertBefore(element, container.children[at] ?? null);
  });
  // The same element again; when it is gone or may not be pressed any more, its card's own button.
  const heirs = [focus && `[data-focus="${CSS.escape(focus)}"]`, card && `[data-key="${CSS.escape(card)}"] button.link`];
  for (const heir of heirs.filter(Boolean)) {
    if (container.contains(document.activeElement)) return;
    container.querySelector(heir)?.focus({ preventScroll: true });
  }
}
