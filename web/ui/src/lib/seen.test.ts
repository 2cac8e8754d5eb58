import { expect, test } from "vitest";
import { seg } from "../api/client";
import { conceal, parse, reveal, text } from "./seen";
import { carried, workbench } from "./workbench";

const hostile = "a\u202eb\u200bc\u0000d\u{e0041}";
const shown = "a⟨U+202E⟩b⟨U+200B⟩c⟨U+0000⟩d⟨U+E0041⟩";

test("what cannot be seen is shown by its number, and names stay what they are", () => {
  expect(reveal(hostile)).toBe(shown);
  expect(conceal(shown)).toBe(hostile);
  expect(reveal("line\nand\ttab, émoji 🙂, 日本")).toBe("line\nand\ttab, émoji 🙂, 日本");
  expect(conceal("⟨U+0041⟩ is no such character")).toBe("⟨U+0041⟩ is no such character");
  expect(decodeURIComponent(seg(shown))).toBe(hostile);
});

test("answers are read so, and questions are sent as they were meant", () => {
  const value = { [hostile]: [hostile, "back\\slash \\u0000", 'quote"', 7] };
  expect(parse(JSON.stringify(value))).toEqual({ [shown]: [shown, "back\\slash \\u0000", 'quote"', 7] });
  expect(JSON.parse(text({ id: shown, n: 1 }))).toEqual({ id: hostile, n: 1 });
});

test("a query has an address that another tab can open and no server sees", () => {
  const query = { sql: "SELECT '#&+%' AS a\nFROM t WHERE x = $x", params: { x: [1, "ü"] } };
  const address = workbench(query);
  expect(address.startsWith("/workbench#")).toBe(true);
  expect(carried(new URL(address, "http://localhost").hash)).toEqual(query);
  expect([carried(""), carried("#incident=1"), carried("#sql=SELECT+1&params={broken")]).toEqual([null, null, { sql: "SELECT 1" }]);
});
