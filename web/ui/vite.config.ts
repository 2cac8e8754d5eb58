import react from "@vitejs/plugin-react";
import { copyFileSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { defineConfig } from "vitest/config";

const OUT = "dist/app";

/** Compresses what is served, once and here: the server only hands it over. */
const compressed = {
  name: "compressed",
  apply: "build" as const,
  closeBundle() {
    copyFileSync("tripline.svg", join(OUT, "assets/tripline.svg"));
    for (const folder of [OUT, join(OUT, "assets")]) {
      for (const name of readdirSync(folder)) {
        if (!/\.(js|css|html|svg)$/.test(name)) continue;
        writeFileSync(join(folder, `${name}.gz`), gzipSync(readFileSync(join(folder, name)), { level: 9 }));
      }
    }
  },
};

export default defineConfig({
  plugins: [react(), compressed],
  // Nothing inline: the content security policy allows files of this server only.
  build: { outDir: OUT, emptyOutDir: true, assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: "es2022", manifest: true },
  server: { proxy: { "/api": "http://127.0.0.1:8000", "/v1": "http://127.0.0.1:8000" } },
  test: { environment: "jsdom", include: ["src/**/*.test.{ts,tsx}"], setupFiles: ["src/test/setup.ts"], testTimeout: 60_000 },
});
