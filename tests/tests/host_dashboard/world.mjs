// What the browser is shown: sandboxes that the server makes, and what only guests could say.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const LOG = "output.log";

export const SANDBOXES = 200;
const HOME = process.env.MONOCORE_HOME;

const padded = (number) => `web-${String(number).padStart(3, "0")}`;

/** Makes `count` sandboxes that are not started, some at a time. */
export async function made(url, image, count, more = kept) {
  let next = 0;
  const worker = async () => {
    for (let number = next++; number < count; number = next++) {
      const wanted = { image, pull: "never", start: false, command: ["sleep", "1000"], network: { mode: "none" }, ...more(number) };
      const answer = await fetch(`${url}/v1/sandboxes`, { method: "POST", body: JSON.stringify(wanted) });
      const sandbox = await answer.json();
      assert.equal(answer.status, 201, JSON.stringify(sandbox));
      if (more === kept) written(sandbox, number);
    }
  };
  await Promise.all([...Array(4)].map(worker));
}

function kept(number) {
  const labels = number % 10 === 4 ? { "dev.monocore.project": "shop", "dev.monocore.service": "web", "dev.monocore.groups": "front,back" } : {};
  return { name: padded(number), labels };
}

/** The state and the log of a sandbox as its supervisor would have left them. */
function written({ id, created_ms: time }, number) {
  if (number % 5 !== 3) return;
  const dir = join(HOME, "sandboxes", id);
  const state = { ...JSON.parse(readFileSync(join(dir, "state.json"))), status: "exited", exit_code: number % 4, started_ms: time, finished_ms: time + 1000 };
  writeFileSync(join(dir, "state.json"), JSON.stringify(state));
  const line = (log, stream) => `${JSON.stringify({ log: `${log}\n`, stream, time: new Date(time).toISOString() })}\n`;
  const long = "long ".repeat(60);
  mkdirSync(join(dir, "log"), { recursive: true });
  writeFileSync(join(dir, "log", LOG), line("a line of the log", "stdout") + line("<b>markup</b>", "stdout")
    + line("diagnostics", "stderr") + line(long, "stdout") + line(long.replaceAll(" ", ""), "stdout"));
}


/** Answers for what only running guests can say, put into the server's own. */
export async function guests(context) {
  const running = new Set();
  await context.route("**/v1/sandboxes?*", async (route) => {
    const answer = await route.fetch();
    const list = await answer.json();
    for (const sandbox of list.sandboxes.slice(0, 6)) {
      running.add(sandbox.id);
      Object.assign(sandbox, { status: "running", started_ms: Date.now() - 90_000, health: "healthy",
        ports: [{ address: "127.0.0.1", host_port: 8080, guest_port: 80, protocol: "tcp" }] });
    }
    await route.fulfill({ response: answer, json: list });
  });
  let cpu = 0;
  await context.route("**/v1/stats", async (route) => {
    cpu += 600;
    const guest = { uptime_ms: 90_000, cpu_user_ms: cpu, cpu_system_ms: 10, memory_used_bytes: 64_000_000, memory_total_bytes: 512_000_000, tasks: 3 };
    await route.fulfill({ json: [...running].map((id) => ({ id, name: id, guest, machine: null })) });
  });
}
