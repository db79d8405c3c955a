"""What can go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .models import ExecResult


class MonocoreError(Exception):
    """Any failure that this package reports."""


class BinaryNotFound(MonocoreError):
    """The program `monocore` is not installed, and no server was named."""


class ServerNotStarted(MonocoreError):
    """`monocore serve` ended before it listened. The message has what it said."""


class ConnectionFailed(MonocoreError):
    """The server cannot be reached, or the connection broke."""


class ApiError(MonocoreError):
    """The server refused a request."""

    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.code = code
        """For programs: an `ErrorCode` of the API, such as `no_such_sandbox`."""
        self.message = message
        """For people: what failed, on which input, and what to do."""
        self.status = status
        """The HTTP status; 0 if the error came inside a stream."""


class CommandFailed(MonocoreError):
    """A command that was run with `check=True` did not end with 0."""

    def __init__(self, command: list[str], result: ExecResult) -> None:
        text = result.stderr.strip() or result.stdout.strip()
        last = text.splitlines()[-1] if text else ""
        super().__init__(f"{command[0]} ended with {result.exit_code}: {last}".rstrip(": "))
        self.command = command
        self.result = result
