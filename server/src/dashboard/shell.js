"use strict";
// A shell in a sandbox: a terminal over the WebSocket of exec.

const name = new URLSearchParams(location.search).get("sandbox") || "";
const $ = (id) => document.getElementById(id);
const terminal = new Terminal({ cursorBlink: true, fontFamily: "ui-monospace, monospace", fontSize: 14 });
const fit = new FitAddon.FitAddon();
const encoder = new TextEncoder();
// The best shell that the image has.
const SHELL = "for s in bash zsh ash; do command -v $s >/dev/null && exec $s; done; exec sh";
// Under this name the tab remembers the shell that it goes on with after a reload.
const KEY = `session:${name}`;
const KEEP = "60s";
let socket = null;
// What an earlier page was shown is drawn once more. The terminal must not answer it again.
let isReplay = false;

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

function size() {
  return { rows: terminal.rows, columns: terminal.cols };
}

function start() {
  const token = sessionStorage.getItem("token");
  const session = sessionStorage.getItem(KEY);
  // A browser's WebSocket sends no headers of its own: the token travels as a protocol.
  const protocols = token ? ["monocore.v1", `bearer.${token}`] : ["monocore.v1"];
  const address = new URL(`/v1/sandboxes/${encodeURIComponent(name)}/exec/ws`, location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const own = new WebSocket(address, protocols);
  socket = own;
  own.binaryType = "arraybuffer";
  let last = null;
  isReplay = session !== null;
  state("connecting", false);
  own.addEventListener("open", () => {
    own.send(JSON.stringify(session ? { session, terminal: size() } : {
      command: ["sh", "-c", SHELL], stdin: true, env: { TERM: "xterm-256color" }, terminal: size(), keep: KEEP,
    }));
    terminal.focus();
  });
  own.addEventListener("message", ({ data }) => {
    if (typeof data !== "string") return terminal.write(new Uint8Array(data, 1));
    last = JSON.parse(data);
    if (last.type === "session") {
      sessionStorage.setItem(KEY, last.id);
      state("running", false);
      // After all that was written before.
      terminal.write("", () => { isReplay = false; });
    }
  });
  own.addEventListener("close", () => ended(last, session));
}

function ended(last, session) {
  if (last?.type === "session") return state("the connection is lost", true);
  if (last?.code === "session_taken") return state("goes on in another tab", true);
  sessionStorage.removeItem(KEY);
  if (last?.type === "exit") return state(`ended with ${last.exit_code}`, true);
  if (last?.code === "no_such_session" && session) return again();
  return state(last?.message || "no connection: does the sandbox run?", true);
}

function again() {
  terminal.reset();
  start();
}

document.title = `${name} · shell`;
$("title").textContent = name;
terminal.loadAddon(fit);
terminal.open($("terminal"));
fit.fit();
terminal.onData((text) => { if (!isReplay) send(encoder.encode(text)); });
terminal.onBinary((text) => { if (!isReplay) send(Uint8Array.from(text, (one) => one.charCodeAt(0))); });
terminal.onResize(() => {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "resize", ...size() }));
});
new ResizeObserver(() => fit.fit()).observe($("terminal"));
$("again").addEventListener("click", again);
const stored = localStorage.getItem("theme");
if (stored) document.documentElement.dataset.theme = stored;
start();
