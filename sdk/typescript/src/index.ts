// Sandboxes for untrusted code: OCI images as microVMs.

export { Client, type ClientOptions, type ListOptions } from "./client.js";
export { Command, type Output, type OutputLine, type StreamName } from "./command.js";
export {
  ApiError,
  BinaryNotFound,
  CommandFailed,
  ConnectionFailed,
  MonocoreError,
  ServerNotStarted,
} from "./errors.js";
export { type Abort, type FileInfo, Files } from "./files.js";
export type { Language } from "./languages.js";
export type * as models from "./models.js";
export {
  Sandbox,
  type ExecOptions,
  type OpenOptions,
  type RunOptions,
  type SpawnOptions,
} from "./sandbox.js";
