"use strict";
// A shell in a sandbox: a terminal over the WebSocket of exec.

const name = new URLSearchParams(location.search).get("sandbox") || "";
const $ = (id) => document.getElementById(id);
const terminal = new Terminal({ cursorBlink: true, fontFamily: "ui-monospace, monospace", fontSize: 14 });
const fit = new FitAddon.FitAddon();
const encoder = new TextEncoder();
// The best shell that the image has.
const SHELL = "for s in bash zsh ash; do command -v $s >/dev/null && exec $s; done; exec sh";
let socket = null;

function frame(bytes) {
  const message = new Uint8Array(bytes.length + 1);
  message.set(bytes, 1);
  socket.send(message);
}

function send(bytes) {
  if (socket?.readyState !== WebSocket.OPEN) return;
  // The server takes messages of up to 1 MiB.
  for (let at = 0; at < bytes.length; at += 65536) frame(bytes.subarray(at, at + 65536));
}

function state(text, ended) {
  $("state").textContent = text;
  $("again").hidden = !ended;
  if (ended) $("again").focus();
}

function start() {
  const token = sessionStorage.getItem("token");
  // A browser's WebSocket sends no headers of its own: the token travels as a protocol.
  const protocols = token ? ["monocore.v1", `bearer.${token}`] : ["monocore.v1"];
  const address = new URL(`/v1/sandboxes/${encodeURIComponent(name)}/exec/ws`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const own = new WebSocket(address, protocols);
  socket = own;
  own.binaryType = "arraybuffer";
  let last = null;
  state("connecting", false);
  own.addEventListener("open", () => {
    own.send(JSON.stringify({
      command: ["sh", "-c", SHELL], stdin: true, env: { TERM: "xterm-256color" },
      terminal: { rows: terminal.rows, columns: terminal.cols },
    }));
    state("running", false);
    terminal.focus();
  });
  own.addEventListener("message", ({ data }) => {
    if (typeof data === "string") last = JSON.parse(data);
    else terminal.write(new Uint8Array(data, 1));
  });
  own.addEventListener("close", () => {
    if (last?.type === "exit") state(`ended with ${last.exit_code}`, true);
    else state(last?.message || "no connection: does the sandbox run?", true);
  });
}

document.title = `${name} · shell`;
$("title").textContent = name;
terminal.loadAddon(fit);
terminal.open($("terminal"));
fit.fit();
terminal.onData((text) => send(encoder.encode(text)));
terminal.onBinary((text) => send(Uint8Array.from(text, (one) => one.charCodeAt(0))));
terminal.onResize(({ rows, cols }) => {
  if (socket?.readyState === WebSocket.OPEN) {
    socket.send(JSON.stringify({ type: "resize", rows, columns: cols }));
  }
});
new ResizeObserver(() => fit.fit()).observe($("terminal"));
$("again").addEventListener("click", () => {
  terminal.reset();
  start();
});
const stored = localStorage.getItem("theme");
if (stored) document.documentElement.dataset.theme = stored;
start();
