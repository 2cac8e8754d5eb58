// Deciding on the page: what is shown, what one press does, and what a second tab sees of it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { browser, incident, line, movableClock, open, PATIENCE, world } from "./world.mjs";

const anchor = ["--anchor", "2026-11-20T18:00:00Z"];
const ISSUES = /\/repos\/acme-shop\/shopfront\/issues$/;

let chrome;
before(async () => { chrome = await browser(); });
after(async () => { await chrome?.close(); });

describe("an incident that asks", () => {
  let here;
  let context;
  before(async () => {
    here = await world({ history: ["--scenario", "cost_spike", ...anchor], clock: "2026-11-20T16:31:00Z" });
    context = await chrome.newContext();
  });
  after(async () => { await here?.close(); });

  test("the answer comes first: what, why, how bad, what to do, and that somebody must decide", async () => {
    const { page, seen } = await open(context, here.url);
    await page.locator(".decision").waitFor();
    await page.locator("#answer", { hasText: "1 open incident: high. 1 decision waits for you." }).waitFor();
    assert.match(await line(page, "Cost spike: product-copywriter").innerText(), /high/);

    await incident(page, "Cost spike: product-copywriter");
    const [stored] = (await here.api("/api/v1/incidents")).body.items;
    const shown = await page.locator("dl.narrative dd").allTextContents();
    const parts = stored.narrative_parts;
    // Times are the viewer's, and UTC on hover.
    const timeless = (text) => text.replace(/\d{4}-\d\d-\d\d \d\d:\d\d UTC|[A-Z][a-z]{2} \d+, \d{4}, \d\d:\d\d [AP]M/g, "TIME");
    assert.deepEqual(shown.map(timeless), [parts.what_happened, parts.likely_cause, parts.impact, parts.recommended_action].map(timeless));
    assert.match(await page.locator("dl.narrative dd time").first().getAttribute("title"), /UTC/);
    assert.match(shown[1], new RegExp(stored.culprit_sha.slice(0, 8)));
    const culprit = page.locator(".facts a").first();
    assert.equal(await culprit.textContent(), stored.culprit_sha.slice(0, 8));
    assert.equal(await culprit.getAttribute("href"), `https://github.com/acme-shop/shopfront/commit/${stored.culprit_sha}`);
    assert.equal(new URL(page.url()).pathname, `/incidents/${stored.id}`, "it has an address of its own");
    assert.deepEqual(seen.errors, []);
    await page.close();
  });

  test("a claim of the narrative leads to the row of the evidence that it rests on", async () => {
    const { page } = await open(context, here.url);
    await incident(page, "Cost spike");
    const [{ id }] = (await here.api("/api/v1/incidents")).body.items;
    const stored = (await here.api(`/api/v1/incidents/${id}`)).body;
    const sha = stored.culprit_sha.slice(0, 8);
    await page.locator("dl.narrative a.claim", { hasText: sha }).first().click();
    const row = page.locator("tr.marked");
    await row.waitFor();
    assert.ok((await row.innerText()).includes(sha), "the marked row says what the claim says");
    await page.close();
  });

  test("suspects with their reasons, every piece of evidence with its rows and SQL, and the timeline are one press away", async () => {
    const { page } = await open(context, here.url);
    await incident(page, "Cost spike");
    const [{ id }] = (await here.api("/api/v1/incidents")).body.items;
    const stored = (await here.api(`/api/v1/incidents/${id}`)).body;

    await page.getByText(stored.suspects[0].parts[0].reason).first().waitFor();
    for (const evidence of stored.evidence) await page.locator(`#evidence-${evidence.name} > summary`).waitFor();
    const calls = stored.evidence.find((evidence) => evidence.name === "calls");
    await page.locator("#evidence-calls > summary", { hasText: `${calls.row_count} rows` }).click();
    await page.locator("#evidence-calls").getByText("The SQL that made it").click();
    assert.equal(await page.locator("#evidence-calls pre").first().textContent(), calls.sql);
    const more = page.locator("#evidence-calls").getByRole("button", { name: "Show all" });
    if (await more.count()) await more.click();
    assert.equal(await page.locator("#evidence-calls tbody tr").count(), calls.rows.length);
    await page.locator("td", { hasText: stored.timeline.at(-1).text }).first().waitFor();
    await page.close();
  });

  test("the payload that is shown is the payload that would be executed, with its hash", async () => {
    const { page } = await open(context, here.url);
    const [approval] = (await here.api("/api/v1/approvals")).body.items;
    const decision = page.locator(".decision");
    await decision.locator("summary").click();
    const texts = await decision.locator("pre").allTextContents();
    assert.ok(texts.includes(approval.payload.body), "the body of the issue is shown letter by letter");
    assert.ok(texts.includes(approval.payload.title));
    await decision.getByText(approval.payload_sha256).waitFor();
    await page.close();
  });

  test("an open payload, a half-written reason and the focus survive what happens live", async () => {
    const { page } = await open(context, here.url);
    const decision = page.locator(".decision");
    await decision.locator("summary").click();
    await decision.getByLabel("reason").fill("half a thou");
    // Something happens: everything that is shown is read again.
    const read = page.waitForResponse((response) => response.url().includes("/api/v1/incidents"));
    const [{ id }] = (await here.api("/api/v1/incidents")).body.items;
    const said = await here.api(`/api/v1/incidents/${id}/feedback`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ correct: true }),
    });
    assert.equal(said.status, 200);
    await read;
    await page.waitForLoadState("networkidle").catch(() => undefined);
    assert.equal(await decision.getByLabel("reason").inputValue(), "half a thou");
    assert.equal(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), "reason");
    assert.equal(await decision.locator("details").evaluate((element) => element.open), true);
    await page.close();
  });

  test("Approve executes once, however often it is pressed, and a second tab sees it without a reload", async () => {
    const { page: first } = await open(context, here.url);
    const { page: second } = await open(context, here.url);
    await second.locator(".decision").waitFor();
    await first.locator("button.approve").dblclick();

    for (const page of [first, second]) {
      await page.locator("#answer", { hasText: "1 open incident: high." }).waitFor();
      await page.waitForFunction(() => !document.querySelector(".decision"));
      await incident(page, "Cost spike");
      await page.locator(".done", { hasText: "approved open a GitHub issue, by dev" }).first().waitFor();
      await page.locator(".done a[href^='https://github.com/acme-shop/shopfront/issues/']").first().waitFor();
      assert.equal(await page.locator(".decision").count(), 0);
      assert.equal(await page.evaluate(() => window.sameDocument), true);
    }
    assert.equal((await here.writes("POST", ISSUES)).length, 1);
    const actions = (await here.api("/api/v1/actions?kind=remediation")).body.items;
    assert.deepEqual(actions.map((action) => [action.status, action.attempts]), [["done", 1]]);
    await first.close();
    await second.close();
  });
});

