// A world to look at: the vendor simulator and a real server, each a process of its own, and a real browser.
//
// Owns: starting and ending them, and what a page did while it was open. Must hold: nothing of the caller's environment
// reaches the server; every port is free when it is taken; every process that was started is ended, with its folder removed.

import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";

const BINARY = process.env.TRIPLINE_BINARY;
const FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync"];
/** The longest that anything may take to appear. Nothing waits for it: each wait ends when what it waits for is there. */
export const PATIENCE = Number(process.env.PATIENCE ?? 45_000);

/** Runs the binary until its output matches; answers the match and how to end it. */
export function start(args, env, pattern) {
  const child = spawn(BINARY, args, { env: { PATH: process.env.PATH, HOME: tmpdir(), ...env }, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const matched = new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`tripline ${args[0]} did not get ready:\n${output}`)), PATIENCE);
    const hear = (text) => {
      output += text;
      const match = pattern.exec(output);
      if (match) { clearTimeout(late); resolve(match); }
    };
    child.stdout.on("data", hear);
    child.stderr.on("data", hear);
    child.once("error", reject);
    child.once("exit", (code) => { clearTimeout(late); reject(new Error(`tripline ${args[0]} ended (${code}):\n${output}`)); });
  });
  const stop = async (signal = "SIGTERM") => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
    const late = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
    await ended;
    clearTimeout(late);
    if (child.signalCode === "SIGKILL" && signal !== "SIGKILL") {
      throw new Error(`tripline ${args[0]} did not end after ${signal}:\n${output}`);
    }
  };
  return { matched, stop, output: () => output };
}

/** Runs a command to its end and answers what it printed. */
export function command(args, env) {
  return new Promise((resolve, reject) => {
    const child = spawn(BINARY, args, { env: { PATH: process.env.PATH, HOME: tmpdir(), ...env }, stdio: ["ignore", "pipe", "pipe"] });
    let [stdout, stderr] = ["", ""];
    child.stdout.on("data", (text) => { stdout += text; });
    child.stderr.on("data", (text) => { stderr += text; });
    child.once("error", reject);
    child.once("close", (code) => resolve({ code, stdout, stderr }));
  });
}

/**
 * A simulator and a server beside it. `history` are the simulator's arguments, `clock` the time that is shown by the
 * vendors, `now` the time that the server starts at, `environment` and `settings` the server's.
 */
export async function world({ history, clock, now = clock, environment = {}, settings = {}, dev = true }) {
  const folder = await mkdtemp(join(tmpdir(), "tripline-browser-"));
  const home = join(folder, "home");
  await mkdir(home);
  await writeFile(join(home, "settings.json"), JSON.stringify({ governance: { approvers: ["dev", "mira", "U0APPROVER1"] }, ...settings }));
  const simulator = start(["simulate", "--port", "0", "--clock", clock, ...history], {}, /vendors at (http:\/\/\S+);[^]*OPENAI/);
  const vendors = (await simulator.matched)[1];
  const env = {
    TRIPLINE_HOME: home,
    LANGFUSE_BASE_URL: `${vendors}/langfuse`, LANGFUSE_PUBLIC_KEY: "pk-test", LANGFUSE_SECRET_KEY: "sk-test",
    SENTRY_BASE_URL: `${vendors}/sentry`, SENTRY_TOKEN: "test", SENTRY_ORG: "acme-shop",
    GITHUB_API_URL: `${vendors}/github`, GITHUB_TOKEN: "test", GITHUB_OWNER: "acme-shop", GITHUB_REPO: "shopfront",
    SLACK_API_URL: `${vendors}/slack`, SLACK_BOT_TOKEN: "xoxb-test", SLACK_SIGNING_SECRET: "test-secret",
    ...(dev ? { AUTH_MODE: "dev" } : {}),
    ...environment,
  };
  const serve = async (port) => {
    const server = start(["serve", "--port", String(port), "--now", now], env, /listening on (http:\/\/\S+)/);
    return { server, url: (await server.matched)[1] };
  };
  let { server, url } = await serve(0);
  return {
    url,
    env,
    /** What was written to the vendors, by this method and path. */
    async writes(method, path) {
      const all = await (await fetch(`${vendors}/_writes`)).json();
      return all.filter((write) => write.method === method && path.test(write.path));
    },
    /** A press on a button of the message that asks, as Slack sends it: `approve` or `reject`. */
    async click(approval, button, user = "U0APPROVER1") {
      const response = await fetch(`${vendors}/_click`, {
        method: "POST", headers: { "Content-Type": "application/json" },
        body: JSON.stringify({
          request_url: `${url}/api/slack/actions`, signing_secret: "test-secret", user, channel: approval.slack_channel, ts: approval.slack_ts,
          action_id: `tripline_${button}`,
        }),
      });
      return response.json();
    },
    async api(path, options) {
      const response = await fetch(url + path, options);
      return { status: response.status, body: await response.json() };
    },
    crash: () => server.stop("SIGKILL"),
    async restart() { ({ server } = await serve(new URL(url).port)); },
    async close() {
      await server.stop();
      await simulator.stop("SIGINT");
      await rm(folder, { recursive: true, force: true });
    },
  };
}

export async function browser() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: FLAGS, ignoreDefaultArgs: ["--enable-automation"] });
}

/** Opens a page, and keeps what it did: requests, dialogs, windows, errors. */
export async function open(context, url) {
  const page = await context.newPage();
  const seen = { requests: [], dialogs: [], popups: [], errors: [], headers: null };
  page.setDefaultTimeout(PATIENCE);
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("dialog", (dialog) => { seen.dialogs.push(dialog.message()); dialog.dismiss(); });
  page.on("popup", (popup) => seen.popups.push(popup.url()));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") seen.errors.push(message.text()); });
  const response = await page.goto(url);
  seen.headers = response.headers();
  // A reload would forget it.
  await page.evaluate(() => { window.sameDocument = true; });
  return { page, seen };
}

/** The line of an incident on the dashboard. */
export const line = (page, title) => page.locator("li.line").filter({ has: page.getByRole("link", { name: title }) });

/** Opens the page of an incident from the dashboard. */
export async function incident(page, title) {
  await page.getByRole("link", { name: title }).first().click();
  await page.locator("h1", { hasText: title }).waitFor();
}

/** Gives the page a clock that a test can move: `window.ahead` milliseconds. */
export const movableClock = (context) => context.addInitScript(() => {
  const real = Date.now.bind(Date);
  window.ahead = 0;
  Date.now = () => real() + window.ahead;
});
