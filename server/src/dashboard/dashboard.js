"use strict";
// The dashboard: plain DOM over the REST API. Texts of guests are put in as text, never as markup.

const HISTORY = 40;
const MAX_LINES = 5000;
const STATS_EVERY_MS = 3000;
const $ = (id) => document.getElementById(id);
const REFRESH_EVERY_MS = 500;
const charts = new Map();
const drawn = new Map();
let sandboxes = [];
let stats = new Map();
let shown = null;

// ---- Requests

function headers(extra) {
  const token = sessionStorage.getItem("token");
  return token ? { ...extra, Authorization: `Bearer ${token}` } : extra;
}

async function ask(path, options = {}) {
  const sent = sessionStorage.getItem("token");
  const response = await fetch(path, { ...options, headers: headers(options.headers || {}) });
  if (response.ok) return response;
  let text = response.statusText;
  try { text = (await response.json()).error.message; } catch { /* not an error of the API's */ }
  if (response.status === 401) {
    // Another token may have been given while this was under way.
    if (sessionStorage.getItem("token") !== sent) return ask(path, options);
    login(text);
    throw new DOMException(text, "AbortError");
  }
  throw new Error(text);
}

const get = async (path) => (await ask(path)).json();
const post = (path, body = {}) => ask(path, { method: "POST", body: JSON.stringify(body) });

/** Calls `take` with each value of a stream until it ends or `signal` aborts. */
async function follow(path, signal, take, options = {}) {
  const reader = (await ask(path, { ...options, signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line) take(JSON.parse(line));
  }
}

function problem(error) {
  if (error.name === "AbortError") return;
  $("problem").textContent = error.message;
  $("problem").hidden = false;
}

async function attempt(work) {
  try { await work(); $("problem").hidden = true; } catch (error) { problem(error); }
}

function login(why) {
  $("login-problem").textContent = sessionStorage.getItem("token") ? why : "";
  if (!$("login").open) $("login").showModal();
}

/** Resolves when nobody is asked for a token any more. */
async function loggedIn() {
  if ($("login").open) await new Promise((resolve) => { $("login").addEventListener("close", resolve, { once: true }); });
}

// ---- Elements

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function button(text, label, action) {
  const made = element("button", text, { type: "button", "aria-label": label });
  made.addEventListener("click", async () => {
    // A button that is disabled loses the focus.
    if (made.ariaDisabled === "true") return;
    made.ariaDisabled = "true";
    await attempt(action);
    made.ariaDisabled = null;
    refresh();
  });
  return made;
}

/** A cell, which says what it is where a row is shown as a card. */
function labelled(label, ...content) {
  const cell = element("td", undefined, { role: "cell", "data-label": label });
  cell.append(...content);
  return cell;
}

function size(bytes) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0;
  while (bytes >= 1000 && unit < units.length - 1) { bytes /= 1000; unit += 1; }
  return `${unit ? bytes.toFixed(1) : bytes} ${units[unit]}`;
}

