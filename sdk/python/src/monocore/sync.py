"""The same without `async`.

>>> with SyncSandbox("python:3.12") as sb:
...     result = sb.run("print(1)")

Everything is done by the asynchronous classes, in an event loop in a thread of its own. Ctrl-C ends
what was being waited for, and kills its command.
"""

from __future__ import annotations

import os
from builtins import list as List
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, Unpack

from . import models
from ._portal import Portal, portal
from .client import Client
from .command import Command, Output, OutputLine
from .files import FileInfo, Files
from .models import CreateSandbox, ExecResult, TerminalSize, TextOrNumber
from .sandbox import Sandbox


class SyncCommand:
    """A command with streams; see `Command`."""

    def __init__(self, portal: Portal, command: Command) -> None:
        self._portal = portal
        self._command = command

    def __enter__(self) -> Self:
        self._portal.call(self._command.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def exit_code(self) -> int | None:
        """The exit code, once the command has ended and all its output was read."""
        return self._command.exit_code

    def __iter__(self) -> Iterator[Output]:
        """The output of both streams, as it comes."""
        return self._portal.iterate(self._command.__aiter__())

    def lines(self) -> Iterator[OutputLine]:
        """The output of both streams by lines, each when it is whole."""
        return self._portal.iterate(self._command.lines())

    def wait(self) -> int:
        """Waits for the end; output that was not read is dropped. The exit code."""
        return self._portal.call(self._command.wait())

    def read(self) -> tuple[bytes, bytes]:
        """The rest of both streams, output and diagnostics."""
        return self._portal.call(self._command.read())

    def write(self, data: str | bytes) -> None:
        """Writes to the command's input; waits while the command does not take it."""
        self._portal.call(self._command.write(data))

    def end_input(self) -> None:
        """Ends the command's input."""
        self._portal.call(self._command.end_input())

    def resize(self, rows: int, columns: int) -> None:
        """Gives the command's terminal another size."""
        self._portal.call(self._command.resize(rows, columns))

    def signal(self, signal: str) -> None:
        """Sends the command a signal, such as `INT`."""
        self._portal.call(self._command.signal(signal))

    def close(self) -> None:
        """Kills the command if it still runs."""
        self._portal.call(self._command.close())


class SyncFiles:
    """A sandbox's files; see `Files`."""

    def __init__(self, portal: Portal, files: Files) -> None:
        self._portal = portal
        self._files = files

    def read(self, path: str) -> bytes:
        """A file's content. A symbolic link is followed."""
        return self._portal.call(self._files.read(path))

    def read_text(self, path: str) -> str:
        """A file's content, which must be UTF-8."""
        return self._portal.call(self._files.read_text(path))

    def write(self, path: str, data: str | bytes, *, mode: int = 0o644) -> None:
        """Makes or replaces a file; directories on the way to it are made."""
        self._portal.call(self._files.write(path, data, mode=mode))

    def list(self, path: str) -> List[FileInfo]:
        """The entries of a directory, by name; at most 10,000."""
        return self._portal.call(self._files.list(path))

    def upload(self, local: str | os.PathLike[str], path: str) -> None:
        """Copies a file or directory of this machine to `path`."""
        self._portal.call(self._files.upload(local, path))

    def download(self, path: str, local: str | os.PathLike[str]) -> None:
        """Copies a file or directory of the sandbox to `local`."""
        self._portal.call(self._files.download(path, local))

    def remove(self, path: str) -> None:
        """Removes a file or directory. The image must have `rm`."""
        self._portal.call(self._files.remove(path))


class SyncSandbox:
    """A sandbox; see `Sandbox`."""

    def __init__(
        self,
        image: str | None = None,
        /,
        *,
        client: SyncClient | None = None,
        **settings: Unpack[CreateSandbox],
    ) -> None:
        self._portal = portal()
        inner = client._client if client is not None else None
        self._take(Sandbox(image, client=inner, **settings))

    def _take(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox
        self.files = SyncFiles(self._portal, sandbox.files)

    @classmethod
    def _of(cls, portal: Portal, sandbox: Sandbox) -> SyncSandbox:
        made = cls.__new__(cls)
        made._portal = portal
        made._take(sandbox)
        return made

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits."""
        return self._sandbox.id

    @property
    def name(self) -> str:
        """The name, which the server makes up where none was given."""
        return self._sandbox.name

    @property
    def image(self) -> str:
        """The image as it was written, or the root directory."""
        return self._sandbox.image

    def __repr__(self) -> str:
        return f"Sync{self._sandbox!r}"

    def __enter__(self) -> Self:
        self._portal.call(self._sandbox.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Removes a sandbox that was made by `with`; any other stays."""
        self._portal.call(self._sandbox.close())

    def start(self) -> None:
        """Starts a sandbox that does not run; one that was not made yet is made as by `with`."""
        self._portal.call(self._sandbox.start())

    def stop(
        self, *, timeout: TextOrNumber | None = None, signal: str | None = None
    ) -> models.SandboxDetails:
        """Asks the command to end, kills it after the grace period, and waits for the end."""
        return self._portal.call(self._sandbox.stop(timeout=timeout, signal=signal))

    def restart(self, *, timeout: TextOrNumber | None = None) -> None:
        """Stops the sandbox and starts it again."""
        self._portal.call(self._sandbox.restart(timeout=timeout))

    def kill(self, signal: TextOrNumber | None = None) -> None:
        """Sends the command a signal; SIGKILL, the default, ends the machine as well."""
        self._portal.call(self._sandbox.kill(signal))

    def wait(self) -> int:
        """Waits until the sandbox's own command has ended; its exit code."""
        return self._portal.call(self._sandbox.wait())

    def pause(self) -> None:
        """Stops the virtual machine's processors."""
        self._portal.call(self._sandbox.pause())

    def unpause(self) -> None:
        """Lets a paused sandbox go on."""
        self._portal.call(self._sandbox.unpause())

    def remove(self, *, force: bool = False) -> None:
        """Removes the sandbox with its disk and logs; with `force` also one that runs."""
        self._portal.call(self._sandbox.remove(force=force))

    def exec(
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
        """Runs a command to its end; see `Sandbox.exec`."""
        return self._portal.call(
            self._sandbox.exec(
                command,
                env=env,
                workdir=workdir,
                user=user,
                stdin=stdin,
                timeout=timeout,
                max_output_bytes=max_output_bytes,
                check=check,
            )
        )

    def run(
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
        """Runs code; see `Sandbox.run`."""
        return self._portal.call(
            self._sandbox.run(
                code,
                language=language,
                env=env,
                workdir=workdir,
                user=user,
                stdin=stdin,
                timeout=timeout,
                max_output_bytes=max_output_bytes,
                check=check,
            )
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
    ) -> SyncCommand:
        """A command with streams, to be used with `with`; it is killed at the block's end."""
        command_ = self._sandbox.spawn(
            command, env=env, workdir=workdir, user=user, stdin=stdin, terminal=terminal
        )
        return SyncCommand(self._portal, command_)

    def detach(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
    ) -> int:
        """Starts a command that goes on by itself; its process ID in the sandbox."""
        return self._portal.call(
            self._sandbox.detach(command, env=env, workdir=workdir, user=user)
        )

    def inspect(self) -> models.SandboxDetails:
        """Everything about the sandbox, as it is now."""
        return self._portal.call(self._sandbox.inspect())

    def ports(self) -> list[models.PublishedPort]:
        """The host's ports that lead to the sandbox."""
        return self._portal.call(self._sandbox.ports())

    def url(self, port: int, scheme: str = "http") -> str:
        """The address on the host of a published TCP port of the sandbox."""
        return self._portal.call(self._sandbox.url(port, scheme))

    def stats(self) -> models.SandboxStats:
        """What the sandbox uses."""
        return self._portal.call(self._sandbox.stats())

    def processes(self) -> list[models.ProcessInfo]:
        """The processes of the running sandbox. The image needs no program for that."""
        return self._portal.call(self._sandbox.processes())

    def changes(self) -> list[models.Change]:
        """What the sandbox changed in its image's files."""
        return self._portal.call(self._sandbox.changes())

    def update(self, **changes: Unpack[models.UpdateSandbox]) -> models.SandboxDetails:
        """Changes name, memory, cpus or restart policy; more than its machine has at the next start."""
        return self._portal.call(self._sandbox.update(**changes))

    def logs(
        self, *, follow: bool = False, tail: int | None = None, since: str | None = None
    ) -> Iterator[models.LogLine]:
        """The output of the sandbox's own command; with `follow` until the sandbox ends."""
        return self._portal.iterate(self._sandbox.logs(follow=follow, tail=tail, since=since))


class SyncClient:
    """A connection to a server; see `Client`."""

    def __init__(
        self, url: str | None = None, *, token: str | None = None, binary: str | None = None
    ) -> None:
        self._portal = portal()
        self._client = Client(url, token=token, binary=binary)

    def __enter__(self) -> Self:
        self._portal.call(self._client.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connections, and ends the private server if this was its last client."""
        self._portal.call(self._client.close())

    def create(
        self, image: str | None = None, /, **settings: Unpack[CreateSandbox]
    ) -> SyncSandbox:
        """Makes a sandbox that stays until it is removed, and starts it unless `start=False`."""
        return SyncSandbox._of(
            self._portal, self._portal.call(self._client.create(image, **settings))
        )

    def get(self, name: str) -> SyncSandbox:
        """The sandbox with this name, ID, or unique ID prefix."""
        return SyncSandbox._of(self._portal, self._portal.call(self._client.get(name)))

    def list(
        self,
        *,
        all: bool = False,
        status: models.SandboxStatus | None = None,
        name: str | None = None,
        label: str | None = None,
        project: str | None = None,
    ) -> List[models.Sandbox]:
        """Sandboxes, the newest first; those that run, unless `all` or `status` is given."""
        return self._portal.call(
            self._client.list(all=all, status=status, name=name, label=label, project=project)
        )

    def events(
        self, *, since: str | None = None, sandbox: str | None = None
    ) -> Iterator[models.SandboxEvent]:
        """What happens to sandboxes, as it happens. Ends when the iterator is closed."""
        return self._portal.iterate(self._client.events(since=since, sandbox=sandbox))

    def stats(self) -> List[models.SandboxStats]:
        """What all running sandboxes use."""
        return self._portal.call(self._client.stats())

    def images(self) -> List[models.Image]:
        """The images in the store, by name."""
        return self._portal.call(self._client.images())

    def image(self, image: str) -> models.ImageDetails:
        """Everything about an image in the store."""
        return self._portal.call(self._client.image(image))

    def pull(self, image: str, *, platform: str | None = None) -> models.Image:
        """Fetches an image."""
        return self._portal.call(self._client.pull(image, platform=platform))

    def pull_events(
        self, image: str, *, platform: str | None = None
    ) -> Iterator[models.PullEvent]:
        """Fetches an image and tells the progress. The last event is `done`."""
        return self._portal.iterate(self._client.pull_events(image, platform=platform))

    def remove_image(self, image: str) -> None:
        """Removes an image that no sandbox needs."""
        self._portal.call(self._client.remove_image(image))

    def volumes(self) -> List[models.VolumeInfo]:
        """The volumes, by name."""
        return self._portal.call(self._client.volumes())

    def create_volume(
        self, name: str | None = None, *, labels: dict[str, str] | None = None
    ) -> models.VolumeInfo:
        """Makes a volume; one that is there already stays as it is."""
        return self._portal.call(self._client.create_volume(name, labels=labels))

    def remove_volume(self, name: str) -> None:
        """Removes a volume that no sandbox uses, with its content."""
        self._portal.call(self._client.remove_volume(name))

    def up(self, config: dict[str, Any]) -> models.ProjectSteps:
        """Brings a project up; `config` has the keys of `monocore.toml`."""
        return self._portal.call(self._client.up(config))

    def down(
        self,
        *,
        group: str | None = None,
        services: List[str] | None = None,
        project: str | None = None,
        volumes: bool = False,
    ) -> models.ProjectSteps:
        """Stops and removes services: a group's, those named, or all."""
        return self._portal.call(
            self._client.down(group=group, services=services, project=project, volumes=volumes)
        )

    def status(self, project: str | None = None) -> List[models.ServiceStatus]:
        """The sandboxes of all projects, or of one."""
        return self._portal.call(self._client.status(project))

    def version(self) -> models.VersionInfo:
        """Versions of the server's program and guest."""
        return self._portal.call(self._client.version())

    def info(self) -> models.HostReport:
        """Whether the server's machine can run sandboxes."""
        return self._portal.call(self._client.info())
