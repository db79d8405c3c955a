"""HTTP and WebSocket connections to one server."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit

import httpx
from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import InvalidStatus, WebSocketException

from .errors import ApiError, ConnectionFailed

T = TypeVar("T")

# Commands and streams may be silent for as long as they like.
_TIMEOUT = httpx.Timeout(None, connect=30.0)
# Each lease and each stream is a connection. The server closes one that is idle for 15 s.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=5)


class Transport:
    """Requests to a server at `http://…`, `https://…` or `unix:PATH`."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._socket = url.removeprefix("unix:") if url.startswith("unix:") else None
        self._base = "http://monocore" if self._socket else url.rstrip("/")
        if self._socket is not None and self._socket.startswith("//"):
            self._socket = self._socket[2:]
        if self._socket is None and urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"{url}: give http://…, https://… or unix:PATH")
        self._headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=self._socket, limits=_LIMITS),
            base_url=self._base,
            headers=self._headers,
            timeout=_TIMEOUT,
        )

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: dict[str, Any] | None = None,
        content: AsyncIterator[bytes] | bytes | None = None,
    ) -> Any:
        """Sends a request; the JSON of the answer, nothing if that is empty."""

        def request() -> Awaitable[httpx.Response]:
            return self._http.request(method, path, params=_query(query), **_body(body, content))

        with _connection_errors():
            try:
                answer = await request()
            except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
                # The server may have closed an idle connection at this moment. A GET changes
                # nothing, so it is sent again on another one.
                if method != "GET":
                    raise
                answer = await request()
        _check(answer.status_code, answer.content)
        return answer.json() if answer.content else None

    @contextlib.asynccontextmanager
    async def stream(
        self, method: str, path: str, *, body: Any = None, query: dict[str, Any] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """Sends a request and gives the answer, whose body is read by the caller. The connection is
        closed at the end, wherever the body is then.
        """
        with _connection_errors():
            async with self._http.stream(
                method, path, params=_query(query), **_body(body, None)
            ) as answer:
                if answer.status_code >= 400:
                    _check(answer.status_code, await answer.aread())
                yield answer

    async def values(
        self,
        method: str,
        path: str,
        read: Callable[[Any], T],
        *,
        body: Any = None,
        query: dict[str, Any] | None = None,
    ) -> AsyncGenerator[T, None]:
        """The values of a stream of JSON lines."""
        async with self.stream(method, path, body=body, query=query) as answer:
            async for line in answer.aiter_lines():
                if line:
                    yield read(json.loads(line))

    async def websocket(self, path: str) -> ClientConnection:
        """Opens a WebSocket."""
        address = "ws" + self._base.removeprefix("http") + path
        options: dict[str, Any] = {
            "additional_headers": self._headers,
            "compression": None,
            "open_timeout": 60,
            "ping_interval": None,
        }
        with _connection_errors():
            try:
                if self._socket is not None:
                    return await unix_connect(self._socket, address, **options)
                return await connect(address, proxy=None, **options)
            except InvalidStatus as refused:
                _check(refused.response.status_code, refused.response.body or b"")
                raise


def path_of(sandbox: str, *rest: str) -> str:
    """The path of a sandbox or of something that belongs to it."""
    return "/".join(["/v1/sandboxes", quote(sandbox, safe=""), *rest])


def _query(query: dict[str, Any] | None) -> dict[str, str] | None:
    if query is None:
        return None
    as_text = {True: "true", False: "false"}
    return {
        name: as_text[value] if isinstance(value, bool) else str(value)
        for name, value in query.items()
        if value is not None
    }


def _body(body: Any, content: AsyncIterator[bytes] | bytes | None) -> dict[str, Any]:
    if content is not None:
        return {"content": content}
    return {} if body is None else {"json": body}


def _check(status: int, content: bytes | bytearray) -> None:
    if status < 400:
        return
    try:
        error = json.loads(content)["error"]
        code, message = error["code"], error["message"]
    except (ValueError, KeyError, TypeError):
        code, message = "internal", f"the server answered with the status {status}"
    raise ApiError(code, message, status)


@contextlib.contextmanager
def _connection_errors() -> Iterator[None]:
    try:
        yield
    except (httpx.TransportError, WebSocketException, OSError) as error:
        raise ConnectionFailed(f"the connection to the server: {error or type(error).__name__}") from error


async def in_thread(work: Callable[[], T]) -> T:
    """Does blocking work away from the event loop, to its end also when the task is cancelled."""
    return await asyncio.shield(asyncio.to_thread(work))
