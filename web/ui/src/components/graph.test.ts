import { expect, test } from "vitest";
import { viewOf } from "./graph";

const box = { width: 1000, height: 480 };

test("a small drawing is shown whole and in the middle, at its own size", () => {
  const { x, y, zoom } = viewOf([{ x: 0, y: 0 }], box);
  expect([zoom, x, y]).toEqual([1, 410, 185]);
});
test("a tall one begins at its top and is still large enough to be read", () => {
  const { y, zoom } = viewOf(Array.from({ length: 25 }, (_, n) => ({ x: 240, y: n * 130 })), box);
  expect(zoom).toBe(0.55);
  expect(y).toBe(12);
});
test("a wide one begins at its left", () => {
  const { x, zoom } = viewOf(Array.from({ length: 40 }, (_, n) => ({ x: 500 + n * 240, y: 0 })), box);
  expect(500 * zoom + x).toBeCloseTo(12);
});
