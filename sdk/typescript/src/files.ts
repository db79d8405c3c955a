// Files of a sandbox, whether it runs or not. They travel as tar archives.

import { constants, createReadStream, createWriteStream } from "node:fs";
import { chmod, copyFile, lstat, mkdir, readdir, readlink, rm, stat, symlink } from "node:fs/promises";
import * as path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";

import { ApiError } from "./errors.js";
import type { FileKind, FileList } from "./models.js";
import type { Sandbox } from "./sandbox.js";
import * as tar from "./tar.js";
import { parts, pathOf } from "./transport.js";

/** The most entries that the server lists. */
const MOST_LISTED = 10_000;

/** An entry of a directory. */
export interface FileInfo {
  name: string;
  path: string;
  kind: FileKind;
  size: number;
  /** Permissions, such as `0o644`. */
  mode: number;
  modified: Date;
}

/** Ends a request. */
export interface Abort {
  signal?: AbortSignal | undefined;
}

/** A sandbox's files. Paths in the sandbox are absolute. */
export class Files {
  private readonly sandbox: Sandbox;

  /** @internal */
  constructor(sandbox: Sandbox) {
    this.sandbox = sandbox;
  }

  /** A file's content. A symbolic link is followed. */
  async read(file: string, abort: Abort = {}): Promise<Buffer> {
    for await (const entry of this.archive(file, abort)) {
      if (entry.kind !== "file") break;
      const parts: Buffer[] = [];
      for await (const part of entry.content) parts.push(part);
      return Buffer.concat(parts);
    }
    throw new Error(`${file}: not a file`);
  }

  /** A file's content as UTF-8. */
  async readText(file: string, abort: Abort = {}): Promise<string> {
    return (await this.read(file, abort)).toString();
  }

  /** Makes or replaces a file; directories on the way to it are made. */
  async write(
    file: string,
    data: string | Uint8Array,
    options: Abort & { mode?: number } = {},
  ): Promise<void> {
    const content = Buffer.from(data as Uint8Array);
    const name = absolute(file).slice(1);
    const entry = { name, kind: "file", mode: options.mode ?? 0o644, target: "" } as const;
    const archive = [
      tar.header({ ...entry, size: content.length }),
      content,
      tar.padding(content.length),
      tar.END,
    ];
    await this.unpack(Readable.from([Buffer.concat(archive)]), options);
  }

  /** The entries of a directory, by name; at most 10,000. */
  async list(folder: string, abort: Abort = {}): Promise<FileInfo[]> {
    const transport = await this.sandbox.client.transport();
    const where = pathOf(this.sandbox.id, "files", "list");
    const query = { path: absolute(folder) };
    const listed = await transport.ask<FileList>("GET", where, { query, ...abort });
    if (listed.total > MOST_LISTED) {
      throw new ApiError("copy_failed", `${folder}: ${listed.total} entries, more than are listed`);
    }
    return listed.entries.map((one) => ({
      name: one.name,
      path: `${folder.replace(/\/$/, "")}/${one.name}`,
      kind: one.kind,
      size: one.size_bytes,
      mode: one.mode,
      modified: new Date(one.modified * 1000),
    }));
  }

  /**
   * Copies a file or directory of this machine to `remote`, which then is that file or directory.
   * An existing directory keeps what else is in it.
   */
  async upload(local: string, remote: string, abort: Abort = {}): Promise<void> {
    await stat(local);
    const top = absolute(remote).slice(1).replace(/\/$/, "");
    await this.unpack(Readable.from(packed(local, top)), abort);
  }

  /**
   * Copies a file or directory of the sandbox to `local`, which then is that file or directory.
   * Entries that lead out of it are refused.
   */
  async download(remote: string, local: string, abort: Abort = {}): Promise<void> {
    let top: string | undefined;
    for await (const entry of this.archive(remote, abort)) {
      const name = entry.name.replace(/\/+$/, "");
      if (top === undefined) {
        top = name;
        if (entry.kind !== "directory") return putFile(entry, local);
        await mkdir(local, { recursive: true });
      } else {
        await put(entry, local, name, top);
      }
    }
  }

  /** Removes a file or directory. The image must have `rm`. */
  async remove(file: string, abort: Abort = {}): Promise<void> {
    await this.sandbox.exec(["rm", "-rf", "--", absolute(file)], { ...abort, check: true });
  }

