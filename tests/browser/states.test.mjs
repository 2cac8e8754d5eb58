// The page when something is not as it should be: hostile text, a source that is down, no key, a server that went away.

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { hostile, MARK, NOW } from "./hostile.mjs";
import { browser, command, incident, line, open, world } from "./world.mjs";

const anchor = ["--anchor", "2026-11-20T18:00:00Z"];
const spike = { history: ["--scenario", "cost_spike", ...anchor], clock: "2026-11-20T16:31:00Z" };

let chrome;
before(async () => { chrome = await browser(); });
after(async () => { await chrome?.close(); });

describe("hostile text in every vendor field", () => {
  let here;
  let folder;
  let page;
  let seen;
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), "tripline-hostile-"));
    here = await world({ history: await hostile(folder), clock: NOW });
    ({ page, seen } = await open(await chrome.newContext(), here.url));
    await page.locator("button.approve").nth(1).waitFor();
  });
  after(async () => {
    await here?.close();
    await rm(folder, { recursive: true, force: true });
  });

  /** Opens the page of one of the two incidents, with everything on it unfolded. */
  const unfold = async (name) => {
    await page.goto(here.url);
    await incident(page, name);
    for (let round = 0; round < 3; round += 1) {
      await page.evaluate(() => { for (const part of document.querySelectorAll("details")) part.open = true; });
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    }
    for (const more of await page.getByRole("button", { name: "Show all" }).all()) await more.click();
  };

  test("is shown as the text it is", async () => {
    let text = "";
    for (const name of ["Cost spike", "Agent loop"]) {
      await unfold(name);
      // What is shown as JSON escapes the quote.
      text += (await page.locator("main").innerText()).replaceAll('\\"', '"');
    }
    for (const field of ["feature", "agent", "commit", "login", "file", "issue", "message", "environment", "model"]) {
      assert.ok(text.includes(`${field}"'></pre></script><img src=`), `${field} is not on the page as it is`);
    }
  });

  test("becomes no element, link or style", async () => {
    for (const name of ["Cost spike", "Agent loop"]) {
      await unfold(name);
      const foreign = await page.evaluate(() =>
        [...document.querySelectorAll("img, iframe, body style, object, embed, main svg, form form, base, meta[http-equiv], main script")]
          .map((element) => element.outerHTML));
      assert.deepEqual(foreign, []);
      const links = await page.evaluate(() => [...document.querySelectorAll("a")].map((link) => link.href)
        .filter((href) => !href.startsWith(`${location.origin}/`)));
      assert.deepEqual(links, [], "no address from a vendor is a link unless it is GitHub's");
      const armed = await page.evaluate((mark) => [...document.querySelectorAll("*")].flatMap((element) => [...element.attributes]
        .filter((attribute) => /^(on|href|src|style|formaction)/.test(attribute.name) && attribute.value.includes(mark))
        // A query as an address is this page's own, and encoded.
        .filter((attribute) => !(attribute.name === "href" && /^\/workbench#[\w%.*&=+-]*$/.test(attribute.value)))
        .map((attribute) => attribute.name)), MARK);
      assert.deepEqual(armed, []);
    }
  });

  test("opens no dialog or window and sends nothing anywhere but to the page's own server", async () => {
    assert.deepEqual(seen.dialogs, []);
    assert.deepEqual(seen.popups, []);
    assert.ok(seen.requests.length > 5);
    for (const request of seen.requests) assert.equal(new URL(request).origin, here.url);
    assert.deepEqual(seen.errors, []);
  });

  test("would not run even if it got through: the content security policy allows this server's files and nothing else", async () => {
    const policy = seen.headers["content-security-policy"];
    assert.match(policy, /default-src 'none'/);
    assert.match(policy, /script-src 'self';/);
    const blocked = await page.evaluate(() => new Promise((resolve) => {
      document.addEventListener("securitypolicyviolation", (event) => resolve(event.violatedDirective), { once: true });
      const script = document.createElement("script");
      script.textContent = "window.ran = true";
      document.head.append(script);
    }));
    assert.match(blocked, /^script-src/);
    assert.equal(await page.evaluate(() => window.ran), undefined);
  });

  test("does not get into the way: the incident can still be decided", async () => {
    await page.goto(here.url);
    await incident(page, "Cost spike");
    await page.locator("button.approve").click();
    await page.locator(".done [data-action='done']").first().waitFor();
    assert.equal((await here.writes("POST", /\/repos\/acme-shop\/shopfront\/issues$/)).length, 1);
  });
});

test("a source that is down is unknown: in the first line, on the incident and in its evidence, never silently nothing", async () => {
  const here = await world({ ...spike, history: [...spike.history, "--fault", "sentry=status:503"] });
  try {
    const { page } = await open(await chrome.newContext(), here.url);
    const spike = line(page, "Cost spike");
    await spike.locator(".gap", { hasText: "unknown: sentry" }).waitFor();
    await page.locator("#answer", { hasText: "Not everything is known: sentry" }).waitFor();
    await page.locator("#down .gap", { hasText: "does not answer" }).waitFor();
    await page.locator("tr", { hasText: "sentry" }).locator(".badge", { hasText: "unknown" }).waitFor();
    await incident(page, "Cost spike");
    await page.locator("summary .gap", { hasText: "unknown: " }).first().waitFor();
  } finally {
    await here.close();
  }
});

