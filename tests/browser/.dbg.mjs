import { world, browser, open, incident } from "./world.mjs";
const here = await world({ history: ["--scenario", "cost_spike", "--anchor", "2026-11-20T18:00:00Z"], clock: "2026-11-20T16:31:00Z" });
const chrome = await browser();
const { page, seen } = await open(await chrome.newContext({ viewport: { width: 1280, height: 900 } }), here.url);
page.setDefaultTimeout(6000);
await page.locator(".decision").waitFor({ timeout: 45000 });
const cdp = await page.context().newCDPSession(page);
await cdp.send("Debugger.enable");
let n = 0;
cdp.on("Debugger.paused", async (e) => {
  console.log("PAUSED", e.callFrames.slice(0, 14).map((f) => `${f.functionName}@${f.url.split("/").pop().slice(0, 12)}:${f.location.lineNumber}:${f.location.columnNumber}`).join(" < "));
  await cdp.send("Debugger.resume"); n++;
});
page.locator(".decision summary").click().catch((e) => console.log(String(e).slice(0, 60)));
for (let i = 0; i < 4; i++) { await new Promise((r) => setTimeout(r, 2500)); console.log("ask", await Promise.race([page.evaluate(() => "alive").catch(() => "err"), new Promise((r) => setTimeout(() => r("hung"), 800))])); cdp.send("Debugger.pause").catch(() => 0); }
await new Promise((r) => setTimeout(r, 1500));
process.exit(0);
