// A private server: `monocore serve --private`, started on demand, one for the whole process.
//
// The server ends when its standard input does. So it ends when the last client of this process is
// closed, and also when this process is killed: the kernel closes the pipe.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { accessSync, constants, statSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { createInterface } from "node:readline";

import { BinaryNotFound, ServerNotStarted } from "./errors.js";

const READY = "listening on unix:";

/** A running server and the number of its clients. */
export class PrivateServer {
  readonly binary: string;
  readonly process: ChildProcess;
  clients = 0;
  socket = "";

  private constructor(binary: string, process: ChildProcess) {
    this.binary = binary;
    this.process = process;
  }

  static async start(binary: string): Promise<PrivateServer> {
    const env = { MONOCORE_LOG: "error", ...process.env };
    const child = spawn(binary, ["serve", "--private"], { env, stdio: "pipe" });
    const said: string[] = [];
    createInterface(child.stderr).on("line", (line) => said.splice(0, said.length - 19, line));
    const ended = once(child, "close").then(
      () => null,
      (error: Error) => void said.push(error.message),
    );
    const first = once(createInterface(child.stdout), "line") as Promise<[string]>;
    const line = (await Promise.race([first, ended]))?.[0] ?? "";
    if (!line.startsWith(READY)) {
      child.kill();
      await ended;
      throw new ServerNotStarted(`${binary} serve --private: ${said.join("\n") || line || "it said nothing"}`);
    }
    const server = new PrivateServer(binary, child);
    server.socket = line.slice(READY.length);
    // The server keeps no program from ending: it ends with it.
    child.unref();
    for (const pipe of [child.stdin, child.stdout, child.stderr]) {
      (pipe as unknown as { unref?: () => void }).unref?.();
    }
    return server;
  }

  /** Whether a new client can use the server. */
  get isAlive(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  /** Ends the server and waits for its end: sandboxes of this program are gone afterwards. */
  async end(): Promise<void> {
    if (!this.isAlive) return;
    this.process.ref();
    const ended = once(this.process, "exit");
    this.process.stdin?.end();
    await ended;
  }
}

const servers = new Map<string, Promise<PrivateServer>>();

/** The process's server, started if there is none. */
export async function acquire(binary?: string): Promise<PrivateServer> {
  const path = findBinary(binary);
  for (;;) {
    let starting = servers.get(path);
    if (starting === undefined) {
      starting = PrivateServer.start(path);
      servers.set(path, starting);
      starting.catch(() => servers.delete(path));
    }
    const server = await starting;
    if (server.isAlive && servers.get(path) === starting) {
      server.clients += 1;
      return server;
    }
    if (servers.get(path) === starting) servers.delete(path);
  }
}

/** Gives a server back; the last client ends it. */
export async function release(server: PrivateServer): Promise<void> {
  server.clients -= 1;
  if (server.clients > 0) return;
  const known = servers.get(server.binary);
  // Nobody can take it from here on.
  if (known !== undefined && (await known.catch(() => null)) === server) {
    if (server.clients > 0) return;
    servers.delete(server.binary);
  }
  await server.end();
}

/** The program: as given, else `MONOCORE_BINARY`, else from `PATH`. */
export function findBinary(binary?: string): string {
  const wanted = binary || process.env["MONOCORE_BINARY"] || "monocore";
  const folders = (process.env["PATH"] ?? "").split(delimiter).filter((folder) => folder !== "");
  const places = wanted.includes("/") ? [wanted] : folders.map((folder) => join(folder, wanted));
  const found = places.find(isProgram);
  if (found === undefined) {
    throw new BinaryNotFound(
      `${wanted}: no such program. Install monocore, set MONOCORE_BINARY to its path, or set ` +
        "MONOCORE_URL to a server",
    );
  }
  return resolve(found);
}

function isProgram(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}
