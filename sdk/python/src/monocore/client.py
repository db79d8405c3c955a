"""A server's sandboxes, images and projects."""

from __future__ import annotations

import asyncio
import os
from builtins import list as List
from collections.abc import AsyncGenerator
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import quote

from . import _server
from ._transport import Transport, in_thread
from .models import (
    CreateSandbox,
    ErrorCode,
    HostReport,
    Image,
    ImageDetails,
    ProjectSteps,
    PullEvent,
    SandboxEvent,
    SandboxStats,
    SandboxStatus,
    ServiceStatus,
    VersionInfo,
    VolumeInfo,
)
from .models import Sandbox as SandboxSummary
from .errors import ApiError
from .sandbox import Sandbox, settings_of


class Client:
    """A connection to a server.

    Without a `url` (or `MONOCORE_URL`) a private server is started with the first request and
    ended when the last client of the process is closed. `url` is `http://…`, `https://…` or
    `unix:PATH`; `token` (or `MONOCORE_TOKEN`) is one of `monocore token create`. `binary` (or
    `MONOCORE_BINARY`) is the program that is started, `monocore` from `PATH` otherwise.

    A client belongs to the event loop that it is first used in.
    """

    def __init__(
        self, url: str | None = None, *, token: str | None = None, binary: str | None = None
    ) -> None:
        self._url = url or os.environ.get("MONOCORE_URL") or None
        self._token = token or os.environ.get("MONOCORE_TOKEN") or None
        self._binary = binary
        self._server: _server.PrivateServer | None = None
        self._transport: Transport | None = None
        self._opening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.transport()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def transport(self) -> Transport:
        """The connections; the server is started if need be. For requests that have no method."""
        async with self._opening:
            if self._transport is None:
                url = self._url
                if url is None:
                    self._server = await self._acquire()
                    url = f"unix:{self._server.socket}"
                self._transport = Transport(url, self._token)
            return self._transport

    async def _acquire(self) -> _server.PrivateServer:
        starting = asyncio.ensure_future(asyncio.to_thread(_server.acquire, self._binary))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # What was started meanwhile has no owner.
            starting.add_done_callback(
                lambda done: None if done.exception() else _server.release(done.result())
            )
            raise

    async def close(self) -> None:
        """Closes the connections, and ends the private server if this was its last client."""
        transport, self._transport = self._transport, None
        server, self._server = self._server, None
        try:
            if transport is not None:
                await transport.close()
        finally:
            if server is not None:
                owned = server
                await in_thread(lambda: _server.release(owned))

    # Sandboxes

    async def create(
        self, image: str | None = None, /, **settings: Unpack[CreateSandbox]
    ) -> Sandbox:
        """Makes a sandbox that stays until it is removed, and starts it unless `start=False`."""
        transport = await self.transport()
        body = settings_of(image, settings)
        made = await transport.ask("POST", "/v1/sandboxes", body=body)
        return Sandbox._existing(self, made["id"], made["name"], made["image"])

    async def get(self, name: str) -> Sandbox:
        """The sandbox with this name, ID, or unique ID prefix."""
        transport = await self.transport()
        return await Sandbox._found(self, transport, name)

    async def list(
        self,
        *,
        all: bool = False,
        status: SandboxStatus | None = None,
        name: str | None = None,
        label: str | None = None,
        project: str | None = None,
    ) -> List[SandboxSummary]:
        """Sandboxes, the newest first; those that run, unless `all` or `status` is given."""
        query = {"all": all, "status": status, "name": name, "label": label, "project": project}
        transport = await self.transport()
        found = await transport.ask("GET", "/v1/sandboxes", query=query)
        return [SandboxSummary.from_json(one) for one in found["sandboxes"]]

    async def events(
        self, *, since: str | None = None, sandbox: str | None = None
    ) -> AsyncGenerator[SandboxEvent, None]:
        """What happens to sandboxes, as it happens. Ends when the iterator is closed."""
        transport = await self.transport()
        query = {"since": since, "sandbox": sandbox}
        async for event in transport.values(
            "GET", "/v1/events", SandboxEvent.from_json, query=query
        ):
            yield event

    async def stats(self) -> List[SandboxStats]:
        """What all running sandboxes use."""
        transport = await self.transport()
        return [SandboxStats.from_json(one) for one in await transport.ask("GET", "/v1/stats")]

    # Images

    async def images(self) -> List[Image]:
        """The images in the store, by name."""
        transport = await self.transport()
        found = await transport.ask("GET", "/v1/images")
        return [Image.from_json(one) for one in found["images"]]

    async def image(self, image: str) -> ImageDetails:
        """Everything about an image in the store."""
        transport = await self.transport()
        query = {"image": image}
        return ImageDetails.from_json(
            await transport.ask("GET", "/v1/images/inspect", query=query)
        )

    async def pull(self, image: str, *, platform: str | None = None) -> Image:
        """Fetches an image."""
        async for event in self.pull_events(image, platform=platform):
            if event.image is not None:
                return event.image
        raise ApiError("pull_failed", f"{image}: the server ended before the image was there")

    async def pull_events(
        self, image: str, *, platform: str | None = None
    ) -> AsyncGenerator[PullEvent, None]:
        """Fetches an image and tells the progress. The last event is `done`."""
        transport = await self.transport()
        body = {"image": image, "platform": platform}
        async for event in transport.values(
            "POST", "/v1/images/pull", PullEvent.from_json, body=body
        ):
            if event.event == "failed":
                code: ErrorCode = event.code or "pull_failed"
                raise ApiError(code, event.message or image)
            yield event

    async def remove_image(self, image: str) -> None:
        """Removes an image that no sandbox needs."""
        transport = await self.transport()
        await transport.ask("DELETE", "/v1/images", query={"image": image})

    # Volumes

    async def volumes(self) -> List[VolumeInfo]:
        """The volumes, by name."""
        transport = await self.transport()
        found = await transport.ask("GET", "/v1/volumes")
        return [VolumeInfo.from_json(one) for one in found["volumes"]]

    async def create_volume(
        self, name: str | None = None, *, labels: dict[str, str] | None = None
    ) -> VolumeInfo:
        """Makes a volume; one that is there already stays as it is."""
        transport = await self.transport()
        body = {"name": name, "labels": labels or {}}
        return VolumeInfo.from_json(await transport.ask("POST", "/v1/volumes", body=body))

    async def remove_volume(self, name: str) -> None:
        """Removes a volume that no sandbox uses, with its content."""
        transport = await self.transport()
        await transport.ask("DELETE", f"/v1/volumes/{quote(name, safe='')}")

    # Projects

    async def up(self, config: dict[str, Any]) -> ProjectSteps:
        """Brings a project up; `config` has the keys of `monocore.toml`."""
        transport = await self.transport()
        return ProjectSteps.from_json(await transport.ask("POST", "/up", body=config))

    async def down(
        self,
        *,
        group: str | None = None,
        services: List[str] | None = None,
        project: str | None = None,
        volumes: bool = False,
    ) -> ProjectSteps:
        """Stops and removes services: a group's, those named, or all."""
        body = {"group": group, "services": services or [], "project": project, "volumes": volumes}
        transport = await self.transport()
        return ProjectSteps.from_json(await transport.ask("POST", "/down", body=body))

    async def status(self, project: str | None = None) -> List[ServiceStatus]:
        """The sandboxes of all projects, or of one."""
        transport = await self.transport()
        found = await transport.ask("GET", "/status", query={"project": project})
        return [ServiceStatus.from_json(one) for one in found["services"]]

    # The server

    async def version(self) -> VersionInfo:
        """Versions of the server's program and guest."""
        transport = await self.transport()
        return VersionInfo.from_json(await transport.ask("GET", "/v1/version"))

    async def info(self) -> HostReport:
        """Whether the server's machine can run sandboxes."""
        transport = await self.transport()
        return HostReport.from_json(await transport.ask("GET", "/v1/info"))
