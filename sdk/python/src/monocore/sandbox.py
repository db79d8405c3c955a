"""A sandbox, and what can be done with it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

from ._transport import Transport, path_of
from .command import Command
from .errors import CommandFailed, ConnectionFailed
from .files import Files
from .languages import command_for, language_of
from .models import (
    Change,
    CreateSandbox,
    ExecResult,
    LogLine,
    ProcessInfo,
    PublishedPort,
    SandboxDetails,
    SandboxStats,
    TerminalSize,
    TextOrNumber,
    UpdateSandbox,
)

if TYPE_CHECKING:
    from .client import Client

_IDLE = ["sleep", "infinity"]


class Sandbox:
    """A sandbox.

    `async with Sandbox("python:3.12") as sb:` makes one that is removed at the end of the block,
    and also if this program is killed. `Client.create` makes one that stays, `Client.get` finds
    one. Settings are the fields of `CreateSandbox`. Without a `command` the sandbox idles, so that
    commands can be run in it; with an empty one it runs the image's own.
    """

    def __init__(
        self,
        image: str | None = None,
        /,
        *,
        client: Client | None = None,
        **settings: Unpack[CreateSandbox],
    ) -> None:
        from .client import Client

        self._client = client or Client()
        self._owns_client = client is None
        self._body = settings_of(image, settings)
        self._image = image or str(settings.get("image", ""))
        self._id: str | None = None
        self._name = str(settings.get("name", ""))
        self._lease: contextlib.AsyncExitStack | None = None
        self.files = Files(self)
        """The sandbox's files."""

    @classmethod
    def _existing(cls, client: Client, id: str, name: str, image: str) -> Sandbox:
        sandbox = cls(image, client=client)
        sandbox._id, sandbox._name = id, name
        return sandbox

    @classmethod
    async def _found(cls, client: Client, transport: Transport, name: str) -> Sandbox:
        found = await transport.ask("GET", path_of(name))
        return cls._existing(client, found["id"], found["name"], found["image"])

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits."""
        if self._id is None:
            raise RuntimeError("the sandbox was not started: use `async with`, or await start()")
        return self._id

    @property
    def name(self) -> str:
        """The name, which the server makes up where none was given."""
        return self._name

    @property
    def image(self) -> str:
        """The image as it was written, or the root directory."""
        return self._image

    def __repr__(self) -> str:
        return f"Sandbox({self._image!r}, name={self._name!r})"

    # Life

    async def __aenter__(self) -> Self:
        if self._id is None:
            await self._open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _open(self) -> None:
        """Makes the sandbox under a lease: it goes with this program's connection."""
        lease = contextlib.AsyncExitStack()
        try:
            if self._owns_client:
                lease.push_async_callback(self._client.close)
            transport = await self._client.transport()
            values = transport.values(
                "POST", "/v1/leases", SandboxDetails.from_json, body=self._body
            )
            await lease.enter_async_context(contextlib.aclosing(values))
            made = await anext(values, None)
            if made is None:
                raise ConnectionFailed("the server ended before the sandbox was made")
        except BaseException:
            await lease.aclose()
            raise
        self._lease, self._id, self._name = lease, made.id, made.name

    async def close(self) -> None:
        """Removes a sandbox that was made by `async with`; any other stays."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        # Where removing is cut short, the server does it when the lease's connection closes.
        async with lease:
            await self.remove(force=True)

    async def start(self) -> None:
        """Starts a sandbox that does not run; one that was not made yet is made as by `async with`."""
        if self._id is None:
            await self._open()
            return
        await self._ask("POST", "start")

    async def stop(
        self, *, timeout: TextOrNumber | None = None, signal: str | None = None
    ) -> SandboxDetails:
        """Asks the command to end, kills it after the grace period, and waits for the end."""
        body = {"timeout": timeout, "signal": signal}
        return SandboxDetails.from_json(await self._ask("POST", "stop", body=body))

    async def restart(self, *, timeout: TextOrNumber | None = None) -> None:
        """Stops the sandbox and starts it again."""
        await self._ask("POST", "restart", body={"timeout": timeout})

    async def kill(self, signal: TextOrNumber | None = None) -> None:
        """Sends the command a signal; SIGKILL, the default, ends the machine as well."""
        await self._ask("POST", "kill", body={"signal": signal})

    async def wait(self) -> int:
        """Waits until the sandbox's own command has ended; its exit code."""
        return int((await self._ask("POST", "wait"))["exit_code"])

    async def pause(self) -> None:
        """Stops the virtual machine's processors."""
        await self._ask("POST", "pause")

    async def unpause(self) -> None:
        """Lets a paused sandbox go on."""
        await self._ask("POST", "unpause")

    async def remove(self, *, force: bool = False) -> None:
        """Removes the sandbox with its disk and logs; with `force` also one that runs."""
        transport = await self._client.transport()
        await transport.ask("DELETE", path_of(self.id), query={"force": force})

    async def update(self, **changes: Unpack[UpdateSandbox]) -> SandboxDetails:
        """Changes name, memory, cpus or restart policy; more than its machine has at the next start."""
        transport = await self._client.transport()
        answer = await transport.ask("PATCH", path_of(self.id), body=dict(changes))
        self._name = answer["name"]
        return SandboxDetails.from_json(answer)

    # Commands

    async def exec(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
        stdin: str | bytes | None = None,
        timeout: TextOrNumber | None = None,
        max_output_bytes: int | None = None,
        check: bool = False,
    ) -> ExecResult:
        """Runs a command to its end; its output and exit code.

        A `timeout` (`"30s"`, or seconds) kills the command: `timed_out` is true and the exit code
        124. `max_output_bytes` of each stream are kept (1 MiB; at most 16 MiB). With `check` any
        exit code but 0 raises `CommandFailed`. If this task is cancelled, the command is killed.
        """
        body: dict[str, Any] = {
            "command": list(command),
            "env": dict(env or {}),
            "workdir": workdir,
            "user": user,
            "timeout": timeout,
            "max_output_bytes": max_output_bytes,
            **_stdin(stdin),
        }
        result = ExecResult.from_json(await self._ask("POST", "exec", body=body))
        if check and result.exit_code != 0:
            raise CommandFailed(list(command), result)
        return result

    async def run(
        self,
        code: str,
        *,
        language: str | None = None,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
        stdin: str | bytes | None = None,
        timeout: TextOrNumber | None = None,
        max_output_bytes: int | None = None,
        check: bool = False,
    ) -> ExecResult:
        """Runs code: `python`, `javascript`, `sh`, `bash`, `ruby`, `perl` or `php`.

        Without a `language` the image's name decides (`node:22` runs JavaScript), and Python is the
        rest. The image must have the interpreter. The other arguments are those of `exec`.
        """
        return await self.exec(
            command_for(language or language_of(self._image), code),
            env=env,
            workdir=workdir,
            user=user,
            stdin=stdin,
            timeout=timeout,
            max_output_bytes=max_output_bytes,
            check=check,
        )

    def spawn(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
        stdin: bool = False,
        terminal: TerminalSize | None = None,
    ) -> Command:
        """A command with streams, to be used with `async with`; it is killed at the block's end."""
        start = {
            "command": list(command),
            "env": dict(env or {}),
            "workdir": workdir,
            "user": user,
            "stdin": stdin,
            "terminal": terminal,
        }
        return Command(self._client, path_of(self.id, "exec", "ws"), start)

    async def detach(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
    ) -> int:
        """Starts a command that goes on by itself; its process ID in the sandbox."""
        body = {
            "command": list(command),
            "env": dict(env or {}),
            "workdir": workdir,
            "user": user,
            "detach": True,
        }
        return int((await self._ask("POST", "exec", body=body))["pid"])

    # What can be seen

    async def inspect(self) -> SandboxDetails:
        """Everything about the sandbox, as it is now."""
        return SandboxDetails.from_json(await self._ask("GET"))

    async def ports(self) -> list[PublishedPort]:
        """The host's ports that lead to the sandbox."""
        return (await self.inspect()).ports

    async def url(self, port: int, scheme: str = "http") -> str:
        """The address on the host of a published TCP port of the sandbox."""
        for found in await self.ports():
            if found.guest_port == port and found.protocol == "tcp":
                address = found.address
                if address in ("0.0.0.0", "::"):
                    address = "127.0.0.1"
                host = f"[{address}]" if ":" in address else address
                return f"{scheme}://{host}:{found.host_port}"
        raise LookupError(f"port {port} is not published: give ports=['0:{port}'] for a free port")

    async def stats(self) -> SandboxStats:
        """What the sandbox uses."""
        return SandboxStats.from_json(await self._ask("GET", "stats"))

    async def processes(self) -> list[ProcessInfo]:
        """The processes of the running sandbox. The image needs no program for that."""
        found = await self._ask("GET", "processes")
        return [ProcessInfo.from_json(one) for one in found["processes"]]

    async def changes(self) -> list[Change]:
        """What the sandbox changed in its image's files."""
        found = await self._ask("GET", "changes")
        return [Change.from_json(one) for one in found["changes"]]

    async def logs(
        self, *, follow: bool = False, tail: int | None = None, since: str | None = None
    ) -> AsyncGenerator[LogLine, None]:
        """The output of the sandbox's own command; with `follow` until the sandbox ends."""
        transport = await self._client.transport()
        query = {"follow": follow, "tail": tail, "since": since}
        async for line in transport.values(
            "GET", path_of(self.id, "logs"), LogLine.from_json, query=query
        ):
            yield line

    async def _ask(
        self,
        method: str,
        *rest: str,
        body: Any = None,
    ) -> Any:
        transport = await self._client.transport()
        return await transport.ask(method, path_of(self.id, *rest), body=body)


def settings_of(image: str | None, settings: CreateSandbox) -> dict[str, Any]:
    """The body of a request for a new sandbox."""
    body: dict[str, Any] = {**settings}
    if image is not None:
        body["image"] = image
    if "command" not in body:
        body["command"] = _IDLE
        body.setdefault("entrypoint", [])
    return body


def _stdin(data: str | bytes | None) -> dict[str, str]:
    if data is None:
        return {}
    if isinstance(data, str):
        return {"stdin": data}
    import base64

    return {"stdin_base64": base64.b64encode(data).decode()}
