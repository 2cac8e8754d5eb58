// The demo, watched: what it replays appears on the page by itself.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, incident, line, open, PATIENCE, start } from "./world.mjs";

let chrome;
let demo;
before(async () => {
  chrome = await browser();
  demo = start(["demo", "--scenario", "cost_spike", "--port", "0"], {}, /page: (http:\/\/\S+)/);
});
after(async () => {
  await chrome?.close();
  await demo?.stop("SIGINT");
});

test("incidents, approvals and actions appear live, without a reload", async () => {
  const { page, seen } = await open(await chrome.newContext(), (await demo.matched)[1]);
  // The approver of the demo decides within a second: who waited for a decision is noted by the page itself.
  await page.evaluate(() => {
    window.asked = 0;
    new MutationObserver(() => { window.asked += document.querySelectorAll(".decision").length; })
      .observe(document.body, { childList: true, subtree: true });
  });
  await page.locator("#answer", { hasText: "No open incidents" }).waitFor();

  await line(page, "Cost spike: product-copywriter").waitFor();
  await page.locator("#answer", { hasText: "1 open incident" }).waitFor();
  await incident(page, "Cost spike: product-copywriter");
  await page.locator(".done", { hasText: "approved open a GitHub issue" }).first().waitFor();
  await page.locator(".done", { hasText: "/acme-shop/shopfront/issues/" }).first().waitFor();

  await page.waitForFunction(() => window.asked > 0, null, { timeout: PATIENCE });
  assert.equal(await page.evaluate(() => window.sameDocument), true, "the page was loaded anew");
  assert.equal(await page.locator("#live").textContent(), "live");
  assert.match(await page.title(), /^\(1\) Tripline$/);
  assert.deepEqual(seen.errors, []);
});
