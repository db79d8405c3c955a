// HTTP and WebSocket connections to one server.

import { once } from "node:events";
import * as http from "node:http";
import * as https from "node:https";
import * as net from "node:net";
import { pipeline } from "node:stream/promises";
import type { Readable } from "node:stream";
import { WebSocket } from "ws";

import { ApiError, ConnectionFailed } from "./errors.js";
import type { ErrorBody, ErrorCode } from "./models.js";

export type Query = Record<string, string | number | boolean | undefined>;

/** What a request has besides method and path. */
export interface Asked {
  body?: unknown;
  query?: Query;
  content?: Readable;
  signal?: AbortSignal | undefined;
}

/** Requests to a server at `http://…`, `https://…` or `unix:PATH`. */
export class Transport {
  private readonly base: URL;
  private readonly socketPath: string | undefined;
  private readonly headers: Record<string, string>;
  private readonly agent: http.Agent;

  constructor(url: string, token?: string) {
    this.socketPath = url.startsWith("unix:") ? url.slice(5).replace(/^\/\//, "") : undefined;
    this.base = new URL(this.socketPath === undefined ? url : "http://monocore");
    if (!["http:", "https:"].includes(this.base.protocol)) {
      throw new TypeError(`${url}: give http://…, https://… or unix:PATH`);
    }
    this.headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    // Idle connections are closed before the server does it.
    const options = { keepAlive: true, timeout: 5000 };
    this.agent = this.isTls ? new https.Agent(options) : new http.Agent(options);
  }

  private get isTls(): boolean {
    return this.base.protocol === "https:";
  }

  /** Closes all connections. */
  close(): void {
    this.agent.destroy();
  }

  /** Sends a request; the JSON of the answer, nothing if that is empty. */
  async ask<T>(method: string, path: string, asked: Asked = {}): Promise<T> {
    const answer = await this.send(method, path, asked, this.agent).catch((error: unknown) => {
      // The server may have closed an idle connection at this moment. A GET changes nothing, so it
      // is sent again on another one.
      if (method !== "GET" || !(error instanceof StaleConnection)) throw error;
      return this.send(method, path, asked, false);
    });
    const text = await read(answer, asked.signal);
    check(answer.statusCode, text);
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  /** Sends a request on a connection of its own and gives the answer, which the caller destroys. */
  async stream(method: string, path: string, asked: Asked = {}): Promise<http.IncomingMessage> {
    const answer = await this.send(method, path, asked, false);
    if ((answer.statusCode ?? 0) >= 400) check(answer.statusCode, await read(answer));
    return answer;
  }

  /** The values of a stream of JSON lines. */
  async *values<T>(method: string, path: string, asked: Asked = {}): AsyncGenerator<T, void> {
    const answer = await this.stream(method, path, asked);
    let rest: Buffer = Buffer.alloc(0);
    for await (const part of parts(answer, asked.signal)) {
      rest = Buffer.concat([rest, part]);
      for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
        const line = rest.toString("utf8", 0, end);
        rest = rest.subarray(end + 1);
        if (line !== "") yield JSON.parse(line) as T;
      }
    }
  }

  /** Opens a WebSocket. */
  async websocket(path: string, signal?: AbortSignal): Promise<WebSocket> {
    signal?.throwIfAborted();
    const address = new URL(path, this.base);
    address.protocol = this.isTls ? "wss:" : "ws:";
    const socketPath = this.socketPath;
    const socket = new WebSocket(address, {
      headers: this.headers,
      perMessageDeflate: false,
      ...(socketPath === undefined ? {} : { createConnection: () => net.connect(socketPath) }),
    } as WebSocket.ClientOptions);
    const refused = new Promise<never>((_, reject) => {
      socket.on("unexpected-response", (_request, answer) => {
        read(answer)
          .then((text) => check(answer.statusCode, text))
          .catch(reject);
      });
      socket.on("error", (error) => reject(failed(error)));
    });
    const aborted = () => socket.terminate();
    signal?.addEventListener("abort", aborted);
    try {
      await Promise.race([once(socket, "open"), refused]);
    } catch (error) {
      socket.terminate();
      signal?.throwIfAborted();
      throw error;
    } finally {
      signal?.removeEventListener("abort", aborted);
      refused.catch(() => {});
    }
    return socket;
  }

  private async send(
    method: string,
    path: string,
    asked: Asked,
    agent: http.Agent | false,
  ): Promise<http.IncomingMessage> {
    asked.signal?.throwIfAborted();
    const address = new URL(path, this.base);
    for (const [name, value] of Object.entries(asked.query ?? {})) {
      if (value !== undefined) address.searchParams.set(name, String(value));
    }
    const body = asked.body === undefined ? undefined : Buffer.from(JSON.stringify(asked.body));
    const headers: http.OutgoingHttpHeaders = { ...this.headers };
    if (body !== undefined) {
      headers["content-type"] = "application/json";
      headers["content-length"] = body.length;
    }
    const options: http.RequestOptions = { method, headers, agent };
    if (this.socketPath !== undefined) options.socketPath = this.socketPath;
    if (asked.signal !== undefined) options.signal = asked.signal;
    const request = (this.isTls ? https : http).request(address, options);
    const answered = once(request, "response") as Promise<[http.IncomingMessage]>;
    try {
      if (asked.content === undefined) {
        request.end(body);
      } else {
        // A server that refuses answers before it has read everything.
        const sent = pipeline(asked.content, request);
        sent.catch(() => {});
      }
      const [answer] = await answered;
      return answer;
    } catch (error) {
      asked.signal?.throwIfAborted();
      const { message, cause } = failed(error);
      throw new (request.reusedSocket ? StaleConnection : ConnectionFailed)(message, { cause });
    }
  }
}

/** A connection that had served other requests ended before the answer. */
class StaleConnection extends ConnectionFailed {}

/** The path of a sandbox or of something that belongs to it. */
export function pathOf(sandbox: string, ...rest: string[]): string {
  return ["/v1/sandboxes", encodeURIComponent(sandbox), ...rest].join("/");
}

function failed(error: unknown): ConnectionFailed {
  const text = error instanceof Error ? error.message : String(error);
  return new ConnectionFailed(`the connection to the server: ${text}`, { cause: error });
}

/** The bytes of an answer. Where they are left, the connection is closed. */
export async function* parts(
  answer: http.IncomingMessage,
  signal?: AbortSignal,
): AsyncGenerator<Buffer, void> {
  try {
    for await (const part of answer) yield part as Buffer;
  } catch (error) {
    signal?.throwIfAborted();
    throw failed(error);
  } finally {
    answer.destroy();
  }
}

async function read(answer: http.IncomingMessage, signal?: AbortSignal): Promise<string> {
  const whole: Buffer[] = [];
  for await (const part of parts(answer, signal)) whole.push(part);
  return Buffer.concat(whole).toString();
}

function check(status: number | undefined, text: string): void {
  if (status === undefined || status < 400) return;
  let code: ErrorCode = "internal";
  let message = `the server answered with the status ${status}`;
  try {
    ({ code, message } = (JSON.parse(text) as ErrorBody).error);
  } catch {
    // Not one of the server's own answers.
  }
  throw new ApiError(code, message, status);
}
