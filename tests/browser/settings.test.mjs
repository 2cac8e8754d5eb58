// What whoever administers an installation does in the browser: keys, a source's test, thresholds looked at before they are changed;
// what a key sees that may not; and the risk of a pull request, from a history that the simulator has.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { HOOK, score } from "./seed.mjs";
import { browser, command, incident, open, world } from "./world.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const anchor = ["--anchor", "2026-11-20T18:00:00Z"];

let chrome;
let here;
before(async () => {
  chrome = await browser();
  here = await world({ history: ["--scenario", "cost_spike", ...anchor], clock: "2026-11-20T16:31:00Z", dev: false });
});
after(async () => {
  await chrome?.close();
  await here?.close();
});

const made = async (...args) => {
  const { code, stdout, stderr } = await command(["keys", "create", ...args], here.env);
  assert.equal(code, 0, stderr);
  return /tl_\S+/.exec(stdout)[0];
};

const signedIn = async (secret, path = "/") => {
  const { page, seen } = await open(await chrome.newContext({ viewport: { width: 1280, height: 900 } }), here.url);
  await page.getByLabel("API key").fill(secret);
  await page.keyboard.press("Enter");
  await page.locator("#answer").waitFor();
  await page.goto(here.url + path);
  await page.locator("h1").waitFor();
  return { page, seen };
};

const violations = async (page) => {
  await page.evaluate(AXE);
  const found = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return found.violations.map(({ id, nodes }) => `${id}: ${nodes[0].html.slice(0, 120)}`);
};

test("a key is made, seen once, works, is listed without its secret, and is revoked", async () => {
  const admin = await made("root", "--scope", "admin");
  const { page, seen } = await signedIn(admin, "/settings");
  const card = page.locator("section.card").filter({ has: page.getByRole("heading", { name: "API keys" }) });
  await card.getByRole("textbox", { name: "Name", exact: true }).fill("watcher");
  await card.getByRole("combobox", { name: /^Ends/ }).selectOption("30");
  await card.getByRole("button", { name: "Make the key" }).click();
  const secret = await card.locator("#secret").innerText();
  assert.match(secret, /^tl_/);
  const uses = async () => (await here.api("/api/v1/session", { headers: { "X-API-Key": secret } })).status;
  assert.equal(await uses(), 200);
  assert.deepEqual(await violations(page), []);

  await card.getByRole("button", { name: "I have kept it" }).click();
  const row = card.locator("tr", { hasText: "watcher" });
  await row.locator(".badge", { hasText: "active" }).waitFor();
  const kept = await page.evaluate(() => document.documentElement.innerHTML + JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie);
  assert.ok(!kept.includes(secret), "the page keeps no secret");
  assert.ok(!seen.requests.some((request) => request.includes(secret)), "and puts it into no address");

  await row.getByRole("button", { name: "Revoke watcher" }).click();
  await row.getByRole("button", { name: "Really revoke watcher" }).click();
  await row.locator(".badge", { hasText: "revoked" }).waitFor();
  assert.equal(await uses(), 401);
  const record = (await here.api("/api/v1/audit?event=api_key.revoked", { headers: { "X-API-Key": admin } })).body.items;
  assert.equal(record[0].actor, "root", "who revoked it is on the record");
});

test("a source is tested where it is listed, and what another threshold would find is shown while it is typed", async () => {
  const operator = await made("ops", "--scope", "read", "--scope", "operate");
  const { page, seen } = await signedIn(operator, "/settings");
  const sources = page.locator("section.card").filter({ has: page.getByRole("heading", { name: "Sources" }) });
  await sources.getByRole("button", { name: "Test langfuse" }).click();
  await sources.locator("tr", { hasText: "langfuse" }).getByText(/answers in [\d,]+ ms/).waitFor();
  // The dashboard hears of it: last success and latency of the source.
  const listed = (await here.api("/api/v1/sources", { headers: { "X-API-Key": operator } })).body.items.find((source) => source.name === "langfuse");
  assert.ok(listed.latency_ms !== null && listed.last_success_at !== null);

  const field = page.locator("form.field", { hasText: "agent_loop_generation_threshold" });
  await field.getByRole("textbox").fill("9999");
  await field.getByText(/\d+ of the last \d+ runs would fire/).waitFor();
  assert.equal(await field.getByRole("button", { name: "Save" }).isDisabled(), true, "looking is for who may read, changing is not");
  await field.getByRole("textbox").fill("0");
  await field.locator(".error", { hasText: "agent_loop_generation_threshold" }).waitFor();
  assert.deepEqual(seen.errors.filter((error) => !/status of 4(01|22)/.test(error)), []);
});