function ago(ms) {
  const seconds = Math.max(0, (Date.now() - ms) / 1000);
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} days`;
}

// ---- Sandboxes

function statusText(sandbox) {
  const words = { running: `up ${ago(sandbox.started_ms || sandbox.created_ms)}`,
    exited: `exited (${sandbox.exit_code})` };
  return words[sandbox.status] || sandbox.status;
}

function status(sandbox) {
  const failed = sandbox.status === "exited" && sandbox.exit_code !== 0;
  const text = element("span", "", { class: `status ${failed ? "failed" : sandbox.status}` });
  const cell = labelled("Status", text);
  if (sandbox.health) cell.append(element("small", sandbox.health, { class: `health ${sandbox.health}` }));
  if (sandbox.restart_count) cell.append(element("small", `restarted ${sandbox.restart_count} times`));
  if (sandbox.error) cell.append(element("small", sandbox.error));
  return [cell, text];
}

function drawChart(cell, id) {
  const points = charts.get(id);
  if (!points || points.length < 2) { cell.replaceChildren(); return; }
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const now = points[points.length - 1].share;
  svg.setAttribute("class", "chart");
  svg.setAttribute("viewBox", `0 0 ${HISTORY} 24`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", `CPU ${Math.round(now * 100)} %`);
  const most = Math.max(1, ...points.map((point) => point.share));
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("points", points.map((p, x) => `${x},${23 - (p.share / most) * 22}`).join(" "));
  svg.append(line);
  cell.replaceChildren(svg, ` ${Math.round(now * 100)} %`);
}

function drawMemory(cell, id) {
  const guest = stats.get(id)?.guest;
  if (!guest) { cell.replaceChildren(); return; }
  const text = `${size(guest.memory_used_bytes)} of ${size(guest.memory_total_bytes)}`;
  cell.replaceChildren(element("meter", text, { "aria-label": `Memory ${text}`, min: 0,
    max: guest.memory_total_bytes, value: guest.memory_used_bytes }), ` ${size(guest.memory_used_bytes)}`);
}

function actions(sandbox) {
  const { name } = sandbox;
  const path = `/v1/sandboxes/${sandbox.id}`;
  const active = ["running", "paused", "restarting"].includes(sandbox.status);
  const made = [];
  if (active) {
    made.push(button("Stop", `Stop ${name}`, () => post(`${path}/stop`)),
      button("Restart", `Restart ${name}`, () => post(`${path}/restart`)));
  } else {
    made.push(button("Start", `Start ${name}`, () => post(`${path}/start`)));
  }
  made.push(button("Remove", `Remove ${name}`, async () => {
    if (confirm(`Remove ${name} with its disk and logs?`)) {
      await ask(`${path}?force=${active}`, { method: "DELETE" });
    }
  }));
  return made;
}

/** A row and the parts of it that change while the sandbox does not. */
function row(sandbox, key) {
  const made = element("tr", undefined, { role: "row" });
  const open = element("button", sandbox.name, { type: "button", class: "name", "data-id": sandbox.id });
  open.addEventListener("click", () => details(sandbox));
  const name = labelled("Name", open);
  if (sandbox.project) {
    const groups = sandbox.groups.length ? ` (${sandbox.groups.join(", ")})` : "";
    name.append(element("small", `${sandbox.project} / ${sandbox.service}${groups}`));
  }
  const ports = sandbox.ports.map((p) => `${p.address}:${p.host_port}→${p.guest_port}/${p.protocol}`);
  const [state, text] = status(sandbox);
  const [cpu, memory] = [labelled("CPU"), labelled("Memory")];
  made.append(state, name, labelled("Image", sandbox.image), labelled("Ports", ports.join(" ")), cpu, memory,
    labelled("Actions", ...actions(sandbox)));
  return { made, key, text, cpu, memory };
}

/** Where the focus is in the table, to be found again in rows that were made anew. */
function focusIn(table) {
  const at = document.activeElement;
  if (!at?.closest(`#${table.id}`)) return () => {};
  const [label, id] = [at.getAttribute("aria-label"), at.closest("tr").querySelector(".name")?.dataset.id];
  return () => {
    if (at.isConnected) return;
    const all = [...table.querySelectorAll("button")];
    const same = label && all.find((one) => one.getAttribute("aria-label") === label);
    const next = same || all.find((one) => id && one.dataset.id === id) || all[0] || document.querySelector(".tab");
    next.focus();
  };
}

function draw() {
  const wanted = $("filter").value.toLowerCase();
  const active = (sandbox) => !["created", "exited"].includes(sandbox.status);
  const fits = (sandbox) => [sandbox.name, sandbox.image, sandbox.project || "", ...sandbox.groups, sandbox.id]
    .some((text) => text.toLowerCase().includes(wanted));
  const listed = sandboxes.filter((sandbox) => fits(sandbox) && ($("all").checked || active(sandbox)));
  const table = $("rows");
  const restore = focusIn(table);
  const known = new Map(drawn);
  drawn.clear();
  // Rows of sandboxes that have not changed stay, so that no click or focus is lost.
  listed.forEach((sandbox, at) => {
    const key = JSON.stringify(sandbox);
    const old = known.get(sandbox.id);
    const one = old?.key === key ? old : row(sandbox, key);
    if (one !== old) old?.made.remove();
    drawn.set(sandbox.id, one);
    known.delete(sandbox.id);
    if (table.children[at] !== one.made) table.insertBefore(one.made, table.children[at] || null);
    one.text.textContent = statusText(sandbox);
    drawChart(one.cpu, sandbox.id);
    drawMemory(one.memory, sandbox.id);
  });
  for (const { made } of known.values()) made.remove();
  restore();
  $("count").textContent = `${listed.length} of ${sandboxes.length}`;
  $("empty").hidden = sandboxes.length > 0;
}

