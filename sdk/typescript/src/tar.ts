// Tar archives: what a sandbox sends is read, what it is sent is written.

/** An entry without its content. */
export interface Entry {
  name: string;
  kind: "file" | "directory" | "symlink" | "link" | "other";
  mode: number;
  size: number;
  /** Where a link leads. */
  target: string;
}

const BLOCK = 512;
// Names and attributes of an entry, far beyond what Linux allows.
const LONGEST_EXTENSION = 1 << 20;

/** Reads an archive. Each entry's content must be read before the next entry is asked for. */
export async function* entries(
  source: AsyncIterable<Buffer>,
): AsyncGenerator<Entry & { content: AsyncGenerator<Buffer, void> }, void> {
  const input = new Input(source);
  let extended: Map<string, string> = new Map();
  for (;;) {
    const header = await input.exactly(BLOCK);
    if (header === undefined || header.every((byte) => byte === 0)) return;
    checkSum(header);
    const kind = String.fromCharCode(header[156] ?? 0);
    const size = Number(extended.get("size") ?? octal(header, 124, 12));
    if (!Number.isSafeInteger(size) || size < 0) throw damaged("a size");
    if ("xgLK".includes(kind)) {
      if (size > LONGEST_EXTENSION) throw damaged("a header that is too long");
      const text = (await input.exactly(padded(size)))?.subarray(0, size);
      if (text === undefined) throw damaged("an end too early");
      if (kind === "x") extended = new Map([...extended, ...attributes(text)]);
      if (kind === "L") extended.set("path", string(text, 0, size));
      if (kind === "K") extended.set("linkpath", string(text, 0, size));
      continue;
    }
    const prefix = string(header, 257, 5) === "ustar" ? string(header, 345, 155) : "";
    const short = string(header, 0, 100);
    const name = extended.get("path") ?? (prefix === "" ? short : `${prefix}/${short}`);
    const target = extended.get("linkpath") ?? string(header, 157, 100);
    extended = new Map();
    const content = input.take(kindOf(kind) === "file" ? size : 0);
    yield { name, kind: kindOf(kind), mode: octal(header, 100, 8) & 0o7777, size, target, content };
    // What the caller left, and the padding.
    for await (const _ of content);
    await input.skip(kindOf(kind) === "file" ? padded(size) - size : padded(size));
  }
}

/** The header of an entry, its extension included. */
export function header(entry: Omit<Entry, "kind"> & { kind: "file" | "directory" | "symlink" }): Buffer {
  const attributes: [string, string][] = [];
  if (Buffer.byteLength(entry.name) > 100) attributes.push(["path", entry.name]);
  if (Buffer.byteLength(entry.target) > 100) attributes.push(["linkpath", entry.target]);
  if (entry.size > 0o77777777777) attributes.push(["size", String(entry.size)]);
  const type = { file: "0", directory: "5", symlink: "2" }[entry.kind];
  const size = entry.kind === "file" ? entry.size : 0;
  const own = block(entry.name, type, entry.mode, size, entry.target);
  if (attributes.length === 0) return own;
  const text = Buffer.from(attributes.map(([key, value]) => record(key, value)).join(""));
  const extension = Buffer.alloc(padded(text.length));
  text.copy(extension);
  return Buffer.concat([block("pax", "x", 0o644, text.length, ""), extension, own]);
}

/** What follows a content of this size, so that the next header begins at a block. */
export function padding(size: number): Buffer {
  return Buffer.alloc(padded(size) - size);
}

/** The end of an archive. */
export const END = Buffer.alloc(2 * BLOCK);

function block(name: string, type: string, mode: number, size: number, target: string): Buffer {
  const out = Buffer.alloc(BLOCK);
  const put = (at: number, length: number, text: string) => out.write(text, at, length);
  const number = (at: number, length: number, value: number) =>
    put(at, length, value.toString(8).padStart(length - 1, "0"));
  put(0, 100, name);
  number(100, 8, mode);
  number(108, 8, 0);
  number(116, 8, 0);
  number(124, 12, Math.min(size, 0o77777777777));
  number(136, 12, Math.floor(Date.now() / 1000));
  put(156, 1, type);
  put(157, 100, target);
  put(257, 8, "ustar\u000000");
  out.fill(" ", 148, 156);
  number(148, 7, sum(out));
  return out;
}

