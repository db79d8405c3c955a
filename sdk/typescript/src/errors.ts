// What can go wrong.

import type { ErrorCode, ExecResult } from "./models.js";

/** Any failure that this package reports. */
export class MonocoreError extends Error {
  override name = "MonocoreError";
}

/** The program `monocore` is not installed, and no server was named. */
export class BinaryNotFound extends MonocoreError {
  override name = "BinaryNotFound";
}

/** `monocore serve` ended before it listened. The message has what it said. */
export class ServerNotStarted extends MonocoreError {
  override name = "ServerNotStarted";
}

/** The server cannot be reached, or the connection broke. */
export class ConnectionFailed extends MonocoreError {
  override name = "ConnectionFailed";
}

/** The server refused a request. */
export class ApiError extends MonocoreError {
  override name = "ApiError";
  /** For programs. */
  readonly code: ErrorCode;
  /** The HTTP status; 0 if the error came inside a stream. */
  readonly status: number;

  constructor(code: ErrorCode, message: string, status = 0) {
    super(message);
    this.code = code;
    this.status = status;
  }
}

/** A command that was run with `check: true` did not end with 0. */
export class CommandFailed extends MonocoreError {
  override name = "CommandFailed";
  readonly command: string[];
  readonly result: ExecResult;

  constructor(command: string[], result: ExecResult) {
    const text = result.stderr.trim() || result.stdout.trim();
    const last = text.split("\n").at(-1);
    super(`${command[0]} ended with ${result.exit_code}${last ? `: ${last}` : ""}`);
    this.command = command;
    this.result = result;
  }
}
