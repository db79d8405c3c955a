"""Makes, uses and kills sandboxes, and looks whether anything is left: `cycles.py NUMBER IMAGE`.

Machines may be played: `echo` says its number, and more, and `sleep` runs until it is killed.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from pathlib import Path

from monocore import Client, Sandbox, _server


def descriptors() -> int:
    (server,) = _server._servers.values()
    return len(os.listdir(f"/proc/{server._process.pid}/fd"))


def processes(ids: list[str]) -> list[str]:
    """The command lines in which one of the sandboxes is named."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if any(one in line for one in ids):
            found.append(line)
    return found


async def cycle(client: Client, number: int) -> tuple[str, str]:
    async with Sandbox(sys.argv[2], memory="128m", client=client) as sb:
        assert (await sb.exec(["echo", str(number)])).stdout.endswith(f"{number}\n")
        async with sb.spawn(["sleep", "1000"]):
            pass  # It is killed with its block.
        assert processes([sb.id]), "the supervisor is seen"
        return sb.id, sb.name


async def main(number: int) -> None:
    home, began = Path(os.environ["MONOCORE_HOME"]), time.monotonic()
    async with Client() as client:
        made = [await cycle(client, 0)]
        before = descriptors()
        made += [await cycle(client, turn) for turn in range(1, number)]
        after, ended = descriptors(), time.monotonic()
    ids = [id for id, _ in made]
    marks = {*ids, *(name for _, name in made)}
    # A supervisor ends after the last file of its sandbox.
    while processes(ids) and time.monotonic() < ended + 30:
        await asyncio.sleep(0.1)
    left = [str(path) for path in home.glob("*/*") if path.name in marks] + processes(ids)
    assert not left, left
    assert after <= before + 2, f"{before} descriptors of the server became {after}"
    print(f"{number} cycles left nothing, {ended - began:.0f} s; {after} descriptors of the server")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