test("with keys required the page asks for one; a read key may look and not decide, an approver's may", async () => {
  const here = await world({ ...spike, dev: false });
  try {
    const key = async (...args) => {
      const made = await command(["keys", "create", ...args], here.env);
      assert.equal(made.code, 0, made.stderr);
      return /tl_\S+/.exec(made.stdout)[0];
    };
    const reader = await key("watcher");
    const approver = await key("mira", "--scope", "read", "--scope", "operate");
    const signIn = async (secret) => {
      const { page, seen } = await open(await chrome.newContext(), here.url);
      await page.getByLabel("API key").fill(secret);
      await page.keyboard.press("Enter");
      return { page, seen };
    };

    const { page: stranger } = await signIn("tl_not-a-key");
    await stranger.locator(".error", { hasText: "key" }).waitFor();
    assert.equal(await stranger.locator("nav, .card-head, li.line").count(), 0);

    const { page: looking, seen } = await signIn(reader);
    await looking.locator(".decision").first().waitFor();
    await looking.getByText("Deciding takes a key with the scope operate").waitFor();
    for (const button of await looking.locator("button.approve, button.reject").all()) assert.equal(await button.isDisabled(), true, "a decision is seen and not made");
    assert.ok(await looking.locator("button.approve").count() > 0);
    const [approval] = (await here.api("/api/v1/approvals", { headers: { "X-API-Key": reader } })).body.items;
    const forced = await here.api(`/api/v1/approvals/${approval.id}/approve`, { method: "POST", headers: { "X-API-Key": reader } });
    assert.equal(forced.status, 403);
    assert.ok(!seen.requests.some((request) => request.includes(reader)), "a key is in no address");
    const [cookie] = (await looking.context().cookies()).filter(({ name }) => name === "tripline_session");
    assert.ok(cookie.httpOnly && cookie.sameSite === "Strict" && !cookie.value.includes(reader));
    assert.ok(!(await looking.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie]))).includes("tl_"));

    const { page: deciding } = await signIn(approver);
    await deciding.locator("button.approve").click();
    await incident(deciding, "Cost spike");
    await incident(looking, "Cost spike");
    for (const page of [deciding, looking]) await page.locator(".done", { hasText: "by mira" }).first().waitFor();

    const linked = await command(["keys", "link", "mira", "--url", here.url], here.env);
    assert.equal(linked.code, 0, linked.stderr);
    const address = linked.stdout.trim();
    const { page: phone, seen: sent } = await open(await chrome.newContext(), address);
    await phone.getByText("mira ·").waitFor();
    const secret = address.split("link=")[1];
    assert.ok(!phone.url().includes(secret), "it is taken off the address");
    assert.ok(!sent.requests.some((request) => request.includes(secret)), "it was in no address that was asked for");
    const { page: thief } = await open(await chrome.newContext(), address);
    await thief.locator(".error", { hasText: "no key or link that works" }).waitFor();
    await phone.getByRole("button", { name: "Sign out" }).click();
    await phone.getByLabel("API key").waitFor();
  } finally {
    await here.close();
  }
});

test("a server that goes away is said to be gone, and what happened meanwhile appears when it is back", async () => {
  const here = await world(spike);
  try {
    const { page } = await open(await chrome.newContext(), here.url);
    await incident(page, "Cost spike");
    await page.locator("button.approve").waitFor();
    await here.crash();
    await page.locator("#live", { hasText: "reconnecting" }).waitFor();
    await here.restart();
    const [approval] = (await here.api("/api/v1/approvals")).body.items;
    await here.api(`/api/v1/approvals/${approval.id}/reject`, { method: "POST", headers: { "X-Tripline": "1" } });
    await page.locator("#live", { hasText: "live" }).waitFor();
    await page.locator(".done", { hasText: "rejected" }).first().waitFor();
    assert.equal(await page.locator(".error").count(), 0);
    assert.equal(await page.evaluate(() => window.sameDocument), true);
  } finally {
    await here.close();
  }
});

/** Text whose contrast with what is behind it is below WCAG AA (4.5 : 1). Runs in the page. */
function faint() {
  const rgb = (color) => color.match(/[\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = rgb(color).slice(0, 3).map((value) => value / 255)
      .map((value) => (value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (rgb(color)[3] !== 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const own = (element) => [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim());
  return [...document.querySelectorAll("body *")].filter((element) => own(element) && element.checkVisibility()).flatMap((element) => {
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return ratio < 4.5 ? [`${element.tagName}.${element.className} ${ratio.toFixed(2)}`] : [];
  });
}

test("it is readable on a desk and on a phone, light and dark: nothing to scroll sideways, no faint text", async () => {
  const here = await world({ ...spike, history: [...spike.history, "--fault", "sentry=status:503"] });
  try {
    const paper = new Set();
    for (const colorScheme of ["light", "dark"]) {
      for (const width of [1280, 360]) {
        const { page } = await open(await chrome.newContext({ colorScheme, viewport: { width, height: 740 } }), here.url);
        await page.locator(".decision").waitFor();
        assert.deepEqual(await page.evaluate(faint), [], `dashboard, ${colorScheme} at ${width}`);
        await incident(page, "Cost spike");
        await page.locator("#evidence-calls").waitFor();
        await page.evaluate(() => { for (const part of document.querySelectorAll("details")) part.open = true; });
        const [wide, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
        assert.ok(wide <= shown, `${colorScheme} at ${width}: ${wide} px of page in ${shown} px`);
        assert.deepEqual(await page.evaluate(faint), [], `${colorScheme} at ${width}`);
        // In one go: a redraw may replace buttons at any moment.
        const small = await page.evaluate(() => [...document.querySelectorAll("button")].filter((button) =>
          button.checkVisibility() && button.getBoundingClientRect().height < 24).map((button) => button.textContent));
        assert.deepEqual(small, [], "too small to be pressed");
        paper.add(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
        await page.close();
      }
    }
    assert.equal(paper.size, 2, "light and dark are two");
  } finally {
    await here.close();
  }
});
