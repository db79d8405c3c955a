// The package against a real `monocore serve`, with sandboxes that never run.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, statSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import {
  ApiError,
  BinaryNotFound,
  Client,
  ConnectionFailed,
  Sandbox,
  ServerNotStarted,
} from "../src/index.js";
import { inside, put } from "../src/files.js";
import { commandFor, languageOf } from "../src/languages.js";
import { acquire, findBinary, release } from "../src/server.js";
import * as tar from "../src/tar.js";

let dir = "";

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "mc"));
  process.env["MONOCORE_HOME"] = join(dir, "home");
});

afterEach(async () => {
  delete process.env["MONOCORE_HOME"];
  await rm(dir, { recursive: true });
});

function open(name: string, client?: Client): Promise<Sandbox> {
  const settings = { rootfs: dir, name, start: false, network: { mode: "none" } };
  return Sandbox.open(undefined, client === undefined ? settings : { ...settings, client });
}

async function refused(code: string, work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (error) => error instanceof ApiError && error.code === code);
}

test("the server is shared, private, and ends with its last client", async () => {
  const [one, two] = [new Client(), new Client()];
  assert.equal((await one.version()).api, (await two.version()).api);
  const server = await acquire();
  assert.equal(server.clients, 3);
  assert.equal(statSync(server.socket).mode & 0o777, 0o600);
  await release(server);
  await one.close();
  assert.ok(server.isAlive);
  await two.close();
  assert.ok(!server.isAlive && !existsSync(server.socket));
});

test("failures say what to do", async () => {
  await assert.rejects(new Client({ binary: "/nonexistent" }).version(), BinaryNotFound);
  await assert.rejects(new Client({ url: `unix:${dir}/nothing` }).version(), ConnectionFailed);
  await assert.rejects(new Client({ url: "ftp://example" }).version(), TypeError);
  process.env["MONOCORE_HOME"] = "/proc/nowhere";
  await assert.rejects(new Client().version(), (error) => {
    return error instanceof ServerNotStarted && error.message.includes("/proc/nowhere");
  });
});

test("a new server follows one that died", async () => {
  await using first = new Client();
  await first.version();
  const server = await acquire();
  server.process.ref();
  server.process.kill("SIGKILL");
  await once(server.process, "exit");
  await assert.rejects(first.version(), ConnectionFailed);
  await using second = new Client();
  assert.equal((await second.version()).api, "v1");
});

test("a server that dies under a sandbox breaks nothing but the sandbox's requests", async () => {
  const client = new Client();
  const sandbox = await open("one", client);
  const server = await acquire();
  server.process.ref();
  // Whoever waits is told, so the check has to wait before.
  const events = assert.rejects(client.events().next(), ConnectionFailed);
  server.process.kill("SIGKILL");
  await once(server.process, "exit");
  await events;
  await assert.rejects(sandbox.inspect(), ConnectionFailed);
  await assert.rejects(sandbox.close(), ConnectionFailed);
  await client.close();
});

test("TCP and tokens", async () => {
  const binary = findBinary();
  const token = spawnSync(binary, ["token", "create", "--scope", "read"]).stdout.toString().trim();
  const serve = ["serve", "--port", "0", "--require-token", "--socket", join(dir, "s")];
  const server = spawn(binary, serve, { stdio: ["ignore", "pipe", "ignore"] });
  try {
    let url = "";
    for await (const line of createInterface(server.stdout)) {
      url = line.split(" ").at(-1) ?? "";
      if (url.startsWith("http")) break;
    }
    await using client = new Client({ url, token });
    assert.deepEqual(await client.list(), []);
    await refused("forbidden", client.create("x", { pull: "never" }));
    await refused("unauthorized", new Client({ url }).list());
  } finally {
    server.kill();
    await once(server, "exit");
  }
});

