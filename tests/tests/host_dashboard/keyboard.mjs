// Everything that the dashboard does, by keyboard alone.

import assert from "node:assert/strict";
import { watched } from "./browser.mjs";

/** Presses Tab until the element with this name has the focus. */
async function reach(page, name) {
  for (let presses = 0; presses < 60; presses += 1) {
    const [label, visible] = await page.evaluate(() => {
      const at = document.activeElement;
      const label = at.getAttribute("aria-label") || at.labels?.[0]?.textContent || at.textContent;
      const style = getComputedStyle(at);
      return [label.trim(), at === document.body || style.outlineStyle !== "none"];
    });
    assert.ok(visible, `${label} does not show that it has the focus`);
    if (label === name || (name instanceof RegExp && name.test(label))) return;
    await page.keyboard.press("Tab");
  }
  assert.fail(`Tab does not lead to ${name}`);
}

async function press(page, name, key = "Enter") {
  await reach(page, name);
  await page.keyboard.press(key);
}

export async function keyboard(browser, url) {
  const { context, page, finish } = await watched(browser, url);
  const asked = [];
  page.on("dialog", (dialog) => { asked.push(dialog.message()); dialog.accept(); });
  await page.goto(url);
  await page.getByText("200 of 200").waitFor();
  // The filter has a key of its own.
  await page.keyboard.press("/");
  await page.keyboard.type("web-042");
  await page.getByText("1 of 200").waitFor();
  // A start that fails here says why.
  await press(page, "Start web-042");
  await page.locator("#problem").waitFor();
  await page.keyboard.press("/");
  await page.keyboard.press("Control+A");
  await page.keyboard.type("web-013");
  await press(page, "web-013");
  await page.getByText("a line of the log").waitFor();
  await press(page, "Settings");
  await page.getByText("memory_mib").waitFor();
  await press(page, "Network");
  await press(page, "Logs");
  await page.keyboard.press("/");
  await page.keyboard.type("diagnostics");
  await page.waitForFunction(() => [...document.querySelectorAll("#output li")].filter((one) => !one.hidden).length === 1);
  const opened = context.waitForEvent("page");
  await press(page, "Shell");
  const shell = await opened;
  await shell.getByText("no connection").waitFor();
  await shell.close();
  await page.keyboard.press("Escape");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "web-013", "the focus comes back");
  await press(page, "Remove web-013");
  await page.getByText("0 of 199").waitFor();
  assert.deepEqual(asked, ["Remove web-013 with its disk and logs?"]);
  const before = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await press(page, "Switch between light and dark");
  assert.notEqual(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), before);
  await press(page, "Projects");
  await press(page, "Down shop");
  await page.getByText("No projects.").waitFor();
  assert.equal(asked[1], "Stop and remove all sandboxes of shop?");
  await press(page, "Images");
  await press(page, "Image");
  await page.keyboard.type("localhost:1/none");
  await page.keyboard.press("Enter");
  await page.getByText("localhost:1").last().waitFor();
  await press(page, "Events");
  await page.getByText("web-013 destroy").waitFor();
  await reach(page, /newest first/);
  await press(page, "API");
  await page.waitForURL("**/docs");
  await finish();
}
