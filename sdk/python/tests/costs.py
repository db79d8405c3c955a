"""What a private server, a request and a lease cost: `python costs.py`, with `MONOCORE_BINARY`."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from monocore import SyncClient, SyncSandbox, _server


def own_memory(server: _server.PrivateServer) -> str:
    status = Path(f"/proc/{server._process.pid}/status").read_text()
    return next(line.split(":")[1].strip() for line in status.splitlines() if "RssAnon" in line)


def main() -> None:
    starts = []
    for _ in range(20):
        began = time.perf_counter()
        server = _server.acquire(None)
        starts.append(time.perf_counter() - began)
        _server.release(server)
    print(f"start of a private server: {statistics.median(starts) * 1e3:.1f} ms")
    with SyncClient() as client:
        client.version()
        began = time.perf_counter()
        for _ in range(500):
            client.version()
        print(f"request: {(time.perf_counter() - began) * 2:.2f} ms")
        began = time.perf_counter()
        for turn in range(100):
            with SyncSandbox(client=client, rootfs="/", name=f"turn-{turn}", start=False):
                pass
        print(f"lease, without a guest: {(time.perf_counter() - began) * 10:.1f} ms")
        (server,) = _server._servers.values()
        print(f"memory of the server: {own_memory(server)}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="mc") as folder:
        os.environ["MONOCORE_HOME"] = folder
        main()
