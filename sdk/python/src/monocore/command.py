"""A running command with its streams."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from .errors import ApiError, ConnectionFailed
from .models import ServerMessage, TerminalSize

if TYPE_CHECKING:
    from .client import Client

StreamName = Literal["stdout", "stderr"]

# The server takes messages of up to 1 MiB.
_CHUNK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Output:
    """Some bytes of a stream; under a terminal all of it is `stdout`."""

    stream: StreamName
    data: bytes

    @property
    def text(self) -> str:
        """The bytes as text; what is not UTF-8 is replaced. Characters may be cut in two."""
        return self.data.decode(errors="replace")


@dataclass(frozen=True, slots=True)
class OutputLine:
    """A line of a stream, without its newline."""

    stream: StreamName
    text: str


class Command:
    """A command in a sandbox: made by `Sandbox.spawn`, started by `async with`.

    The block's end kills a command that still runs. While nobody reads the output, the command
    waits; nothing is lost.
    """

    def __init__(self, client: Client, path: str, start: dict[str, Any]) -> None:
        self._client = client
        self._path = path
        self._start = start
        self._socket: ClientConnection | None = None
        self._exit_code: int | None = None

    async def __aenter__(self) -> Self:
        transport = await self._client.transport()
        self._socket = await transport.websocket(self._path)
        try:
            await self._send(json.dumps(self._start))
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def exit_code(self) -> int | None:
        """The exit code, once the command has ended and all its output was read."""
        return self._exit_code

    async def __aiter__(self) -> AsyncGenerator[Output, None]:
        """The output of both streams, as it comes."""
        while self._exit_code is None:
            message = await self._receive()
            if isinstance(message, bytes):
                stream: StreamName = "stderr" if message[:1] == b"\x02" else "stdout"
                yield Output(stream, message[1:])
            else:
                self._finish(ServerMessage.from_json(json.loads(message)))

    async def lines(self) -> AsyncGenerator[OutputLine, None]:
        """The output of both streams by lines, each when it is whole."""
        rest: dict[StreamName, bytes] = {"stdout": b"", "stderr": b""}
        async for output in self:
            *whole, rest[output.stream] = (rest[output.stream] + output.data).split(b"\n")
            for line in whole:
                yield OutputLine(output.stream, line.decode(errors="replace"))
        for stream, last in rest.items():
            if last:
                yield OutputLine(stream, last.decode(errors="replace"))

    async def wait(self) -> int:
        """Waits for the end; output that was not read is dropped. The exit code."""
        async for _ in self:
            pass
        assert self._exit_code is not None
        return self._exit_code

    async def read(self) -> tuple[bytes, bytes]:
        """The rest of both streams, output and diagnostics."""
        streams = {"stdout": bytearray(), "stderr": bytearray()}
        async for output in self:
            streams[output.stream] += output.data
        return bytes(streams["stdout"]), bytes(streams["stderr"])

    async def write(self, data: str | bytes) -> None:
        """Writes to the command's input; waits while the command does not take it."""
        if not self._start["stdin"]:
            raise ValueError("the command has no input: spawn it with stdin=True")
        whole = data.encode() if isinstance(data, str) else data
        for at in range(0, len(whole), _CHUNK):
            await self._send(b"\x00" + whole[at : at + _CHUNK])

    async def end_input(self) -> None:
        """Ends the command's input."""
        await self._send(json.dumps({"type": "stdin_end"}))

    async def resize(self, rows: int, columns: int) -> None:
        """Gives the command's terminal another size."""
        size: TerminalSize = {"rows": rows, "columns": columns}
        await self._send(json.dumps({"type": "resize", **size}))

    async def signal(self, signal: str) -> None:
        """Sends the command a signal, such as `INT`."""
        await self._send(json.dumps({"type": "signal", "signal": signal}))

    async def close(self) -> None:
        """Kills the command if it still runs."""
        socket, self._socket = self._socket, None
        if socket is None:
            return
        if self._exit_code is not None:
            await socket.close()
        else:
            # Not the closing handshake: its answer would come behind output that nobody reads.
            socket.transport.abort()
            await socket.wait_closed()

    def _finish(self, last: ServerMessage) -> None:
        if last.type == "error":
            self._exit_code = -1
            raise ApiError(last.code or "internal", last.message or "the command failed")
        self._exit_code = last.exit_code or 0

    async def _receive(self) -> str | bytes:
        try:
            return await self._open_socket().recv()
        except ConnectionClosed as closed:
            raise ConnectionFailed("the connection to the command broke") from closed

    async def _send(self, message: str | bytes) -> None:
        try:
            await self._open_socket().send(message)
        except ConnectionClosed as closed:
            raise ConnectionFailed("the command has ended, or its connection broke") from closed

    def _open_socket(self) -> ClientConnection:
        if self._socket is None:
            raise RuntimeError("the command does not run: use `async with`")
        return self._socket
