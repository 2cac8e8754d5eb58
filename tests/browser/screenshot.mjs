// Takes the pictures of the documentation, of every page in light and dark: `make screenshots`.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { browser, command, open, world } from "./world.mjs";

const PAGES = ["/", "/incidents", "/approvals", "/workbench", "/forensics", "/agents", "/sessions", "/quality", "/risk", "/digest", "/detectors", "/jobs", "/audit", "/settings"];
const folder = fileURLToPath(new URL("../../docs/screens/", import.meta.url));
await mkdir(folder, { recursive: true });
const chrome = await browser();
const here = await world({
  history: ["--scenario", "all", "--anchor", "2026-11-20T18:00:00Z"], clock: "2026-11-20T16:31:00Z",
});
try {
  // Scores of pull requests, as the webhook would have them made.
  for (const number of ["1877", "1874", "1898", "1906"]) await command(["pr-risk", number], here.env);
  for (const colorScheme of ["light", "dark"]) {
    const context = await chrome.newContext({ colorScheme, viewport: { width: 1280, height: 800 }, timezoneId: "UTC" });
    const { page } = await open(context, here.url);
    await page.locator("button.approve").first().waitFor();
    const [{ id }] = (await here.api("/api/v1/incidents")).body.items;
    const [{ trace_id: trace }] = (await here.api("/api/v1/forensics/worst-traces?limit=1")).body.items;
    for (const path of [...PAGES, `/incidents/${id}`, `/forensics/traces/${trace}`, `/forensics/incidents/${id}`, "/risk/1874"]) {
      await page.goto(here.url + path);
      await page.waitForFunction(() => document.querySelector("h1") && ![...document.querySelectorAll("p.empty")].some((part) => part.textContent.startsWith("Loading")));
      const name = path === "/" ? "dashboard" : path.startsWith("/incidents/") ? "incident" : path.startsWith("/forensics/t") ? "trace" : path.startsWith("/forensics/i") ? "causes" : path.startsWith("/risk/") ? "pull-request" : path.slice(1);
      if (name === "trace" || name === "causes") await page.locator(".thing").first().waitFor();
      if (name === "workbench") {
        await page.locator(".cm-content").click();
        await page.keyboard.insertText("SELECT date_trunc('hour', start_time) AS hour, sum(total_cost) AS usd\nFROM langfuse.observations\nWHERE type = 'GENERATION' AND start_time > TIMESTAMP '2026-11-20T04:00:00Z'\nGROUP BY 1 ORDER BY 1");
        await page.getByRole("button", { name: "Run", exact: true }).click();
        await page.locator(".completeness", { hasText: "request" }).waitFor();
      }
      await page.screenshot({ path: `${folder}${name}-${colorScheme}.png` });
    }
    await context.close();
  }
} finally {
  await here.close();
  await chrome.close();
}
