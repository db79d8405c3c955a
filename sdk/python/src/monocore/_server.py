"""A private server: `monocore serve --private`, started on demand, one for the whole process.

The server ends when its standard input does. So it ends when the last client of this process is
closed, and also when this process is killed: the kernel closes the pipe.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections import deque

from .errors import BinaryNotFound, ServerNotStarted

_READY = "listening on unix:"


class PrivateServer:
    """A running server and the number of its clients."""

    def __init__(self, binary: str) -> None:
        self.binary = binary
        self.clients = 0
        self.pid = os.getpid()
        self._said: deque[str] = deque(maxlen=20)
        environment = {"MONOCORE_LOG": "error", **os.environ}
        self._process = subprocess.Popen(
            [binary, "serve", "--private"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._errors = threading.Thread(target=self._keep_errors, daemon=True)
        self._errors.start()
        assert self._process.stdout is not None
        line = self._process.stdout.readline().strip()
        if not line.startswith(_READY):
            self.end()
            said = "\n".join(self._said) or line or "it said nothing"
            raise ServerNotStarted(f"{binary} serve --private: {said}")
        self.socket = line.removeprefix(_READY)

    def _keep_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._said.append(line.rstrip("\n"))

    def end(self) -> None:
        """Ends the server and waits for its end: leased sandboxes are gone afterwards."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.join()
        assert self._process.stderr is not None
        self._process.stderr.close()

    def is_usable(self, binary: str) -> bool:
        """Whether a new client of this process can use the server."""
        is_own = self.pid == os.getpid() and self.binary == binary
        return is_own and self._process.poll() is None


_lock = threading.Lock()
_servers: dict[str, PrivateServer] = {}


def acquire(binary: str | None) -> PrivateServer:
    """The process's server, started if there is none. Blocks while it starts."""
    path = find_binary(binary)
    with _lock:
        server = _servers.get(path)
        if server is None or not server.is_usable(path):
            # A server of the process that this one was forked from stays that one's.
            server = _servers[path] = PrivateServer(path)
        server.clients += 1
        return server


def release(server: PrivateServer) -> None:
    """Gives a server back; the last client ends it. Blocks until it has ended."""
    with _lock:
        if server.pid != os.getpid():
            return
        server.clients -= 1
        if server.clients > 0:
            return
        if _servers.get(server.binary) is server:
            del _servers[server.binary]
    server.end()


def find_binary(binary: str | None) -> str:
    """The program: as given, else `MONOCORE_BINARY`, else from `PATH`."""
    wanted = binary or os.environ.get("MONOCORE_BINARY") or "monocore"
    found = shutil.which(wanted)
    if found is None:
        raise BinaryNotFound(
            f"{wanted}: no such program. Install monocore, set MONOCORE_BINARY to its path, or set"
            " MONOCORE_URL to a server"
        )
    return os.path.abspath(found)
