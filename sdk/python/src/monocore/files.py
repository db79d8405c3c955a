"""Files of a sandbox, whether it runs or not. They travel as tar archives."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
import time
from builtins import list as List
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from ._transport import in_thread, path_of
from .errors import ApiError
from .models import FileKind, FileList

if TYPE_CHECKING:
    from .sandbox import Sandbox

_CHUNK = 256 * 1024
# Larger archives lie in a temporary file.
_IN_MEMORY = 8 << 20
# The most entries that the server lists.
_MOST_LISTED = 10_000


@dataclass(frozen=True, slots=True)
class FileInfo:
    """An entry of a directory."""

    name: str
    path: str
    kind: FileKind
    size: int
    mode: int
    """Permissions, such as `0o644`."""
    modified: float
    """Seconds since 1970."""


class Files:
    """A sandbox's files. Paths in the sandbox are absolute."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def read(self, path: str) -> bytes:
        """A file's content. A symbolic link is followed."""
        with await self._archive(path, follow=True) as archive, tarfile.open(fileobj=archive) as tar:
            first = tar.next()
            content = None if first is None else tar.extractfile(first)
            if content is None:
                raise IsADirectoryError(f"{path}: not a file")
            return content.read()

    async def read_text(self, path: str) -> str:
        """A file's content, which must be UTF-8."""
        return (await self.read(path)).decode()

    async def write(self, path: str, data: str | bytes, *, mode: int = 0o644) -> None:
        """Makes or replaces a file; directories on the way to it are made."""
        content = data.encode() if isinstance(data, str) else data
        where = PurePosixPath(_absolute(path))
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as archive:
            with tarfile.open(fileobj=archive, mode="w") as tar:
                entry = tarfile.TarInfo(where.relative_to("/").as_posix())
                entry.size, entry.mode, entry.mtime = len(content), mode, int(time.time())
                tar.addfile(entry, io.BytesIO(content))
            await self._unpack(archive, "/")

    async def list(self, path: str) -> List[FileInfo]:
        """The entries of a directory, by name; at most 10,000."""
        transport = await self._sandbox._client.transport()
        where = path_of(self._sandbox.id, "files", "list")
        answer = await transport.ask("GET", where, query={"path": _absolute(path)})
        listed = FileList.from_json(answer)
        if listed.total > _MOST_LISTED:
            raise ApiError("copy_failed", f"{path}: {listed.total} entries, more than are listed")
        return [
            FileInfo(
                name=one.name,
                path=f"{path.rstrip('/')}/{one.name}",
                kind=one.kind,
                size=one.size_bytes,
                mode=one.mode,
                modified=float(one.modified),
            )
            for one in listed.entries
        ]

    async def upload(self, local: str | os.PathLike[str], path: str) -> None:
        """Copies a file or directory of this machine to `path`, which then is that file or
        directory. An existing directory keeps what else is in it.
        """
        where = PurePosixPath(_absolute(path))
        with tempfile.SpooledTemporaryFile(_IN_MEMORY) as archive:
            await in_thread(lambda: _pack(archive, Path(local), where.relative_to("/").as_posix()))
            await self._unpack(archive, "/")

    async def download(self, path: str, local: str | os.PathLike[str]) -> None:
        """Copies a file or directory of the sandbox to `local`, which then is that file or
        directory. Entries that lead out of it are refused.
        """
        with await self._archive(path, follow=True) as archive:
            await in_thread(lambda: _extract(archive, Path(local)))

    async def remove(self, path: str) -> None:
        """Removes a file or directory. The image must have `rm`."""
        await self._sandbox.exec(["rm", "-rf", "--", _absolute(path)], check=True)

    async def _archive(self, path: str, *, follow: bool) -> IO[bytes]:
        archive = tempfile.SpooledTemporaryFile(_IN_MEMORY)
        transport = await self._sandbox._client.transport()
        where = path_of(self._sandbox.id, "files")
        query = {"path": _absolute(path), "follow": follow}
        try:
            async with transport.stream("GET", where, query=query) as answer:
                async for part in answer.aiter_bytes(_CHUNK):
                    archive.write(part)
        except BaseException:
            archive.close()
            raise
        archive.seek(0)
        return archive

    async def _unpack(self, archive: IO[bytes], path: str) -> None:
        archive.seek(0)
        transport = await self._sandbox._client.transport()
        where = path_of(self._sandbox.id, "files")
        await transport.ask("PUT", where, query={"path": path}, content=_parts(archive))


async def _parts(archive: IO[bytes]) -> AsyncIterator[bytes]:
    while part := archive.read(_CHUNK):
        yield part


def _absolute(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"{path}: give an absolute path")
    return path


def _pack(archive: IO[bytes], local: Path, name: str) -> None:
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(local, arcname=name)


def _extract(archive: IO[bytes], local: Path) -> None:
    """The archive's first entry becomes `local`. The archive comes from a sandbox: nothing in it may
    reach what lies beside `local`.
    """
    with tarfile.open(fileobj=archive) as tar:
        first = tar.next()
        if first is None:
            return
        if not first.isdir():
            _put_file(tar, first, local)
            return
        local.mkdir(parents=True, exist_ok=True)
        top = PurePosixPath(first.name)
        for member in tar:
            name = PurePosixPath(member.name)
            if name != top:
                _put(tar, member, local, _inside(name, top))


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, root: Path, name: PurePosixPath) -> None:
    folder = root
    for part in name.parts[:-1]:
        folder /= part
        if folder.is_symlink() or not folder.is_dir():
            folder.mkdir()
    path = folder / name.name
    if member.isdir():
        if path.is_symlink() or not path.is_dir():
            path.mkdir()
    elif member.issym():
        target = os.path.normpath(name.parent / member.linkname)
        if member.linkname.startswith("/") or target.split("/")[0] == "..":
            raise OSError(f"{member.name}: a link to {member.linkname}, which leads out")
        path.unlink(missing_ok=True)
        path.symlink_to(member.linkname)
    else:
        _put_file(tar, member, path)


def _put_file(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
    """Writes a file; a hard link becomes a file of its own."""
    content = tar.extractfile(member) if member.isreg() or member.islnk() else None
    if content is None:
        raise OSError(f"{member.name}: neither a file, nor a directory, nor a link")
    # A link of that name is replaced, not written through.
    path.unlink(missing_ok=True)
    with path.open("xb") as file:
        shutil.copyfileobj(content, file)
    path.chmod(member.mode & 0o777)


def _inside(name: PurePosixPath, top: PurePosixPath) -> PurePosixPath:
    if ".." in name.parts or not name.is_relative_to(top):
        raise OSError(f"{name}: lies outside of {top}")
    return name.relative_to(top)
