// Takes the pictures of the documentation, of every page in light and dark: `make screenshots`.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { HOOK, runs, score, session } from "./seed.mjs";
import { browser, open, world } from "./world.mjs";

const folder = fileURLToPath(new URL("../../docs/screens/", import.meta.url));
await mkdir(folder, { recursive: true });
const chrome = await browser();
const here = await world({
  history: ["--scenario", "all", "--anchor", "2026-11-20T18:00:00Z"], clock: "2026-11-20T16:31:00Z", environment: HOOK,
});
const QUERY = `SELECT date_trunc('hour', start_time) AS hour, sum(total_cost) AS usd
FROM langfuse.observations
WHERE type = 'GENERATION' AND start_time > TIMESTAMP '2026-11-20T04:00:00Z'
GROUP BY 1 ORDER BY 1`;

try {
  // Agents and sessions send their events here, GitHub its deliveries.
  const [made, worked] = await Promise.all([runs(here), session(here)]);
  await score(here, [1877, 1874, 1898, 1906]);
  for (const job of ["weekly_digest", "drift_patrol"]) await here.api(`/api/v1/jobs/${job}/run`, { method: "POST", headers: { "X-Tripline": "1" } });
  for (const colorScheme of ["light", "dark"]) {
    const context = await chrome.newContext({ colorScheme, viewport: { width: 1280, height: 800 }, timezoneId: "UTC" });
    const { page } = await open(context, here.url);
    await page.locator("button.approve").first().waitFor();
    const incidents = (await here.api("/api/v1/incidents?limit=50")).body.items;
    const { id } = incidents.find((incident) => incident.type === "cost_spike");
    const [approval] = (await here.api("/api/v1/approvals")).body.items;
    const [{ trace_id: trace }] = (await here.api("/api/v1/forensics/worst-traces?limit=1")).body.items;
    const pages = {
      dashboard: "/", incidents: "/incidents", incident: `/incidents/${id}`, approvals: "/approvals", approval: `/approvals/${approval.id}`, workbench: "/workbench",
      forensics: "/forensics", trace: `/forensics/traces/${trace}`, causes: `/forensics/incidents/${id}`, compare: `/forensics/compare?kind=run&a=${made[0]}&b=${made.at(-1)}`,
      agents: "/agents", agent: "/agents/catalog-agent", run: `/runs/${made[0]}`, sessions: "/sessions", session: `/sessions/${worked}`, quality: "/quality",
      risk: "/risk", "pull-request": "/risk/1874", digest: "/digest", detectors: "/detectors", detector: "/detectors/cost_spike", jobs: "/jobs", job: "/jobs/cost_spike", audit: "/audit", settings: "/settings",
    };
    for (const [name, path] of Object.entries(pages)) {
      await page.goto(here.url + path);
      await page.waitForFunction(() => document.querySelector("h1") && ![...document.querySelectorAll("p.empty")].some((part) => part.textContent.startsWith("Loading")));
      if (name === "trace" || name === "causes") await page.locator(".thing").first().waitFor();
      if (name === "workbench") {
        await page.locator(".cm-content").click();
        await page.keyboard.insertText(QUERY);
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
