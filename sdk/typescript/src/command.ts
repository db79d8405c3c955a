// A running command with its streams.

import { WebSocket, type RawData } from "ws";

import { ApiError, ConnectionFailed } from "./errors.js";
import type { ClientMessage, ExecStart, ServerMessage } from "./models.js";
import type { Transport } from "./transport.js";

export type StreamName = "stdout" | "stderr";

/** Some bytes of a stream; under a terminal all of it is `stdout`. */
export interface Output {
  stream: StreamName;
  data: Buffer;
}

/** A line of a stream, without its newline. */
export interface OutputLine {
  stream: StreamName;
  text: string;
}

// The server takes messages of up to 1 MiB.
const CHUNK = 256 * 1024;
/** Bytes that wait for a reader; more make the command wait. */
const WAITING = 1 << 20;

/**
 * A command in a sandbox: made by `Sandbox.spawn`. `close`, or the end of an `await using` block,
 * kills a command that still runs. While nobody reads the output, the command waits; nothing is
 * lost.
 */
export class Command implements AsyncIterable<Output>, AsyncDisposable {
  private readonly socket: WebSocket;
  private readonly start: ExecStart;
  private readonly messages: (Output | ServerMessage)[] = [];
  private waiting = 0;
  private broken: Error | undefined;
  private wake: () => void = () => {};
  private code: number | undefined;

  private constructor(socket: WebSocket, start: ExecStart) {
    this.socket = socket;
    this.start = start;
    socket.on("message", (data, isBinary) => this.receive(data, isBinary));
    socket.on("close", () => this.break(new ConnectionFailed("the connection to the command broke")));
    socket.on("error", (error) => this.break(new ConnectionFailed(error.message, { cause: error })));
  }

  /** @internal */
  static async open(
    transport: Transport,
    path: string,
    start: ExecStart,
    signal?: AbortSignal,
  ): Promise<Command> {
    const socket = await transport.websocket(path, signal);
    const command = new Command(socket, start);
    signal?.addEventListener("abort", () => command.kill(signal.reason as Error), { once: true });
    await command.send(JSON.stringify(start));
    return command;
  }

  /** The exit code, once the command has ended and all its output was read. */
  get exitCode(): number | undefined {
    return this.code;
  }

  /** The output of both streams, as it comes. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Output, void> {
    while (this.code === undefined) {
      const message = this.messages.shift();
      if (message === undefined) {
        if (this.broken !== undefined) throw this.broken;
        await new Promise<void>((resolve) => (this.wake = resolve));
      } else if ("stream" in message) {
        this.waiting -= message.data.length;
        if (this.waiting <= WAITING && this.socket.isPaused) this.socket.resume();
        yield message;
      } else if (message.type === "exit") {
        this.code = message.exit_code;
      } else if (message.type === "error") {
        this.break(new ApiError(message.code, message.message));
      }
    }
  }

  /** The output of both streams by lines, each when it is whole. */
  async *lines(): AsyncGenerator<OutputLine, void> {
    const rest: Record<StreamName, Buffer> = { stdout: Buffer.alloc(0), stderr: Buffer.alloc(0) };
    for await (const { stream, data } of this) {
      let text = Buffer.concat([rest[stream], data]);
      for (let end = text.indexOf("\n"); end >= 0; end = text.indexOf("\n")) {
        yield { stream, text: text.toString("utf8", 0, end) };
        text = text.subarray(end + 1);
      }
      rest[stream] = text;
    }
    for (const stream of ["stdout", "stderr"] as const) {
      if (rest[stream].length > 0) yield { stream, text: rest[stream].toString() };
    }
  }

  /** Waits for the end; output that was not read is dropped. The exit code. */
  async wait(): Promise<number> {
    for await (const _ of this);
    return this.code ?? -1;
  }

  /** The rest of both streams. */
  async read(): Promise<Record<StreamName, Buffer>> {
    const parts: Record<StreamName, Buffer[]> = { stdout: [], stderr: [] };
    for await (const { stream, data } of this) parts[stream].push(data);
    return { stdout: Buffer.concat(parts.stdout), stderr: Buffer.concat(parts.stderr) };
  }

  /** Writes to the command's input; waits while the command does not take it. */
  async write(data: string | Uint8Array): Promise<void> {
    if (this.start.stdin !== true) {
      throw new TypeError("the command has no input: spawn it with stdin: true");
    }
    const whole = Buffer.from(data as Uint8Array);
    for (let at = 0; at < whole.length; at += CHUNK) {
      await this.send(Buffer.concat([Buffer.of(0), whole.subarray(at, at + CHUNK)]));
    }
  }

  /** Ends the command's input. */
  async endInput(): Promise<void> {
    await this.say({ type: "stdin_end" });
  }

  /** Gives the command's terminal another size. */
  async resize(rows: number, columns: number): Promise<void> {
    await this.say({ type: "resize", rows, columns });
  }

  /** Sends the command a signal, such as `INT`. */
  async signal(signal: string): Promise<void> {
    await this.say({ type: "signal", signal });
  }

  /** Kills the command if it still runs. */
  async close(): Promise<void> {
    this.kill(new ConnectionFailed("the command was closed"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  private kill(reason: Error): void {
    this.break(reason);
    this.messages.length = 0;
    this.socket.terminate();
  }

  private break(reason: Error): void {
    this.broken ??= reason;
    this.wake();
  }

  private receive(data: RawData, isBinary: boolean): void {
    const bytes = data as Buffer;
    if (isBinary) {
      const output: Output = { stream: bytes[0] === 2 ? "stderr" : "stdout", data: bytes.subarray(1) };
      this.messages.push(output);
      this.waiting += output.data.length;
      if (this.waiting > WAITING) this.socket.pause();
    } else {
      this.messages.push(JSON.parse(bytes.toString()) as ServerMessage);
    }
    this.wake();
  }

  private async say(message: ClientMessage): Promise<void> {
    await this.send(JSON.stringify(message));
  }

  private async send(message: string | Buffer): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      this.socket.send(message, (error) => {
        if (error == null) return resolve();
        const text = "the command has ended, or its connection broke";
        reject(new ConnectionFailed(text, { cause: error }));
      });
    });
  }
}
