// Makes, uses and kills sandboxes, and looks whether anything is left: `cycles.mjs NUMBER IMAGE`.
// Machines may be played: `echo` says its number, and more, and `sleep` runs until it is killed.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

import { Client, Sandbox } from "../dist/src/index.js";
import { acquire, release } from "../dist/src/server.js";

const number = Number(process.argv[2]);
const home = process.env["MONOCORE_HOME"];
const began = Date.now();

async function descriptors() {
  const server = await acquire();
  const held = readdirSync(`/proc/${server.process.pid}/fd`).length;
  await release(server);
  return held;
}

/** The command lines in which one of the sandboxes is named. */
function processes(ids) {
  const found = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
      if (ids.some((id) => line.includes(id))) found.push(line);
    } catch {
      // It has ended.
    }
  }
  return found;
}

async function cycle(client, turn) {
  const sandbox = await Sandbox.open(process.argv[3], { memory: "128m", client });
  try {
    assert.ok((await sandbox.exec(["echo", String(turn)])).stdout.endsWith(`${turn}\n`));
    const command = await sandbox.spawn(["sleep", "1000"]);
    await command.close();
    assert.ok(processes([sandbox.id]).length > 0, "the supervisor is seen");
  } finally {
    await sandbox.close();
  }
  return [sandbox.id, sandbox.name];
}

const client = new Client();
const made = [await cycle(client, 0)];
const before = await descriptors();
for (let turn = 1; turn < number; turn += 1) made.push(await cycle(client, turn));
const after = await descriptors();
await client.close();

const ended = Date.now();
const marks = new Set(made.flat());
const ids = made.map(([id]) => id);
// A supervisor ends after the last file of its sandbox.
while (processes(ids).length > 0 && Date.now() < ended + 30_000) await sleep(100);
const left = processes(ids);
for (const folder of readdirSync(home, { withFileTypes: true }).filter((entry) => entry.isDirectory())) {
  const names = readdirSync(join(home, folder.name));
  left.push(...names.filter((name) => marks.has(name)).map((name) => join(folder.name, name)));
}
assert.deepEqual(left, []);
assert.ok(after <= before + 2, `${before} descriptors of the server became ${after}`);
const seconds = ((ended - began) / 1000).toFixed(0);
console.log(`${number} cycles left nothing, ${seconds} s; ${after} descriptors of the server`);