/** The projects among the listed sandboxes. */
function drawProjects() {
  const projects = new Map();
  for (const one of sandboxes) if (one.project) projects.set(one.project, [...(projects.get(one.project) || []), one]);
  const key = JSON.stringify([...projects]);
  if (key === drawProjects.key) return;
  drawProjects.key = key;
  const restore = focusIn($("project-rows"));
  $("project-rows").replaceChildren(...[...projects].map(([name, members]) => {
    const made = element("tr", undefined, { role: "row" });
    const services = members.map((one) => element("small", `${one.service || one.name}: ${one.health || one.status}`));
    const groups = [...new Set(members.flatMap((one) => one.groups))].sort();
    const running = members.filter((one) => one.status === "running").length;
    const down = button("Down", `Down ${name}`, async () => {
      if (confirm(`Stop and remove all sandboxes of ${name}?`)) await post("/down", { project: name });
    });
    made.append(labelled("Project", name), labelled("Running", `${running} of ${members.length}`),
      labelled("Services", ...services), labelled("Groups", groups.join(", ")), labelled("Actions", down));
    return made;
  }));
  restore();
  $("no-projects").hidden = projects.size > 0;
}

/** Asks for the list anew: one request at a time, and none too soon after the last. */
async function refresh() {
  refresh.wanted = true;
  if (refresh.busy) return;
  refresh.busy = true;
  while (refresh.wanted) {
    refresh.wanted = false;
    try { sandboxes = (await get("/v1/sandboxes?all=true")).sandboxes; } catch (error) { problem(error); }
    draw();
    drawProjects();
    await new Promise((resolve) => { setTimeout(resolve, REFRESH_EVERY_MS); });
  }
  refresh.busy = false;
}

async function measure() {
  if (document.hidden || $("sandboxes").hidden || document.querySelector("dialog[open]")) return;
  try {
    stats = new Map((await get("/v1/stats")).map((one) => [one.id, one]));
  } catch { return; }
  const now = performance.now();
  for (const [id, one] of stats) {
    const cpu = one.guest ? one.guest.cpu_user_ms + one.guest.cpu_system_ms : one.machine?.cpu_ms || 0;
    const points = charts.get(id) || [];
    const last = points[points.length - 1];
    const share = last ? Math.max(0, (cpu - last.cpu) / (now - last.now)) : 0;
    charts.set(id, [...points, { cpu, now, share }].slice(-HISTORY));
  }
  for (const id of charts.keys()) if (!stats.has(id)) charts.delete(id);
  draw();
}

// ---- One sandbox

function line(value) {
  const made = element("li");
  const time = value.time || new Date(value.time_ms || 0).toISOString();
  made.append(element("time", time.slice(11, 19)));
  if (value.stream) {
    made.className = value.stream;
    made.append((value.log ?? atob(value.bytes)).replace(/\n$/, ""));
  } else {
    made.className = value.decision || "";
    const whom = value.address ? `${value.address}:${value.port ?? ""}` : "";
    made.append([value.decision, value.direction, value.protocol, whom, (value.names || []).join(" "),
      value.reason, value.skipped && `${value.skipped} more`].filter(Boolean).join(" "));
  }
  return made;
}

function search() {
  const wanted = $("search").value.toLowerCase();
  for (const made of $("output").children) made.hidden = !made.textContent.toLowerCase().includes(wanted);
}

async function pane(kind) {
  shown.abort?.abort();
  shown.abort = new AbortController();
  const { signal } = shown.abort;
  for (const one of document.querySelectorAll(".pane")) {
    one.setAttribute("aria-pressed", String(one.dataset.pane === kind));
  }
  const output = $("output");
  output.replaceChildren();
  const path = `/v1/sandboxes/${shown.id}`;
  try {
    if (kind === "settings") {
      output.append(element("li", JSON.stringify(await get(path), null, 2)));
      return;
    }
    // Lines that arrive together are laid out once.
    let waiting = [];
    const put = () => {
      if (signal.aborted) return;
      const bottom = output.scrollHeight - output.scrollTop - output.clientHeight < 40;
      output.append(...waiting.slice(-MAX_LINES));
      waiting = [];
      while (output.children.length > MAX_LINES) output.firstChild.remove();
      if (bottom) output.scrollTop = output.scrollHeight;
    };
    const add = (value) => {
      const made = line(value);
      made.hidden = !made.textContent.toLowerCase().includes($("search").value.toLowerCase());
      if (waiting.push(made) === 1) requestAnimationFrame(put);
    };
    await follow(kind === "logs" ? `${path}/logs?follow=true&tail=1000` : `${path}/network`, signal, add);
  } catch (error) {
    if (error.name !== "AbortError") output.append(element("li", error.message, { class: "stderr" }));
  }
}

