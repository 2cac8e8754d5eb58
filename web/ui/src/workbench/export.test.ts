import { afterEach, expect, test, vi } from "vitest";
import { ApiError } from "../api/client";
import { arrayOf, exported } from "./export";

afterEach(() => vi.unstubAllGlobals());

async function* rows(n: number) { for (let i = 0; i < n; i += 1) yield JSON.stringify({ i, text: "x".repeat(100) }); }
const body = (pieces: string[], end?: Error) => new ReadableStream<Uint8Array>({
  start(controller) { for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece)); if (end) controller.error(end); else controller.close(); },
});
const query = { sql: "SELECT 1", params: {}, partial: false };

test("lines become one array, in pieces", async () => {
  for (const [n, least] of [[0, 1], [1, 1], [30_000, 3]] as const) {
    const pieces: string[] = [];
    await arrayOf(rows(n), (piece) => pieces.push(piece));
    expect(pieces.length).toBeGreaterThanOrEqual(least);
    expect((JSON.parse(pieces.join("")) as unknown[]).length).toBe(n);
  }
});

test("the whole result is asked for; with gaps allowed only what headers can tell of", async () => {
  const asked: Record<string, unknown>[] = [];
  vi.stubGlobal("fetch", (_: string, init: RequestInit) => { asked.push(JSON.parse(String(init.body)) as Record<string, unknown>); return Promise.resolve(new Response(body(["n\n", "1\n"]), { headers: { "x-tripline-complete": "false", "x-tripline-warning": "sentry gave nothing" } })); });
  const { file, missing } = await exported({ ...query, format: "csv" }, new AbortController().signal, () => undefined);
  expect([file.size, missing]).toEqual([4, "sentry gave nothing"]);
  await exported({ ...query, partial: true, format: "csv" }, new AbortController().signal, () => undefined);
  expect(asked.map((each) => each.max_rows)).toEqual([10_000_000, 10_000]);
});

test("a file that is broken off is an error, and no shorter file", async () => {
  for (const format of ["csv", "json", "parquet"] as const) {
    vi.stubGlobal("fetch", () => Promise.resolve(new Response(body(["{\"n\":1}\n"], new TypeError("network error")))));
    await expect(exported({ ...query, format }, new AbortController().signal, () => undefined)).rejects.toMatchObject({ code: "cut_off" });
  }
  expect(new ApiError(0, "cut_off", "x").name).toBe("ApiError");
});