test("Reject takes a reason, does nothing, and says who and why", async () => {
  const here = await world({ history: ["--scenario", "prompt_drift", ...anchor], clock: "2026-11-20T12:31:00Z" });
  try {
    const { page } = await open(await chrome.newContext(), here.url);
    await incident(page, "Prompt drift: support-reply");
    await page.getByLabel("reason").fill("known, rolled back by hand");
    await page.getByRole("button", { name: "Reject" }).click();
    await page.locator(".done", { hasText: "rejected open a GitHub issue, by dev via api (known, rolled back by hand)" }).first().waitFor();
    await page.getByRole("link", { name: "Approvals" }).click();
    await page.getByRole("button", { name: "Rejected" }).click();
    await page.locator("td", { hasText: "known, rolled back by hand" }).waitFor();
    assert.deepEqual(await here.writes("POST", ISSUES), []);
    assert.deepEqual((await here.api("/api/v1/actions?kind=remediation")).body.items, []);
  } finally {
    await here.close();
  }
});

test("an approval that has expired cannot be pressed any more, and is on the record as expired", async () => {
  const here = await world({
    history: ["--scenario", "prompt_drift", ...anchor], clock: "2026-11-20T12:31:00Z",
    settings: {
      governance: { approvers: ["dev"], approval_expires_after_seconds: 20 }, schedules: { approval_expiry: "*/5 * * * * *" },
    },
  });
  try {
    const context = await chrome.newContext();
    await movableClock(context);
    const { page } = await open(context, `${here.url}/approvals`);
    const decision = page.locator(".decision");
    await decision.locator("button.approve").waitFor();
    // The page's own clock is moved ahead; the server's runs on.
    await page.waitForFunction(() => {
      window.ahead += 60_000;
      return document.querySelector(".decision .left").textContent === "expired";
    });
    assert.equal(await decision.locator("button:enabled.approve, button:enabled.reject").count(), 0);
    await page.getByText("No pending approvals.").waitFor({ timeout: 2 * PATIENCE });
    await page.getByRole("button", { name: "Expired" }).click();
    await page.locator("td", { hasText: "Open a GitHub issue" }).waitFor();
    assert.equal(await decision.count(), 0);
    assert.deepEqual(await here.writes("POST", ISSUES), []);
  } finally {
    await here.close();
  }
});

