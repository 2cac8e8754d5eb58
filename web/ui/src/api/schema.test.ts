// @vitest-environment node
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";

test("the types are those of the description that the server gives (make ui-types makes them anew)", () => {
  const folder = mkdtempSync(join(tmpdir(), "tripline-types-"));
  try {
    const made = join(folder, "schema.ts");
    execFileSync("node", ["node_modules/openapi-typescript/bin/cli.js", "openapi.json", "-o", made]);
    expect(readFileSync("src/api/schema.ts", "utf8")).toBe(readFileSync(made, "utf8"));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

describe.skipIf(!existsSync("dist/app/.vite/manifest.json"))("what the dashboard loads", () => {
  test("is less than 250 kB of JavaScript, compressed, and nothing inline", () => {
    const manifest = JSON.parse(readFileSync("dist/app/.vite/manifest.json", "utf8")) as Record<string, { file: string; imports?: string[]; isEntry?: boolean }>;
    const files = new Set<string>();
    const add = (name: string) => { const chunk = manifest[name]; if (chunk && !files.has(chunk.file)) { files.add(chunk.file); chunk.imports?.forEach(add); } };
    for (const [name, chunk] of Object.entries(manifest)) if (chunk.isEntry) add(name);
    const sizes = [...files].map((file) => readFileSync(`dist/app/${file}.gz`).length);
    expect(files.size).toBeGreaterThan(0);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(250_000);
    const html = readFileSync("dist/app/index.html", "utf8");
    expect(html).not.toMatch(/<script(?![^>]*\bsrc=)|<style|style=|https?:\/\//);
  });
});