test("whoever sets an installation up names its approvers and its policy on the page, and they hold at once", async () => {
  const admin = await made("setup", "--scope", "admin");
  const { page, seen } = await signedIn(admin, "/settings");
  const asked = async (path) => (await here.api(path, { headers: { "X-API-Key": admin } })).body;
  assert.equal((await asked("/api/v1/session")).approver, false);
  await page.getByText("Governance", { exact: true }).click();
  await page.getByRole("button", { name: "Add yourself (setup)" }).click();
  await page.getByRole("button", { name: "Save governance.approvers" }).click();
  await page.getByRole("form", { name: "governance.approvers" }).getByText("Saved.").waitFor();
  assert.equal((await asked("/api/v1/session")).approver, true);

  await page.getByRole("textbox", { name: "Rule 1: condition" }).fill("generations > 50");
  await page.getByRole("button", { name: "Save governance.policy" }).click();
  await page.getByRole("form", { name: "governance.policy" }).getByText("Saved.").waitFor();
  await page.getByRole("textbox", { name: "governance.public_url" }).fill("ftp://x");
  await page.getByRole("button", { name: "Save governance.public_url" }).click();
  await page.getByRole("form", { name: "governance.public_url" }).locator(".error", { hasText: "governance.public_url" }).waitFor();
  const { settings } = await asked("/api/v1/settings");
  assert.equal(settings.governance.policy[0].when, "generations > 50");
  assert.equal(settings.governance.public_url, null, "what is no address is refused");
  assert.deepEqual(await violations(page), []);
  assert.deepEqual(seen.errors.filter((error) => !/status of 4(01|22)/.test(error)), []);
});

test("a read key sees every button that it may not press, disabled and with the reason", async () => {
  const reader = await made("looker");
  const { page } = await signedIn(reader, "/settings");
  await page.getByText(/Managing keys takes a key with the scope admin; yours has read/).waitFor();
  await page.getByText(/Testing a source takes a key with the scope operate/).waitFor();
  for (const name of ["Make the key", "Test langfuse"]) assert.equal(await page.getByRole("button", { name }).isDisabled(), true, name);
  assert.deepEqual(await violations(page), []);
  for (const [path, name, reason] of [["/jobs", "Run now", "Running a job takes"], ["/quality", "Scan now", "Scanning takes"], ["/workbench", "Save", "Saving or removing a query takes"]]) {
    await page.goto(here.url + path);
    await page.getByText(reason).first().waitFor();
    assert.equal(await page.getByRole("button", { name, exact: true }).first().isDisabled(), true, path);
  }
});

test("a claim of a narrative leads to what it rests on", async () => {
  const reader = await made("claims");
  const { page } = await signedIn(reader);
  await incident(page, "Cost spike");
  const claims = page.locator(".narrative a.claim");
  await claims.first().waitFor();
  const kinds = new Set();
  for (const claim of await claims.all()) {
    const target = (await claim.getAttribute("href")).slice(1);
    kinds.add(target.split("-")[0]);
    const said = (await claim.innerText()).replace(/["$,]/g, "");
    await claim.click();
    const row = page.locator(`[id="${target}"]`);
    await row.waitFor();
    assert.match(await row.getAttribute("class"), /marked/, `${said} marks its row`);
    const text = (await row.innerText()).replaceAll(",", "");
    const number = Number(said);
    const there = Number.isFinite(number) && said
      ? (text.match(/-?\d+(\.\d+)?/g) ?? []).some((each) => Math.abs(Number(each) - number) <= 0.5 * 10 ** -(said.split(".")[1] ?? "").length)
      : text.toLowerCase().includes(said.toLowerCase()) || text.replace("T", " ").includes(said) || /\d\d:\d\d/.test(said);
    assert.ok(there, `${said} is in ${target}: ${text.slice(0, 200)}`);
  }
  for (const kind of ["finding", "suspect"]) assert.ok(kinds.has(kind), `${[...kinds]} has no ${kind}`);
});

test("the risk of a pull request is shown with the files and commits it is made of", async () => {
  const there = await world({ history: ["--scenario", "all", ...anchor], clock: "2026-11-22T12:00:00Z", environment: HOOK });
  try {
    // Open, and its file was changed before a new error.
    await score(there, [1915]);
    const { page, seen } = await open(await chrome.newContext({ viewport: { width: 1280, height: 900 } }), `${there.url}/risk`);
    await page.getByRole("link", { name: "acme-shop/shopfront #1915" }).click();
    await page.locator(".answer", { hasText: /^\d+ of 100, not above 70$/ }).waitFor();
    await page.getByText("Retry pricing calls from a queue").waitFor();
    assert.ok(await page.getByRole("group", { name: "Files" }).locator("tbody tr").count() > 0);
    assert.ok(await page.getByRole("group", { name: "Commits" }).locator("tbody tr").count() > 0);
    assert.deepEqual(await violations(page), []);
    assert.deepEqual(seen.errors, []);
  } finally {
    await there.close();
  }
});
