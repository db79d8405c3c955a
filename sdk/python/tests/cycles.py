"""Makes, uses and kills sandboxes, and looks whether anything is left: `python cycles.py NUMBER`."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from monocore import Client, Sandbox, _server


def descriptors() -> int:
    (server,) = _server._servers.values()
    return len(os.listdir(f"/proc/{server._process.pid}/fd"))


async def cycle(client: Client, number: int) -> str:
    async with Sandbox("python:3.12", memory="128m", client=client) as sb:
        assert (await sb.exec(["echo", str(number)])).stdout == f"{number}\n"
        async with sb.spawn(["cat"], stdin=True) as command:
            await command.write("killed with its block\n")
            await anext(aiter(command))
        return sb.id


async def main(number: int) -> None:
    home = Path(os.environ["MONOCORE_HOME"])
    async with Client() as client:
        ids = [await cycle(client, 0)]
        before = descriptors()
        ids += [await cycle(client, turn) for turn in range(1, number)]
        after = descriptors()
    left = [str(path) for path in home.glob("*/*") if path.name in ids]
    assert not left, left
    assert after <= before + 2, f"{before} descriptors of the server became {after}"
    print(f"{number} cycles left nothing; {after} descriptors of the server")


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
