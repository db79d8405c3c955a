// A server's sandboxes, images and projects.

import { ApiError } from "./errors.js";
import type { Abort } from "./files.js";
import type {
  CreateSandbox,
  CreateVolume,
  DownRequest,
  HostReport,
  Image,
  ImageDetails,
  ImageList,
  ProjectSteps,
  PullEvent,
  PullRequest,
  SandboxDetails,
  SandboxEvent,
  SandboxList,
  SandboxStats,
  SandboxStatus,
  ServiceStatus,
  StatusReport,
  VersionInfo,
  VolumeInfo,
  VolumeList,
} from "./models.js";
import type { Sandbox as SandboxSummary } from "./models.js";
import { Sandbox, settingsOf } from "./sandbox.js";
import * as server from "./server.js";
import { pathOf, Transport } from "./transport.js";

/** Which server. */
export interface ClientOptions {
  /**
   * `http://…`, `https://…` or `unix:PATH`; `MONOCORE_URL` by default. Without one a private server
   * is started with the first request, and ended when the last client of the process is closed.
   */
  url?: string;
  /** One of `monocore token create`; `MONOCORE_TOKEN` by default. */
  token?: string;
  /** The program that is started; `MONOCORE_BINARY`, else `monocore` from `PATH` by default. */
  binary?: string;
}

/** Which sandboxes are listed; all given conditions must hold. */
export interface ListOptions {
  /** Also sandboxes that do not run. Implied by `status`. */
  all?: boolean;
  status?: SandboxStatus;
  /** Only those whose name contains this text. */
  name?: string;
  /** Only those with this label, `KEY` or `KEY=VALUE`. */
  label?: string;
  project?: string;
}

/** A connection to a server. */
export class Client implements AsyncDisposable {
  private readonly options: ClientOptions;
  private opened: Promise<{ transport: Transport; server?: server.PrivateServer }> | undefined;

  constructor(options: ClientOptions = {}) {
    this.options = options;
  }

  /** The connections; the server is started if need be. For requests that have no method. */
  async transport(): Promise<Transport> {
    this.opened ??= this.open();
    try {
      return (await this.opened).transport;
    } catch (error) {
      // The next request tries again.
      this.opened = undefined;
      throw error;
    }
  }

  private async open(): Promise<{ transport: Transport; server?: server.PrivateServer }> {
    const url = this.options.url ?? process.env["MONOCORE_URL"];
    const token = this.options.token ?? process.env["MONOCORE_TOKEN"];
    if (url) return { transport: new Transport(url, token) };
    const own = await server.acquire(this.options.binary);
    return { transport: new Transport(`unix:${own.socket}`, token), server: own };
  }

  /** Closes the connections, and ends the private server if this was its last client. */
  async close(): Promise<void> {
    const opened = await this.opened?.catch(() => undefined);
    this.opened = undefined;
    opened?.transport.close();
    if (opened?.server !== undefined) await server.release(opened.server);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  // Sandboxes

  /** Makes a sandbox that stays until it is removed, and starts it unless `start` is false. */
  async create(image: string | undefined, settings: CreateSandbox & Abort = {}): Promise<Sandbox> {
    const { signal, ...rest } = settings;
    const body = settingsOf(image, rest);
    const made = await this.ask<SandboxDetails>("POST", "/v1/sandboxes", { body, signal });
    return new Sandbox(this, made);
  }

  /** The sandbox with this name, ID, or unique ID prefix. */
  async get(name: string): Promise<Sandbox> {
    return new Sandbox(this, await this.ask<SandboxDetails>("GET", pathOf(name)));
  }

  /** Sandboxes, the newest first; those that run, unless `all` or `status` is given. */
  async list(options: ListOptions = {}): Promise<SandboxSummary[]> {
    return (await this.ask<SandboxList>("GET", "/v1/sandboxes", { query: { ...options } })).sandboxes;
  }

  /** What happens to sandboxes, as it happens. Ends when the iteration does. */
  async *events(
    options: Abort & { since?: string; sandbox?: string } = {},
  ): AsyncGenerator<SandboxEvent, void> {
    const { signal, ...query } = options;
    const transport = await this.transport();
    yield* transport.values<SandboxEvent>("GET", "/v1/events", { query, signal });
  }

  /** What all running sandboxes use. */
  async stats(): Promise<SandboxStats[]> {
    return this.ask("GET", "/v1/stats");
  }

  // Images

  /** The images in the store, by name. */
  async images(): Promise<Image[]> {
    return (await this.ask<ImageList>("GET", "/v1/images")).images;
  }

  /** Everything about an image in the store. */
  async image(image: string): Promise<ImageDetails> {
    return this.ask("GET", "/v1/images/inspect", { query: { image } });
  }

  /** Fetches an image. */
  async pull(image: string, options: Abort & Pick<PullRequest, "platform"> = {}): Promise<Image> {
    for await (const event of this.pullEvents(image, options)) {
      if (event.event === "done") return event.image;
    }
    throw new ApiError("pull_failed", `${image}: the server ended before the image was there`);
  }

  /** Fetches an image and tells the progress. The last event is `done`. */
  async *pullEvents(
    image: string,
    options: Abort & Pick<PullRequest, "platform"> = {},
  ): AsyncGenerator<PullEvent, void> {
    const { signal, ...rest } = options;
    const transport = await this.transport();
    const body: PullRequest = { image, ...rest };
    for await (const event of transport.values<PullEvent>("POST", "/v1/images/pull", { body, signal })) {
      if (event.event === "failed") throw new ApiError(event.code, event.message);
      yield event;
    }
  }

  /** Removes an image that no sandbox needs. */
  async removeImage(image: string): Promise<void> {
    await this.ask("DELETE", "/v1/images", { query: { image } });
  }

  // Volumes

  /** The volumes, by name. */
  async volumes(): Promise<VolumeInfo[]> {
    return (await this.ask<VolumeList>("GET", "/v1/volumes")).volumes;
  }

  /** Makes a volume; one that is there already stays as it is. */
  async createVolume(request: CreateVolume = {}): Promise<VolumeInfo> {
    return this.ask("POST", "/v1/volumes", { body: request });
  }

  /** Removes a volume that no sandbox uses, with its content. */
  async removeVolume(name: string): Promise<void> {
    await this.ask("DELETE", `/v1/volumes/${encodeURIComponent(name)}`);
  }

  // Projects

  /** Brings a project up; `config` has the keys of `monocore.toml`. */
  async up(config: Record<string, unknown>): Promise<ProjectSteps> {
    return this.ask("POST", "/up", { body: config });
  }

  /** Stops and removes services: a group's, those named, or all. */
  async down(request: DownRequest = {}): Promise<ProjectSteps> {
    return this.ask("POST", "/down", { body: request });
  }

  /** The sandboxes of all projects, or of one. */
  async status(project?: string): Promise<ServiceStatus[]> {
    return (await this.ask<StatusReport>("GET", "/status", { query: { project } })).services;
  }

  // The server

  /** Versions of the server's program and guest. */
  async version(): Promise<VersionInfo> {
    return this.ask("GET", "/v1/version");
  }

  /** Whether the server's machine can run sandboxes. */
  async info(): Promise<HostReport> {
    return this.ask("GET", "/v1/info");
  }

  private async ask<T>(
    method: string,
    path: string,
    asked: Parameters<Transport["ask"]>[2] = {},
  ): Promise<T> {
    return (await this.transport()).ask<T>(method, path, asked);
  }
}