function details(sandbox) {
  shown = { id: sandbox.id };
  $("title").textContent = sandbox.name;
  $("search").value = "";
  $("details").showModal();
  pane("logs");
}

// ---- Images

async function drawImages() {
  const { images } = await get("/v1/images");
  $("image-rows").replaceChildren(...images.map((image) => {
    const made = element("tr", undefined, { role: "row" });
    const name = image.reference || image.id;
    const cell = labelled("Actions", button("Remove", `Remove ${name}`, async () => {
      await ask(`/v1/images?image=${encodeURIComponent(name)}`, { method: "DELETE" });
      await drawImages();
    }));
    made.append(labelled("Image", image.reference || "(no name)"), labelled("ID", image.id.slice(7, 19)),
      labelled("Platform", image.platform), labelled("Size", size(image.size_bytes)), cell);
    return made;
  }));
}

async function pull(event) {
  event.preventDefault();
  const layers = new Map();
  const told = $("pulling");
  await attempt(async () => {
    await follow("/v1/images/pull", undefined, (value) => {
      if (value.event === "progress") layers.set(value.layer, value);
      if (value.event === "failed") throw new Error(value.message);
      const sum = (key) => [...layers.values()].reduce((all, one) => all + one[key], 0);
      told.textContent = value.event === "done" ? `${value.image.reference} is here`
        : `${size(sum("done_bytes"))} of ${size(sum("total_bytes"))}`;
    }, { method: "POST", body: JSON.stringify({ image: $("reference").value }) });
    await drawImages();
  });
}

// ---- Events

async function watch() {
  for (;;) {
    try {
      await follow("/v1/events?since=1h", undefined, (event) => {
        const made = element("li");
        const code = event.exit_code === null ? "" : ` (${event.exit_code})`;
        made.append(element("time", new Date(event.time_ms).toLocaleTimeString()),
          `${event.name || event.id} ${event.event}${code} ${event.detail || ""}`);
        $("event-rows").prepend(made);
        if ($("event-rows").children.length > MAX_LINES) $("event-rows").lastChild.remove();
        refresh();
      });
    } catch { /* the server is gone or asks for a token: once more below */ }
    await loggedIn();
    await new Promise((resolve) => { setTimeout(resolve, 3000); });
    $("event-rows").replaceChildren();
  }
}

// ---- The page

function view(name) {
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== name;
  for (const tab of document.querySelectorAll(".tab")) {
    tab.setAttribute("aria-pressed", String(tab.dataset.view === name));
  }
  if (name === "images") attempt(drawImages);
}

function theme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
}

async function about() {
  const [version, host] = await Promise.all([get("/v1/version"), get("/v1/info")]);
  const bad = host.checks.find((check) => check.verdict === "bad");
  $("host").textContent = bad ? `no sandboxes here: ${bad.name}` : `${version.monocore} on ${version.platform}`;
  $("host").title = bad?.detail || "";
}

const stored = localStorage.getItem("theme");
if (stored) document.documentElement.dataset.theme = stored;
$("theme").addEventListener("click", theme);
$("filter").addEventListener("input", draw);
$("all").addEventListener("change", draw);
$("search").addEventListener("input", search);
// With an opener the new page has this one's token.
$("shell").addEventListener("click", () => open(`/shell?sandbox=${encodeURIComponent(shown.id)}`));
$("close").addEventListener("click", () => $("details").close());
$("details").addEventListener("close", () => shown?.abort?.abort());
$("pull").addEventListener("submit", pull);
for (const tab of document.querySelectorAll(".tab")) tab.addEventListener("click", () => view(tab.dataset.view));
for (const one of document.querySelectorAll(".pane")) one.addEventListener("click", () => pane(one.dataset.pane));
$("login-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("token", $("token").value.trim());
  $("token").value = "";
  $("login").close();
  attempt(about);
  refresh();
  if (!$("images").hidden) attempt(drawImages);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|TEXTAREA)$/.test(event.target.tagName)) {
    event.preventDefault();
    ($("details").open ? $("search") : $("filter")).focus();
  }
});
attempt(about);
refresh();
watch();
(async () => {
  for (;;) {
    await measure();
    await new Promise((resolve) => { setTimeout(resolve, STATS_EVERY_MS); });
  }
})();
