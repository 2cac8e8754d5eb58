// Takes the pictures of the documentation: `npm run screenshots` after `cargo build --bin tripline`.

import { mkdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { browser, open, world } from "./world.mjs";

const folder = fileURLToPath(new URL("../../docs/screens/", import.meta.url));
await mkdir(folder, { recursive: true });
const chrome = await browser();
const here = await world({
  history: ["--scenario", "all", "--anchor", "2026-11-20T18:00:00Z"], clock: "2026-11-20T16:31:00Z",
});
try {
  for (const colorScheme of ["light", "dark"]) {
    const context = await chrome.newContext({ colorScheme, viewport: { width: 1100, height: 620 }, timezoneId: "UTC" });
    const { page } = await open(context, here.url);
    await page.locator("button.approve").first().waitFor();
    await page.screenshot({ path: `${folder}page-${colorScheme}.png` });
    await context.close();
  }
} finally {
  await here.close();
  await chrome.close();
}