/** `LENGTH KEY=VALUE\n`, where the length counts itself. */
function record(key: string, value: string): string {
  const rest = Buffer.byteLength(` ${key}=${value}\n`);
  let length = rest;
  while (rest + String(length).length !== length) length = rest + String(length).length;
  return `${length} ${key}=${value}\n`;
}

function attributes(text: Buffer): Map<string, string> {
  const found = new Map<string, string>();
  for (let at = 0; at < text.length; ) {
    const space = text.indexOf(" ", at);
    const length = space < 0 ? NaN : Number(text.toString("latin1", at, space));
    const end = at + length;
    if (!(length > 0) || end > text.length || end < space + 2) throw damaged("an attribute");
    const pair = text.toString("utf8", space + 1, end - 1);
    const equals = pair.indexOf("=");
    if (equals > 0) found.set(pair.slice(0, equals), pair.slice(equals + 1));
    at = end;
  }
  return found;
}

function kindOf(type: string): Entry["kind"] {
  switch (type) {
    case "0":
    case "7":
    case "\0":
      return "file";
    case "1":
      return "link";
    case "2":
      return "symlink";
    case "5":
      return "directory";
    default:
      return "other";
  }
}

function string(bytes: Buffer, at: number, length: number): string {
  const end = bytes.indexOf(0, at);
  return bytes.toString("utf8", at, end < 0 ? at + length : Math.min(end, at + length));
}

function octal(bytes: Buffer, at: number, length: number): number {
  if ((bytes[at] ?? 0) & 0x80) {
    // Large numbers are binary.
    const digits = bytes.subarray(at + 1, at + length);
    return digits.reduce((value, byte) => value * 256 + byte, 0);
  }
  return parseInt(string(bytes, at, length).trim() || "0", 8);
}

function sum(bytes: Buffer): number {
  return bytes.reduce((total, byte) => total + byte, 0);
}

function checkSum(bytes: Buffer): void {
  const blanked = Buffer.from(bytes).fill(" ", 148, 156);
  if (sum(blanked) !== octal(bytes, 148, 8)) throw damaged("a header");
}

function padded(size: number): number {
  return Math.ceil(size / BLOCK) * BLOCK;
}

function damaged(what: string): Error {
  return new Error(`the archive is damaged: ${what}`);
}

/** Bytes of a stream, by number. */
class Input {
  private readonly source: AsyncIterator<Buffer>;
  private rest: Buffer = Buffer.alloc(0);

  constructor(source: AsyncIterable<Buffer>) {
    this.source = source[Symbol.asyncIterator]();
  }

  /** Some bytes, at most `most`; nothing at the end. */
  private async some(most: number): Promise<Buffer | undefined> {
    while (this.rest.length === 0) {
      const next = await this.source.next();
      if (next.done === true) return undefined;
      this.rest = next.value;
    }
    const taken = this.rest.subarray(0, most);
    this.rest = this.rest.subarray(taken.length);
    return taken;
  }

  /** So many bytes; nothing if the end comes first, which it may only at once. */
  async exactly(count: number): Promise<Buffer | undefined> {
    const parts: Buffer[] = [];
    for (let left = count; left > 0; ) {
      const part = await this.some(left);
      if (part === undefined) {
        if (left === count) return undefined;
        throw damaged("an end too early");
      }
      parts.push(part);
      left -= part.length;
    }
    return Buffer.concat(parts);
  }

  async *take(count: number): AsyncGenerator<Buffer, void> {
    for (let left = count; left > 0; ) {
      const part = await this.some(left);
      if (part === undefined) throw damaged("an end too early");
      left -= part.length;
      yield part;
    }
  }

  async skip(count: number): Promise<void> {
    for await (const _ of this.take(count));
  }
}
