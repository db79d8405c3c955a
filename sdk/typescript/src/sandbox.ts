// A sandbox, and what can be done with it.

import type { IncomingMessage } from "node:http";

import { Client } from "./client.js";
import { Command } from "./command.js";
import { CommandFailed, ConnectionFailed } from "./errors.js";
import { Files, type Abort } from "./files.js";
import { commandFor, languageOf, type Language } from "./languages.js";
import type {
  Change,
  ChangeList,
  CreateSandbox,
  ExecRequest,
  ExecResult,
  ExecStart,
  LogLine,
  ProcessInfo,
  ProcessList,
  PublishedPort,
  SandboxDetails,
  SandboxStats,
  TextOrNumber,
  UpdateSandbox,
} from "./models.js";
import { pathOf } from "./transport.js";

/** How a command is run; see `ExecRequest`. */
export interface ExecOptions extends Omit<ExecRequest, "command" | "stdin_base64" | "detach" | "stdin"> {
  /** What the command reads. */
  stdin?: string | Uint8Array | undefined;
  /** Any exit code but 0 throws `CommandFailed`. */
  check?: boolean;
  /** Ends the wait and kills the command. */
  signal?: AbortSignal | undefined;
}

/** How code is run. */
export interface RunOptions extends ExecOptions {
  /** By default the image's name decides (`node:22` runs JavaScript), and Python is the rest. */
  language?: Language;
}

/** How a command with streams is started; see `ExecStart`. */
export interface SpawnOptions extends Omit<ExecStart, "command">, Abort {}

/** Which sandbox is made, and where. */
export interface OpenOptions extends CreateSandbox, Abort {
  /** The connection; by default one of the sandbox's own. */
  client?: Client;
}

const IDLE = ["sleep", "infinity"];

/**
 * A sandbox. `Sandbox.open` makes one that is removed by `close` or at the end of an `await using`
 * block, and also if this program is killed. `Client.create` makes one that stays, `Client.get`
 * finds one.
 */
export class Sandbox implements AsyncDisposable {
  /** The connection. */
  readonly client: Client;
  /** Twelve hexadecimal digits. */
  readonly id: string;
  /** The name, which the server makes up where none was given. */
  readonly name: string;
  /** The image as it was written, or the root directory. */
  readonly image: string;
  /** The sandbox's files. */
  readonly files: Files;
  private lease: IncomingMessage | undefined;
  private ownsClient = false;

  /** @internal */
  constructor(client: Client, made: { id: string; name: string; image: string }) {
    this.client = client;
    this.id = made.id;
    this.name = made.name;
    this.image = made.image;
    this.files = new Files(this);
  }

  /**
   * Makes a sandbox that goes with this object. Settings are the fields of `CreateSandbox`. Without
   * a `command` the sandbox idles, so that commands can be run in it; with an empty one it runs the
   * image's own.
   */
  static async open(image: string | undefined, options: OpenOptions = {}): Promise<Sandbox> {
    const { client: given, signal, ...settings } = options;
    const client = given ?? new Client();
    try {
      const transport = await client.transport();
      const body = settingsOf(image, settings);
      const lease = await transport.stream("POST", "/v1/leases", { body, signal });
      // A lease keeps no program from ending: the sandbox ends with it.
      lease.socket.unref();
      const first = await firstLine<SandboxDetails>(lease);
      const sandbox = new Sandbox(client, first);
      sandbox.lease = lease;
      sandbox.ownsClient = given === undefined;
      return sandbox;
    } catch (error) {
      if (given === undefined) await client.close();
      throw error;
    }
  }

  // Life

