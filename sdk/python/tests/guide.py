"""Runs the examples of a guide, and compares what they print with what the guide says.

`python guide.py GUIDE [NUMBER…]`: all examples, or those with these numbers, from 1.
"""

from __future__ import annotations

import ast
import asyncio
import builtins
import inspect
import re
import sys
import time
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SAID = re.compile(r"  # → (.*)$", re.MULTILINE)


async def run(example: str) -> None:
    """Runs an example with `await` at its top."""
    printed: list[str] = []

    def note(*values: Any, **_: Any) -> None:
        printed.append(" ".join(map(str, values)).replace("\n", "↵"))

    code = compile(example, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    scope = {"__name__": "__main__", "__builtins__": {**vars(builtins), "print": note}}
    result = eval(code, scope)
    if inspect.isawaitable(result):
        await result
    expected = _SAID.findall(example)
    if printed != expected:
        raise AssertionError(f"the guide says {expected}, and {printed} was printed")


def main(guide: str, *numbers: str) -> None:
    examples = _BLOCK.findall(Path(guide).read_text())
    assert examples, "no example was found"
    for number, example in enumerate(examples, 1):
        if not numbers or str(number) in numbers:
            began = time.monotonic()
            asyncio.run(run(example))
            print(f"example {number}: {time.monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
