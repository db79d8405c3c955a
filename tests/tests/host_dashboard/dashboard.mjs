// The dashboard in a browser: dashboard.mjs OPEN_URL GUARDED_URL TOKEN IMAGE

import assert from "node:assert/strict";
import { accessible, fits, launch, picture, watched } from "./browser.mjs";
import { keyboard } from "./keyboard.mjs";
import { shell } from "./shell.mjs";
import { SANDBOXES, made, guests } from "./world.mjs";

const [OPEN, GUARDED, TOKEN, IMAGE] = process.argv.slice(2);
const WIDTHS = [360, 768, 1280];
const THEMES = ["light", "dark"];
const SHOWN_WITHIN_MS = 5000;

const rows = (page) => page.locator("#rows tr");

/** Waits until the table has every sandbox. */
async function shown(page) {
  await page.waitForFunction((count) => document.querySelectorAll("#rows tr").length === count, SANDBOXES);
}

/** Every view, as it looks in a theme and at a width, with what only guests say put into the server's answers. */
async function views(browser, colorScheme, width) {
  const look = `${colorScheme}-${width}`;
  const { context, page, finish } = await watched(browser, OPEN, { colorScheme, viewport: { width, height: 900 } });
  await guests(context);
  await page.goto(OPEN);
  await shown(page);
  await page.locator("svg.chart").first().waitFor();
  const judge = async (name) => {
    await picture(page, `${name}-${look}`);
    await fits(page, `${name} ${look}`);
    await accessible(page, `${name} ${look}`);
  };
  const text = await page.locator("#sandboxes").innerText();
  for (const part of ["web-199", "shop / web", IMAGE, "exited (3)", "healthy", "127.0.0.1:8080→80/tcp", "64.0 MB", "200 of 200"]) {
    assert.ok(text.includes(part), `${look}: ${part} is not in the table`);
  }
  const background = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(background === "rgb(15, 17, 21)", colorScheme === "dark", background);
  await fits(page, look);
  // axe-core takes long for many rows that are alike.
  await page.locator("#filter").fill("web-19");
  assert.equal(await rows(page).count(), 10);
  await judge("sandboxes");
  await page.getByRole("button", { name: "Projects" }).click();
  const project = await page.locator("#project-rows").innerText();
  for (const part of ["shop", " of 20", "web: created", "back, front"]) assert.ok(project.includes(part), `${look}: ${part}`);
  await judge("projects");
  await page.getByRole("button", { name: "Images" }).click();
  await page.locator("#image-rows").getByText(IMAGE).waitFor();
  assert.match(await page.locator("#image-rows").innerText(), /MB/);
  await judge("images");
  await page.getByRole("button", { name: "Events" }).click();
  await page.getByText("web-007 create").waitFor();
  await judge("events");
  await page.getByRole("button", { name: "Sandboxes" }).click();
  await page.locator("#filter").fill("web-003");
  await page.getByRole("button", { name: "web-003", exact: true }).click();
  await page.getByText("a line of the log").waitFor();
  await page.getByText("<b>markup</b>").waitFor();
  await judge("logs");
  await page.locator("#search").fill("diagnostics");
  assert.equal(await page.locator("#output li:visible").count(), 1);
  await page.getByRole("button", { name: "Settings" }).click();
  await page.getByText("memory_mib").waitFor();
  await judge("settings");
  await page.goto(`${OPEN}/docs`);
  await page.getByText("/v1/sandboxes", { exact: true }).first().waitFor();
  await judge("docs");
  await page.goto(`${OPEN}/shell?sandbox=web-003`);
  await page.getByText("no connection").waitFor();
  await judge("shell");
  await finish();
}

/** Requests do not grow with the number of sandboxes or events. */
async function calm(browser) {
  const { page, requests, finish } = await watched(browser, OPEN);
  const began = performance.now();
  await page.goto(OPEN);
  await shown(page);
  const took = performance.now() - began;
  console.log(`${SANDBOXES} sandboxes are shown after ${took.toFixed(0)} ms and ${requests.length} requests`);
  assert.ok(took < SHOWN_WITHIN_MS, `shown after ${took} ms`);
  await page.waitForTimeout(1000);
  const before = requests.length;
  // 60 sandboxes come and go, two events each.
  await made(OPEN, IMAGE, 60, (number) => ({ name: `storm-${number}` }));
  await Promise.all([...Array(60).keys()].map((n) => fetch(`${OPEN}/v1/sandboxes/storm-${n}`, { method: "DELETE" })));
  await page.waitForTimeout(4000);
  await shown(page);
  const more = requests.length - before;
  console.log(`${more} requests while 60 sandboxes came and went`);
  assert.ok(more < 40, `${more} requests`);
  // A server that is slow gets no second request for what it has not answered yet.
  let waiting = 0, most = 0;
  await page.route("**/v1/stats", async (route) => {
    waiting += 1;
    most = Math.max(most, waiting);
    await new Promise((done) => { setTimeout(done, 7000); });
    waiting -= 1;
    await route.continue().catch(() => {});
  });
  await page.waitForTimeout(12000);
  assert.equal(most, 1, "requests at a time for figures");
  await page.unrouteAll({ behavior: "ignoreErrors" });
  await finish();
}

/** Where a token is needed the page asks for it, once. */
async function guarded(browser) {
  const { page, finish } = await watched(browser, GUARDED);
  await page.goto(GUARDED);
  await page.getByRole("textbox", { name: "Token" }).waitFor();
  await accessible(page, "login");
  await fits(page, "login");
  assert.equal(await rows(page).count(), 0);
  await page.getByRole("textbox", { name: "Token" }).fill("mc_0_wrong");
  await page.keyboard.press("Enter");
  await page.locator("#login-problem").getByText("the token is not known").waitFor();
  await page.getByRole("textbox", { name: "Token" }).fill(TOKEN);
  await page.keyboard.press("Enter");
  await shown(page);
  assert.equal(await page.locator("dialog[open]").count(), 0);
  assert.ok(await page.locator("#problem").isHidden());
  await page.getByRole("button", { name: "Events" }).click();
  await page.getByText("web-007 create").waitFor();
  await finish();
}

await made(OPEN, IMAGE, SANDBOXES);
const browser = await launch();
try {
  for (const theme of THEMES) for (const width of WIDTHS) await views(browser, theme, width);
  await guarded(browser);
  await calm(browser);
  await keyboard(browser, OPEN);
  await shell(browser, OPEN);
} finally {
  await browser.close();
}
