// Characters that cannot be seen, or that change what is seen around them: each is shown by its number instead, such as ⟨U+202E⟩.
//
// What comes from the server is read through `reveal`, what goes there through `conceal`, which is its reverse: names stay what they
// are, in addresses and in questions, and no page has to think of it. The list is that of the server's own messages
// (agent/src/messages/text.rs); line breaks and tabs stay.
import { useParams as routed } from "react-router";

const UNSEEN = /[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\u007f-\u009f]|[\u{e0000}-\u{e0fff}]/gu;
const number = (point: number) => `\u27e8U+${point.toString(16).toUpperCase().padStart(4, "0")}\u27e9`;

/** A text with what cannot be seen shown by its number. */
export const reveal = (text: string) => text.replace(UNSEEN, (char) => number(char.codePointAt(0) as number)).replace(/[\0-\x08\x0b\x0c\x0e-\x1f]/g, (char) => number(char.charCodeAt(0)));

/** The text that was revealed. */
export const conceal = (text: string) => text.replace(/\u27e8U\+([0-9A-F]{4,6})\u27e9/g, (shown, hex: string) => {
  const char = Number.parseInt(hex, 16) <= 0x10ffff ? String.fromCodePoint(Number.parseInt(hex, 16)) : shown;
  return reveal(char) === shown ? char : shown;
});

/** JSON with what cannot be seen revealed in its texts. Control characters stand in JSON as escapes. */
export function parse<T>(json: string): T {
  const shown = json.replace(UNSEEN, (char) => number(char.codePointAt(0) as number))
    .replace(/\\(?:u([0-9a-fA-F]{4})|[^])/g, (escape, hex: string | undefined) => {
      const char = hex === undefined ? "" : String.fromCharCode(Number.parseInt(hex, 16));
      return char && reveal(char) !== char ? reveal(char) : escape;
    });
  return JSON.parse(shown) as T;
}

/** JSON of what goes to the server. */
export const text = (value: unknown): string => JSON.stringify(value, (_, each: unknown) => (typeof each === "string" ? conceal(each) : each));

/** What an address names, as pages show it. */
export function useParams(): Record<string, string | undefined> {
  const params = routed();
  return Object.fromEntries(Object.entries(params).map(([name, value]) => [name, value === undefined ? undefined : reveal(value)]));
}
