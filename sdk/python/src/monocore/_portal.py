"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Portal:
    """The way into the loop."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self._serve, args=(ready,), name="monocore", daemon=True).start()
        ready.wait()

    def _serve(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(ready.set)
        self._loop.run_forever()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Does the work in the loop. If the caller is interrupted (Ctrl-C), so is the work, and its
        end is waited for.
        """
        future = asyncio.run_coroutine_threadsafe(_whole(work), self._loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
                self._settle()
            raise

    def _settle(self) -> None:
        """Gives cancelled work the time to clean up."""
        asyncio.run_coroutine_threadsafe(_cancelled_tasks(), self._loop).result(timeout=60)

    def iterate(self, values: AsyncIterator[T]) -> Iterator[T]:
        """The values, one after the other. The source is closed at the end, however that comes."""
        try:
            while True:
                try:
                    yield self.call(_next(values))
                except StopAsyncIteration:
                    return
        finally:
            close = getattr(values, "aclose", None)
            if close is not None:
                self.call(close())


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    task = asyncio.current_task()
    assert task is not None
    _running.add(task)
    try:
        return await work
    finally:
        _running.discard(task)


async def _next(values: AsyncIterator[T]) -> T:
    return await anext(values)


async def _cancelled_tasks() -> None:
    while cancelled := [task for task in _running if task.cancelling()]:
        await asyncio.wait(cancelled)


_running: set[asyncio.Task[Any]] = set()
_lock = threading.Lock()
_portal: Portal | None = None


def portal() -> Portal:
    """The process's portal; it ends with the process."""
    global _portal
    with _lock:
        if _portal is None or _portal.pid != os.getpid():
            # A thread does not come along with a fork.
            _portal = Portal()
        return _portal