  private async *archive(file: string, abort: Abort): ReturnType<typeof tar.entries> {
    const transport = await this.sandbox.client.transport();
    const query = { path: absolute(file), follow: true };
    const where = pathOf(this.sandbox.id, "files");
    const answer = await transport.stream("GET", where, { query, ...abort });
    yield* tar.entries(parts(answer, abort.signal));
  }

  private async unpack(content: Readable, abort: Abort): Promise<void> {
    const transport = await this.sandbox.client.transport();
    const where = pathOf(this.sandbox.id, "files");
    await transport.ask("PUT", where, { query: { path: "/" }, content, signal: abort.signal });
  }
}

type Received = tar.Entry & { content: AsyncIterable<Buffer> };

/** Puts an entry of a directory in its place. Nothing may reach what lies beside `root`. */
export async function put(
  entry: Received,
  root: string,
  whole: string,
  top: string,
): Promise<void> {
  const name = inside(whole, top);
  const parts = name.split("/");
  let folder = root;
  for (const part of parts.slice(0, -1)) {
    folder = path.join(folder, part);
    await directory(folder);
  }
  const place = path.join(folder, parts.at(-1) ?? "");
  if (entry.kind === "directory") return directory(place);
  if (entry.kind === "symlink") {
    const target = path.posix.normalize(path.posix.join(path.posix.dirname(name), entry.target));
    if (entry.target.startsWith("/") || target.split("/")[0] === "..") {
      throw new Error(`${entry.name}: a link to ${entry.target}, which leads out`);
    }
    await rm(place, { force: true });
    return symlink(entry.target, place);
  }
  if (entry.kind === "link") {
    const source = await within(root, inside(entry.target, top));
    await rm(place, { force: true });
    return copyFile(source, place, constants.COPYFILE_EXCL);
  }
  await putFile(entry, place);
}

/** The file of this name, which no symbolic link leads to. */
async function within(root: string, name: string): Promise<string> {
  let place = root;
  for (const part of name.split("/")) {
    place = path.join(place, part);
    if ((await lstat(place)).isSymbolicLink()) throw new Error(`${name}: a link to a link`);
  }
  return place;
}

/** A real directory; not a link to one. */
async function directory(place: string): Promise<void> {
  const found = await lstat(place).catch(() => undefined);
  if (found?.isDirectory() !== true) await mkdir(place);
}

async function putFile(entry: Received, place: string): Promise<void> {
  if (entry.kind !== "file") {
    throw new Error(`${entry.name}: neither a file, nor a directory, nor a link`);
  }
  // A link of that name is replaced, not written through.
  await rm(place, { force: true });
  await pipeline(entry.content, createWriteStream(place, { flags: "wx" }));
  await chmod(place, entry.mode & 0o777);
}

/** The name below `top`. */
export function inside(name: string, top: string): string {
  const parts = name.split("/");
  if (parts.includes("..") || !name.startsWith(`${top}/`)) {
    throw new Error(`${name}: lies outside of ${top}`);
  }
  return parts.slice(top.split("/").length).filter((part) => part !== "" && part !== ".").join("/");
}

async function* packed(local: string, name: string): AsyncGenerator<Buffer, void> {
  yield* packedEntry(local, name);
  yield tar.END;
}

async function* packedEntry(local: string, name: string): AsyncGenerator<Buffer, void> {
  const found = await lstat(local);
  const mode = found.mode & 0o7777;
  if (found.isSymbolicLink()) {
    yield tar.header({ name, kind: "symlink", mode, size: 0, target: await readlink(local) });
  } else if (found.isDirectory()) {
    yield tar.header({ name: `${name}/`, kind: "directory", mode, size: 0, target: "" });
    for (const child of (await readdir(local)).sort()) {
      yield* packedEntry(path.join(local, child), `${name}/${child}`);
    }
  } else if (found.isFile()) {
    yield tar.header({ name, kind: "file", mode, size: found.size, target: "" });
    let left = found.size;
    // A file that grows meanwhile is cut at the size it had.
    const options = left === 0 ? {} : { end: left - 1 };
    for await (const part of left === 0 ? [] : createReadStream(local, options)) {
      left -= (part as Buffer).length;
      yield part as Buffer;
    }
    if (left > 0) throw new Error(`${local}: the file became shorter`);
    yield tar.padding(found.size);
  }
}

function absolute(file: string): string {
  if (!file.startsWith("/")) throw new TypeError(`${file}: give an absolute path`);
  return file;
}
