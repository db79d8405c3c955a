// The page of the shell over a connection that the test answers: what it says at first, after a
// reload, and where its session is gone or taken. `serve/shell.rs` has the server's side.

import assert from "node:assert/strict";
import { picture, watched } from "./browser.mjs";

const output = (text) => Buffer.concat([Buffer.from([1]), Buffer.from(text)]);
const said = (message) => (typeof message === "string" ? JSON.parse(message) : message);

export async function shell(browser, url) {
  const { context, page, finish } = await watched(browser, url);
  const first = [];
  const typed = [];
  let answer = () => {};
  await context.routeWebSocket(/exec\/ws$/, (socket) => {
    let isFirst = true;
    socket.onMessage((message) => {
      if (!isFirst) return typed.push(Buffer.isBuffer(message) ? message.subarray(1).toString() : message);
      isFirst = false;
      first.push(said(message));
      answer(socket);
    });
  });
  const shows = (text) => page.waitForFunction((text) => document.querySelector(".xterm-rows").textContent.includes(text), text);

  answer = (socket) => {
    socket.send(JSON.stringify({ type: "session", id: "one" }));
    socket.send(output("before the reload\r\n"));
  };
  await page.goto(`${url}/shell?sandbox=web-003`);
  await shows("before the reload");
  await page.getByText("running").waitFor();
  assert.equal(first[0].keep, "60s");
  assert.ok(first[0].terminal.rows > 5 && first[0].stdin, JSON.stringify(first[0]));
  await page.keyboard.type("ls");
  await page.waitForFunction(() => true);
  assert.equal(typed.join(""), "ls");

  // What the terminal was asked before the reload it has answered before the reload.
  typed.length = 0;
  answer = (socket) => {
    socket.send(output("before the reload\r\n\x1b[6n"));
    socket.send(JSON.stringify({ type: "session", id: "one" }));
    socket.send(output("after the reload\r\n"));
  };
  await page.reload();
  await shows("before the reload");
  await shows("after the reload");
  assert.deepEqual(Object.keys(first[1]).sort(), ["session", "terminal"]);
  assert.equal(first[1].session, "one");
  await page.keyboard.type("x");
  assert.equal(typed.filter((text) => !text.startsWith("{")).join(""), "x", "the old question is not answered again");
  await picture(page, "shell-after-reload");

  // The session is gone: a new one begins by itself.
  answer = (socket) => {
    socket.send(JSON.stringify({ type: "error", code: "no_such_session", message: "gone" }));
    answer = (next) => { next.send(JSON.stringify({ type: "session", id: "two" })); next.send(output("anew\r\n")); };
    socket.close();
  };
  await page.reload();
  await shows("anew");
  assert.ok(first[3].command, "the second message after the reload starts a shell");

  // Another tab takes the session.
  answer = (socket) => { socket.send(JSON.stringify({ type: "error", code: "session_taken", message: "taken" })); socket.close(); };
  await page.reload();
  await page.getByText("goes on in another tab").waitFor();
  // The button has the focus; the shell ends.
  answer = (socket) => { socket.send(JSON.stringify({ type: "exit", exit_code: 3 })); socket.close(); };
  await page.keyboard.press("Enter");
  await page.getByText("ended with 3").waitFor();
  assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  await finish();
}
