// Chromium, and what is watched of each page: requests, errors and violations of the policy.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";

const TARGET = new URL("../../../target/browser/", import.meta.url);
const require = createRequire(TARGET);
const { chromium } = require("playwright-core");
const AXE = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const SCREENSHOTS = new URL("screenshots/", TARGET);
mkdirSync(SCREENSHOTS, { recursive: true });

/** Starts Chromium; a sandbox of its own needs rights that tests may not have. */
export async function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
}

/** Opens a page whose requests stay at `origin` and which has no error at its end. */
export async function watched(browser, origin, options = {}) {
  const context = await browser.newContext(options);
  const requests = [];
  const faults = [];
  context.on("request", (request) => requests.push({ url: request.url(), method: request.method() }));
  context.on("page", (page) => {
    page.on("websocket", (socket) => requests.push({ url: socket.url().replace(/^ws/, "http"), method: "WS" }));
    page.on("pageerror", (error) => faults.push(`${page.url()}: ${error}`));
  });
  await context.exposeBinding("violated", (_, text) => faults.push(text));
  await context.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      window.violated(`${location.href}: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
    });
  });
  const page = await context.newPage();
  const finish = async () => {
    await context.close();
    assert.deepEqual(faults, []);
    for (const { url } of requests) assert.ok(url.startsWith(`${origin}/`), `a request left the origin: ${url}`);
    assert.ok(requests.length > 0);
  };
  return { context, page, requests, finish };
}

/** Fails where axe-core finds anything. */
export async function accessible(page, what) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => window.axe.run(document));
  const found = violations.map(({ id, help, nodes }) => ({ id, help, where: nodes.map((n) => n.target.join(" ")).slice(0, 4), why: nodes[0].failureSummary }));
  assert.deepEqual(found, [], what);
}

/** Fails where anything visible reaches beyond the window, or must be scrolled sideways. */
export async function fits(page, what) {
  const wide = await page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    const found = [];
    for (const one of document.querySelectorAll("body, body *")) {
      const { left, right, height } = one.getBoundingClientRect();
      const name = `${one.tagName}#${one.id}.${one.className} ${one.textContent.slice(0, 30)}`;
      // Text areas of xterm.js lie outside of the window on purpose.
      if (!height || one.closest(".xterm")) continue;
      if (left < -0.5 || right > width + 0.5) found.push(`${name}: ${left} to ${right} of ${width}`);
      const scrolls = /auto|scroll/.test(getComputedStyle(one).overflowX);
      if (scrolls && one.scrollWidth > one.clientWidth + 1) found.push(`${name} scrolls: ${one.scrollWidth} in ${one.clientWidth}`);
    }
    return found.slice(0, 8);
  });
  assert.deepEqual(wide, [], what);
}

/** Leaves a picture of the page in `target/browser/screenshots`. */
export async function picture(page, name) {
  const bytes = await page.screenshot({ path: new URL(`${name}.png`, SCREENSHOTS).pathname });
  // A page of one colour takes less.
  assert.ok(bytes.length > 5000, `${name}: ${bytes.length} bytes`);
}