  /** Removes a sandbox that was made by `open`; any other stays. */
  async close(): Promise<void> {
    const lease = this.lease;
    this.lease = undefined;
    if (lease === undefined) return;
    try {
      await this.remove({ force: true });
    } finally {
      // Where removing failed, the server does it now.
      lease.destroy();
      if (this.ownsClient) await this.client.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Starts a sandbox that does not run. */
  async start(): Promise<void> {
    await this.ask("POST", ["start"]);
  }

  /** Asks the command to end, kills it after the grace period, and waits for the end. */
  async stop(options: { timeout?: TextOrNumber; signal?: string } = {}): Promise<SandboxDetails> {
    return this.ask("POST", ["stop"], options);
  }

  /** Stops the sandbox and starts it again. */
  async restart(options: { timeout?: TextOrNumber } = {}): Promise<void> {
    await this.ask("POST", ["restart"], options);
  }

  /** Sends the command a signal; SIGKILL, the default, ends the machine as well. */
  async kill(signal?: TextOrNumber): Promise<void> {
    await this.ask("POST", ["kill"], { signal });
  }

  /** Waits until the sandbox's own command has ended; its exit code. */
  async wait(abort: Abort = {}): Promise<number> {
    const report = await this.ask<{ exit_code: number }>("POST", ["wait"], undefined, abort);
    return report.exit_code;
  }

  /** Stops the virtual machine's processors. */
  async pause(): Promise<void> {
    await this.ask("POST", ["pause"]);
  }

  /** Lets a paused sandbox go on. */
  async unpause(): Promise<void> {
    await this.ask("POST", ["unpause"]);
  }

  /** Removes the sandbox with its disk and logs; with `force` also one that runs. */
  async remove(options: { force?: boolean } = {}): Promise<void> {
    const transport = await this.client.transport();
    await transport.ask("DELETE", pathOf(this.id), { query: { force: options.force ?? false } });
  }

  // Commands

  /**
   * Runs a command to its end; its output and exit code. A `timeout` (`"30s"`, or seconds) kills
   * the command: `timed_out` is true and the exit code 124.
   */
  async exec(command: readonly string[], options: ExecOptions = {}): Promise<ExecResult> {
    const { stdin, check, signal, ...rest } = options;
    const body: ExecRequest = { ...rest, command: [...command] };
    if (typeof stdin === "string") body.stdin = stdin;
    else if (stdin !== undefined) body.stdin_base64 = Buffer.from(stdin).toString("base64");
    const result = await this.ask<ExecResult>("POST", ["exec"], body, { signal });
    if (check === true && result.exit_code !== 0) throw new CommandFailed([...command], result);
    return result;
  }

  /** Runs code. The image must have the language's interpreter. */
  async run(code: string, options: RunOptions = {}): Promise<ExecResult> {
    const { language, ...rest } = options;
    return this.exec(commandFor(language ?? languageOf(this.image), code), rest);
  }

  /** Starts a command with streams. */
  async spawn(command: readonly string[], options: SpawnOptions = {}): Promise<Command> {
    const { signal, ...rest } = options;
    const transport = await this.client.transport();
    const start: ExecStart = { ...rest, command: [...command] };
    return Command.open(transport, pathOf(this.id, "exec", "ws"), start, signal);
  }

  /** Starts a command that goes on by itself; its process ID in the sandbox. */
  async detach(
    command: readonly string[],
    options: Pick<ExecRequest, "env" | "workdir" | "user"> = {},
  ): Promise<number> {
    const body: ExecRequest = { ...options, command: [...command], detach: true };
    return (await this.ask<ExecResult>("POST", ["exec"], body)).pid ?? 0;
  }

  // What can be seen

  /** Everything about the sandbox, as it is now. */
  async inspect(): Promise<SandboxDetails> {
    return this.ask("GET", []);
  }

  /** The host's ports that lead to the sandbox. */
  async ports(): Promise<PublishedPort[]> {
    return (await this.inspect()).ports;
  }

  /** The address on the host of a published TCP port of the sandbox. */
  async url(port: number, scheme = "http"): Promise<string> {
    const ports = await this.ports();
    const found = ports.find((one) => one.guest_port === port && one.protocol === "tcp");
    if (found === undefined) {
      throw new RangeError(`port ${port} is not published: give ports: ["0:${port}"] for a free port`);
    }
    const address = ["0.0.0.0", "::"].includes(found.address) ? "127.0.0.1" : found.address;
    const host = address.includes(":") ? `[${address}]` : address;
    return `${scheme}://${host}:${found.host_port}`;
  }

  /** What the sandbox uses. */
  async stats(): Promise<SandboxStats> {
    return this.ask("GET", ["stats"]);
  }

  /** The processes of the running sandbox. The image needs no program for that. */
  async processes(): Promise<ProcessInfo[]> {
    return (await this.ask<ProcessList>("GET", ["processes"])).processes;
  }

  /** What the sandbox changed in its image's files. */
  async changes(): Promise<Change[]> {
    return (await this.ask<ChangeList>("GET", ["changes"])).changes;
  }

  /** Changes name, memory, cpus or restart policy; more than its machine has at the next start. */
  async update(changes: UpdateSandbox): Promise<SandboxDetails> {
    return this.ask("PATCH", [], changes);
  }

  /** The output of the sandbox's own command; with `follow` until the sandbox ends. */
  async *logs(
    options: Abort & { follow?: boolean; tail?: number; since?: string } = {},
  ): AsyncGenerator<LogLine, void> {
    const { signal, ...query } = options;
    const transport = await this.client.transport();
    yield* transport.values<LogLine>("GET", pathOf(this.id, "logs"), { query, signal });
  }

  private async ask<T>(
    method: string,
    rest: string[],
    body?: unknown,
    abort: Abort = {},
  ): Promise<T> {
    const transport = await this.client.transport();
    return transport.ask<T>(method, pathOf(this.id, ...rest), { body, ...abort });
  }
}

/** The body of a request for a new sandbox. */
export function settingsOf(image: string | undefined, settings: CreateSandbox): CreateSandbox {
  const body: CreateSandbox = { ...settings };
  if (image !== undefined) body.image = image;
  if (body.command === undefined) {
    body.command = IDLE;
    body.entrypoint ??= [];
  }
  return body;
}

/** The first value of a stream that stays open. */
async function firstLine<T>(answer: IncomingMessage): Promise<T> {
  const parts: Buffer[] = [];
  return new Promise<T>((resolve, reject) => {
    const data = (part: Buffer) => {
      parts.push(part);
      if (!part.includes("\n")) return;
      answer.off("data", data);
      // What follows is the end only; it has to be noticed.
      answer.resume();
      resolve(JSON.parse(Buffer.concat(parts).toString()) as T);
    };
    answer.on("data", data);
    // Stays: a lease whose server is killed breaks, and nobody listens any more.
    answer.on("error", reject);
    answer.on("end", () => reject(new ConnectionFailed("the server ended before the sandbox was made")));
  });
}
