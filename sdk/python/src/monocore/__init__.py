"""Sandboxes for untrusted code: OCI images as microVMs.

>>> async with Sandbox("python:3.12") as sb:
...     result = await sb.run("print(1)")

The same without `async` is in `monocore.sync`.
"""

from . import models
from .client import Client
from .command import Command, Output, OutputLine
from .errors import (
    ApiError,
    BinaryNotFound,
    CommandFailed,
    ConnectionFailed,
    MonocoreError,
    ServerNotStarted,
)
from .files import FileInfo, Files
from .models import ExecResult
from .sandbox import Sandbox
from .sync import SyncClient, SyncSandbox

__all__ = [
    "ApiError",
    "BinaryNotFound",
    "Client",
    "Command",
    "CommandFailed",
    "ConnectionFailed",
    "ExecResult",
    "FileInfo",
    "Files",
    "MonocoreError",
    "Output",
    "OutputLine",
    "Sandbox",
    "ServerNotStarted",
    "SyncClient",
    "SyncSandbox",
    "models",
]