test("TLS with a certificate of our own", async () => {
  const [cert, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  const make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"];
  const name = ["-addext", "subjectAltName=DNS:localhost"];
  assert.equal(spawnSync("openssl", [...make, ...name, "-keyout", key, "-out", cert]).status, 0);
  const serve = ["serve", "--port", "0", "--socket", join(dir, "s"), "--tls-cert", cert, "--tls-key", key];
  const server = spawn(findBinary(), serve, { stdio: ["ignore", "pipe", "ignore"] });
  try {
    let url = "";
    for await (const line of createInterface(server.stdout)) {
      url = (line.split(" ").at(-1) ?? "").replace("127.0.0.1", "localhost");
      if (url.startsWith("https")) break;
    }
    await assert.rejects(new Client({ url }).version(), /certificate/);
    const index = fileURLToPath(new URL("../src/index.js", import.meta.url));
    const script = `import { Client } from ${JSON.stringify(index)};
      const [url, rootfs] = process.argv.slice(1);
      const client = new Client({ url });
      const made = await client.create(undefined, { rootfs, name: "one", start: false });
      console.log((await client.version()).api, await made.spawn(["true"]).catch((e) => e.code));`;
    const env = { ...process.env, NODE_EXTRA_CA_CERTS: cert };
    const run = ["--input-type=module", "-e", script, url, dir];
    const program = spawn(process.execPath, run, { stdio: ["ignore", "pipe", "inherit"], env });
    const [said] = (await once(program.stdout, "data")) as [Buffer];
    assert.equal(said.toString(), "v1 not_running\n");
  } finally {
    server.kill();
    await once(server, "exit");
  }
});

test("a block owns its sandbox", async () => {
  await using client = new Client();
  {
    await using sandbox = await open("one", client);
    assert.deepEqual((await client.list({ all: true })).map((one) => one.name), ["one"]);
    const details = await sandbox.inspect();
    assert.equal(details.status, "created");
    assert.deepEqual(details.command, ["sleep", "infinity"]);
    await refused("not_running", sandbox.exec(["true"]));
    await refused("not_running", sandbox.spawn(["true"]));
    await assert.rejects(sandbox.url(80), RangeError);
  }
  assert.deepEqual(await client.list({ all: true }), []);
  await refused("no_such_image", Sandbox.open("x", { client, pull: "never" }));
});

test("a made sandbox stays", async () => {
  await using client = new Client();
  const made = await client.create(undefined, { rootfs: dir, name: "two", start: false });
  {
    await using found = await client.get("two");
    assert.equal(found.id, made.id);
  }
  await made.remove();
  await refused("no_such_sandbox", client.get("two"));
});

test("a question is asked again where an idle connection ends", async () => {
  const asked: string[] = [];
  const server = createServer((socket) => {
    let turns = 0;
    // The second request of a connection finds that the server has just closed it.
    socket.on("data", (bytes: Buffer) => {
      asked.push(bytes.toString().split(" ")[0] ?? "");
      turns += 1;
      const answer = '{"volumes":[]}';
      if (turns > 1) socket.destroy();
      else socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${answer.length}\r\n\r\n${answer}`);
    });
  });
  const path = join(dir, "socket");
  await once(server.listen(path), "listening");
  {
    await using client = new Client({ url: `unix:${path}` });
    for (let turn = 0; turn < 2; turn += 1) assert.deepEqual(await client.volumes(), []);
    assert.deepEqual(asked, ["GET", "GET", "GET"]);
  }
  asked.length = 0;
  {
    await using client = new Client({ url: `unix:${path}` });
    await client.volumes();
    await assert.rejects(client.createVolume({ name: "once" }), ConnectionFailed);
    assert.deepEqual(asked, ["GET", "POST"]);
  }
  server.close();
});

test("sandboxes and volumes are changed", async () => {
  await using client = new Client();
  await client.createVolume({ name: "data", labels: { a: "b" } });
  await using sandbox = await open("one", client);
  const details = await sandbox.update({ name: "other", memory: "1g", restart: "always" });
  assert.deepEqual([details.name, details.settings?.memory_mib], ["other", 1024]);
  await refused("not_running", sandbox.processes());
  assert.deepEqual((await client.volumes()).map((one) => one.labels), [{ a: "b" }]);
  await client.removeVolume("data");
  assert.deepEqual(await client.volumes(), []);
});

test("many cycles leave nothing", async () => {
  // All 900 only where `MONOCORE_TEST_LONG` is set; `scripts/cycles.mjs` does 50 with guests.
  const turns = process.env["MONOCORE_TEST_LONG"] === undefined ? 100 : 900;
  await using client = new Client();
  const held: number[] = [];
  for (let turn = 0; turn < turns; turn += 1) {
    const sandbox = await open(`turn-${turn}`, client);
    await refused("not_running", sandbox.exec(["true"]));
    await refused("not_running", sandbox.spawn(["cat"], { stdin: true }));
    await sandbox.close();
    const server = await acquire();
    const fds = [server.process.pid, process.pid].map((pid) => readdirSync(`/proc/${pid}/fd`).length);
    held.push(fds.reduce((sum, count) => sum + count));
    await release(server);
  }
  assert.deepEqual(await client.list({ all: true }), []);
  const [first, second] = [held.slice(0, turns / 2), held.slice(turns / 2)];
  assert.ok(Math.max(...second) <= Math.max(...first) + 2, `descriptors: ${held.join(" ")}`);
  for (const folder of ["sandboxes", "names", "run"]) {
    const left = readdirSync(join(dir, "home", folder)).filter((name) => name !== ".lock");
    assert.deepEqual(left, [], folder);
  }
});

test("streams end when they are left, and by a signal", async () => {
  await using client = new Client();
  await (await open("three", client)).close();
  for await (const event of client.events({ since: "1h" })) {
    assert.equal(event.event, "create");
    break;
  }
  const events = client.events({ signal: AbortSignal.timeout(300) });
  await assert.rejects(events.next(), { name: "TimeoutError" });
});

test("a killed program and one that forgets to close leave nothing", async () => {
  const index = fileURLToPath(new URL("../src/index.js", import.meta.url));
  const script = `import { Sandbox } from ${JSON.stringify(index)};
    await Sandbox.open(undefined, { rootfs: process.argv[1], name: "orphan", start: false });
    console.log("made"); if (process.argv[2]) setInterval(() => {}, 1000);`;
  for (const signal of ["SIGKILL", "SIGINT", "SIGTERM", undefined] as const) {
    const stay = signal === undefined ? [] : ["stay"];
    const run = ["--input-type=module", "-e", script, dir, ...stay];
    const program = spawn(process.execPath, run, { stdio: ["ignore", "pipe", "inherit"] });
    const ended = once(program, "exit");
    await once(program.stdout, "data");
    if (signal !== undefined) program.kill(signal);
    await ended;
    await using client = new Client();
    const end = Date.now() + 60_000;
    while ((await client.list({ all: true })).length > 0) {
      assert.ok(Date.now() < end, "the sandbox is left");
      await sleep(50);
    }
  }
});

async function* once_(bytes: Buffer, step = bytes.length): AsyncGenerator<Buffer, void> {
  for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step);
}

type Part = Omit<tar.Entry, "kind" | "size"> & { kind: "file" | "directory" | "symlink"; text?: string };

function archive(...parts: Part[]): Buffer {
  const pieces = parts.flatMap(({ text = "", ...part }) => {
    const content = Buffer.from(text);
    return [tar.header({ ...part, size: content.length }), content, tar.padding(content.length)];
  });
  return Buffer.concat([...pieces, tar.END]);
}

test("archives are written and read, by us and by tar", async () => {
  const long = `d/${"long/".repeat(60)}name`;
  const parts: Part[] = [
    { name: "d/", kind: "directory", mode: 0o755, target: "" },
    { name: "d/f", kind: "file", mode: 0o640, target: "", text: "x".repeat(700) },
    { name: long, kind: "file", mode: 0o644, target: "", text: "" },
    { name: "d/l", kind: "symlink", mode: 0o777, target: "f".repeat(200) },
  ];
  const bytes = archive(...parts);
  for (const step of [1, 511, bytes.length]) {
    const found: string[] = [];
    for await (const entry of tar.entries(once_(bytes, step))) {
      let size = 0;
      for await (const part of entry.content) size += part.length;
      found.push(`${entry.kind} ${entry.name} ${entry.mode.toString(8)} ${size} ${entry.target}`);
    }
    assert.deepEqual(found, [
      "directory d/ 755 0 ",
      "file d/f 640 700 ",
      `file ${long} 644 0 `,
      `symlink d/l 777 0 ${"f".repeat(200)}`,
    ]);
  }
  const listed = spawnSync("tar", ["tf", "-"], { input: bytes }).stdout.toString().trim().split("\n");
  assert.deepEqual(listed, parts.map((part) => part.name));
  await mkdir(join(dir, "from"));
  await writeFile(join(dir, "from", "g".repeat(150)), "by tar");
  const made = spawnSync("tar", ["cf", "-", "-C", dir, "from"]).stdout;
  const names: string[] = [];
  for await (const entry of tar.entries(once_(made))) names.push(entry.name);
  assert.deepEqual(names, ["from/", `from/${"g".repeat(150)}`]);
});

test("a damaged archive is refused", async () => {
  const whole = archive({ name: "f", kind: "file", mode: 0o644, target: "", text: "text" });
  const flipped = Buffer.from(whole);
  flipped[0] = 0x7a;
  const endless = Buffer.from(whole);
  for (const bytes of [whole.subarray(0, 700), flipped, endless.subarray(0, 100)]) {
    await assert.rejects(async () => {
      for await (const _ of tar.entries(once_(bytes)));
    }, /the archive is damaged/);
  }
});

test("an archive cannot reach what lies beside", async () => {
  const out = join(dir, "out");
  const beside = join(dir, "beside");
  await mkdir(out);
  await mkdir(beside);
  const entry = (kind: tar.Entry["kind"], name: string, target = "") => ({
    kind,
    name,
    target,
    mode: 0o644,
    size: 1,
    content: once_(Buffer.from("x")),
  });
  const hostile = [
    entry("file", "d/../../beside/x"),
    entry("file", "/beside/x"),
    entry("file", "e/x"),
    entry("symlink", "d/a", "../beside"),
    entry("symlink", "d/a", beside),
    entry("link", "d/a", "d/../../beside"),
    entry("other", "d/a"),
  ];
  for (const one of hostile) await assert.rejects(put(one, out, one.name, "d"), one.name);
  await symlink(beside, join(out, "link"));
  await assert.rejects(put(entry("file", "d/link/x"), out, "d/link/x", "d"));
  await assert.rejects(put(entry("link", "d/h", "d/link"), out, "d/h", "d"));
  // A file takes a link's place.
  await put(entry("file", "d/link"), out, "d/link", "d");
  await put(entry("link", "d/hard", "d/link"), out, "d/hard", "d");
  await put(entry("symlink", "d/s/soft", "../hard"), out, "d/s/soft", "d");
  assert.equal(await readFile(join(out, "s/soft"), "utf8"), "x");
  assert.equal(await readlink(join(out, "s/soft")), "../hard");
  assert.deepEqual(await readdir(beside), []);
  assert.throws(() => inside("d", "d"));
});

test("images tell the language", () => {
  assert.equal(languageOf("python:3.12"), "python");
  assert.equal(languageOf("registry.example:5000/team/node:22"), "javascript");
  assert.equal(languageOf("debian"), "python");
  assert.deepEqual(commandFor("sh", "ls"), ["sh", "-c", "ls"]);
  assert.throws(() => commandFor("cobol" as "sh", ""), TypeError);
  assert.throws(() => commandFor("python", "#".repeat(130_000)), RangeError);
});
