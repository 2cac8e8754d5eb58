// On a phone: what a row of a table says is all on the screen, and the work comes before what stands beside it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, open, world } from "./world.mjs";

let chrome;
let here;
before(async () => {
  chrome = await browser();
  here = await world({ history: ["--scenario", "cost_spike", "--anchor", "2026-11-20T18:00:00Z"], clock: "2026-11-20T16:31:00Z" });
});
after(async () => {
  await chrome?.close();
  await here?.close();
});

/** Cells of the tables that are given as lists and reach beyond the edge, and how many there are. */
const cells = (page) => page.evaluate(() => {
  const all = [...document.querySelectorAll(".stack td")];
  return { all: all.length, beyond: all.filter((cell) => cell.getBoundingClientRect().right > document.documentElement.clientWidth + 1).map((cell) => cell.textContent), named: all.every((cell) => getComputedStyle(cell, "::before").content.length > 4) };
});

test("every part of an incident's row is on the screen of a phone, with its name, and rows can be sorted", async () => {
  const { page } = await open(await chrome.newContext({ viewport: { width: 375, height: 800 } }), here.url);
  await page.locator("button.approve").waitFor();
  await page.goto(`${here.url}/incidents`);
  await page.locator(".stack td").first().waitFor();
  const list = await cells(page);
  assert.ok(list.all >= 6 && list.named);
  assert.deepEqual(list.beyond, []);
  await page.getByRole("button", { name: "Severity" }).click();
  assert.equal(await page.getByRole("columnheader", { name: "Severity" }).getAttribute("aria-sort"), "descending", "the worst first");
  await page.getByRole("link", { name: /^Cost spike/ }).first().click();
  await page.getByRole("heading", { name: /^Timeline/ }).waitFor();
  const one = await cells(page);
  assert.ok(one.all > 10);
  assert.deepEqual(one.beyond, []);
});

test("the editor comes before the catalog on a phone, for eyes and for the keyboard, and beside it on a desk", async () => {
  const { page } = await open(await chrome.newContext({ viewport: { width: 375, height: 800 } }), `${here.url}/workbench`);
  await page.locator(".cm-content").waitFor();
  const order = () => page.evaluate(() => {
    const [editor, catalog] = [document.querySelector(".bench"), document.querySelector(".aside")];
    return { first: editor.compareDocumentPosition(catalog) & Node.DOCUMENT_POSITION_FOLLOWING ? "editor" : "catalog", above: editor.getBoundingClientRect().top < catalog.getBoundingClientRect().top };
  });
  assert.deepEqual(await order(), { first: "editor", above: true });
  await page.locator(".cm-content").fill("SELECT 1 AS one");
  await page.setViewportSize({ width: 1280, height: 800 });
  await page.waitForFunction(() => document.querySelector(".aside").getBoundingClientRect().right <= document.querySelector(".bench").getBoundingClientRect().left + 1);
  assert.equal((await order()).first, "catalog");
  assert.match(await page.locator(".cm-content").innerText(), /SELECT 1 AS one/, "what was typed stays");
});