test("a loop is killed on the page, and only the agent's own word makes it stopped", async () => {
  // The vendors show less than the server's time: fewer than 20 generations, which asks.
  const here = await world({
    history: ["--scenario", "agent_loop", ...anchor], clock: "2026-11-20T12:34:30Z", now: "2026-11-20T12:45:30Z",
  });
  try {
    const { page } = await open(await chrome.newContext(), here.url);
    await incident(page, "Agent loop");
    await page.getByRole("button", { name: "Approve: kill the loop" }).click();
    await page.locator(".done", { hasText: "requested" }).first().waitFor();
    const [{ entity }] = (await here.api("/api/v1/incidents")).body.items;
    assert.equal((await here.api(`/v1/runs/${entity}/control`)).body.state, "kill_requested");

    await here.api(`/v1/runs/${entity}/control`, {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ state: "stopped" }),
    });
    await page.locator(".done [data-action='done']").first().waitFor();
  } finally {
    await here.close();
  }
});

test("everything can be reached and decided with the keyboard alone", async () => {
  const here = await world({ history: ["--scenario", "prompt_drift", ...anchor], clock: "2026-11-20T12:31:00Z" });
  try {
    const { page } = await open(await chrome.newContext(), here.url);
    await page.locator("button.approve").waitFor();
    const focused = () => page.evaluate(() => document.activeElement.textContent || document.activeElement.getAttribute("aria-label"));
    const tabTo = async (text) => {
      for (let presses = 0; presses < 80; presses += 1) {
        await page.keyboard.press("Tab");
        if ((await focused())?.includes(text)) {
          const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
          assert.notEqual(outline, "none", `${text} has the focus and does not show it`);
          return;
        }
      }
      assert.fail(`${text} cannot be reached by Tab`);
    };
    await tabTo("reason");
    await page.keyboard.type("by keyboard");
    await tabTo("Approve: open a GitHub issue");
    await tabTo("Reject");
    await tabTo("Exactly what will be done");
    await page.keyboard.press("Enter");
    assert.equal(await page.locator(".decision details").evaluate((element) => element.open), true);
    await tabTo("Prompt drift: support-reply");

    await page.locator("button.approve").focus();
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => !document.querySelector(".decision"));
    await page.locator("nav a", { hasText: "Approvals" }).focus();
    await page.keyboard.press("Enter");
    await page.locator("h1", { hasText: "Approvals" }).waitFor();
    assert.equal(await page.evaluate(() => document.activeElement.id), "main", "a new page is read from its beginning");
    const approved = page.getByRole("button", { name: "Approved" });
    await approved.focus();
    await page.keyboard.press("Enter");
    await page.locator("td", { hasText: "by keyboard" }).waitFor();
    assert.match(await focused(), /Approved/, "the focus stays on what was pressed");
  } finally {
    await here.close();
  }
});

test("approving here races a click in Slack: one of them decides, the other is told who did", async () => {
  const here = await world({ history: ["--scenario", "cost_spike", ...anchor], clock: "2026-11-20T16:31:00Z" });
  try {
    const { page } = await open(await chrome.newContext(), here.url);
    await page.locator("button.approve").waitFor();
    const [approval] = (await here.api("/api/v1/approvals")).body.items;
    const [, clicked] = await Promise.all([page.locator("button.approve").click(), here.click(approval, "reject")]);
    assert.equal(clicked.status, 200);
    await page.waitForFunction(() => !document.querySelector(".decision .decide"));
    const { body } = await here.api(`/api/v1/approvals/${approval.id}`);
    assert.ok(["approved", "rejected"].includes(body.status));
    await page.goto(`${here.url}/approvals/${approval.id}`);
    await page.locator(".done", { hasText: `${body.status} open a GitHub issue, by ${body.resolved_by} via ${body.resolved_via}` }).waitFor();
    const record = (await here.api(`/api/v1/audit?subject_id=${approval.id}`)).body.items;
    assert.equal(record.filter((entry) => /approved|rejected/.test(entry.event)).length, 1, JSON.stringify(record.map((entry) => entry.event)));
  } finally {
    await here.close();
  }
});
