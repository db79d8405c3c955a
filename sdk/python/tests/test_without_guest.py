"""The package against a real `monocore serve`, with sandboxes that never run."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

from monocore import (
    ApiError,
    BinaryNotFound,
    Client,
    ConnectionFailed,
    Sandbox,
    ServerNotStarted,
    SyncClient,
    SyncSandbox,
    _server,
)
from monocore.files import _extract
from monocore.languages import command_for, language_of


class Case(unittest.IsolatedAsyncioTestCase):
    """A state directory of the test's own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory(prefix="mc")
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name)
        self.addCleanup(os.environ.pop, "MONOCORE_HOME")
        os.environ["MONOCORE_HOME"] = str(self.dir / "home")

    def tearDown(self) -> None:
        self.assertEqual(_server._servers, {}, "the server ends with its last client")

    def sandbox(self, client: Client | None, name: str) -> Sandbox:
        return Sandbox(
            client=client, rootfs=str(self.dir), name=name, start=False, network={"mode": "none"}
        )


def descriptors(process: int) -> int:
    return len(os.listdir(f"/proc/{process}/fd"))


class TestServer(Case):
    async def test_it_is_shared_private_and_ends(self) -> None:
        async with Client() as one, Client() as two:
            (server,) = _server._servers.values()
            mode = os.stat(server.socket).st_mode & 0o777
            self.assertEqual((server.clients, mode), (2, 0o600))
            self.assertEqual((await one.version()).api, (await two.version()).api)
            pid = server._process.pid
        self.assertFalse(os.path.exists(server.socket))
        with self.assertRaises(ProcessLookupError):
            os.kill(pid, 0)

    async def test_failures_say_what_to_do(self) -> None:
        with self.assertRaisesRegex(BinaryNotFound, "no such program. Install monocore"):
            await Client(binary="/nonexistent").version()
        os.environ["MONOCORE_HOME"] = "/proc/nowhere"
        with self.assertRaisesRegex(ServerNotStarted, "/proc/nowhere"):
            await Client().version()
        with self.assertRaises(ConnectionFailed):
            await Client(f"unix:{self.dir}/nothing").version()
        with self.assertRaisesRegex(ValueError, "http"):
            await Client("ftp://example").version()

    async def test_a_question_is_asked_again_where_an_idle_connection_ends(self) -> None:
        answer = b'{"volumes": []}'
        asked: list[bytes] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # The second request of a connection finds that the server has just closed it.
            with contextlib.suppress(asyncio.IncompleteReadError):
                asked.append((await reader.readuntil(b"\r\n\r\n")).split()[0])
                head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer)
                writer.write(head + answer)
                asked.append((await reader.readuntil(b"\r\n\r\n")).split()[0])
            writer.close()

        path = f"{self.dir}/socket"
        server = await asyncio.start_unix_server(serve, path)
        async with server, Client(f"unix:{path}") as client:
            for _ in range(2):
                self.assertEqual(await client.volumes(), [])
            self.assertEqual(asked, [b"GET"] * 3)
            with self.assertRaises(ConnectionFailed):
                await client.create_volume("once")
            self.assertEqual(asked[3:], [b"POST"])

    async def test_a_new_server_follows_one_that_died(self) -> None:
        async with Client() as first:
            (server,) = _server._servers.values()
            server._process.kill()
            server._process.wait()
            with self.assertRaises(ConnectionFailed):
                await first.version()
            self.assertTrue(os.path.exists(server.socket))
            async with Client() as second:
                self.assertEqual((await second.version()).api, "v1")
                self.assertFalse(os.path.exists(server.socket), "what it left is removed")

    async def test_a_server_that_dies_breaks_the_requests_of_a_sandbox(self) -> None:
        client = Client()
        sandbox = await self.sandbox(client, "one").__aenter__()
        events = client.events()
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.2)
        (server,) = _server._servers.values()
        server._process.kill()
        server._process.wait()
        for broken in (waiting, sandbox.inspect(), sandbox.close()):
            with self.assertRaises(ConnectionFailed):
                await broken
        await client.close()

    async def test_tcp_and_tokens(self) -> None:
        binary = _server.find_binary(None)
        made = subprocess.run([binary, "token", "create", "--scope", "read"], capture_output=True)
        token = made.stdout.decode().strip()
        serve = [binary, "serve", "--port", "0", "--require-token", "--socket", str(self.dir / "s")]
        process = subprocess.Popen(serve, stderr=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        try:
            places = [process.stdout.readline().split()[-1] for _ in range(2)]
            url = next(place for place in places if place.startswith("http"))
            async with Client(url, token=token) as client:
                self.assertEqual(await client.list(), [])
                with self.assertRaises(ApiError) as refused:
                    await client.create("x", pull="never")
                self.assertEqual((refused.exception.code, refused.exception.status), ("forbidden", 403))
            async with Client(url) as client:
                with self.assertRaises(ApiError) as refused:
                    await client.list()
                self.assertEqual(refused.exception.code, "unauthorized")
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


    async def test_tls_with_a_certificate_of_our_own(self) -> None:
        cert, key = str(self.dir / "cert.pem"), str(self.dir / "key.pem")
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
        make += ["-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert]
        subprocess.run(make, check=True, capture_output=True)
        serve = [_server.find_binary(None), "serve", "--port", "0", "--socket", str(self.dir / "s")]
        process = subprocess.Popen(
            [*serve, "--tls-cert", cert, "--tls-key", key],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        self.addCleanup(os.environ.pop, "SSL_CERT_FILE", None)
        try:
            places = [process.stdout.readline().split()[-1] for _ in range(2)]
            url = next(place for place in places if place.startswith("https"))
            url = url.replace("127.0.0.1", "localhost")
            with self.assertRaisesRegex(ConnectionFailed, "certificate"):
                await Client(url).version()
            os.environ["SSL_CERT_FILE"] = cert
            async with Client(url) as client:
                self.assertEqual((await client.version()).api, "v1")
                made = await client.create(rootfs=str(self.dir), name="one", start=False)
                with self.assertRaises(ApiError) as refused:
                    async with made.spawn(["true"]):
                        pass
                self.assertEqual(refused.exception.code, "not_running")
        finally:
            process.terminate()
            process.wait()
            process.stdout.close()


class TestSandboxes(Case):
    async def test_a_block_owns_its_sandbox(self) -> None:
        async with Client() as client:
            async with self.sandbox(client, "one") as sandbox:
                found = await client.list(all=True)
                self.assertEqual([one.name for one in found], ["one"])
                self.assertEqual((sandbox.name, found[0].id), ("one", sandbox.id))
                details = await sandbox.inspect()
                assert details.settings is not None
                self.assertEqual((details.status, details.settings.network), ("created", "none"))
                self.assertEqual(details.command, ["sleep", "infinity"])
                with self.assertRaises(ApiError) as refused:
                    await sandbox.exec(["true"])
                self.assertEqual(refused.exception.code, "not_running")
                with self.assertRaises(ApiError):
                    async with sandbox.spawn(["true"]):
                        pass
                with self.assertRaises(LookupError):
                    await sandbox.url(80)
            self.assertEqual(await client.list(all=True), [])

    async def test_a_made_sandbox_stays(self) -> None:
        async with Client() as client:
            made = await client.create(rootfs=str(self.dir), name="two", start=False)
        async with Client() as client:
            found = await client.get("two")
            self.assertEqual((found.id, found.image), (made.id, str(self.dir)))
            async with found:
                pass
            await found.remove()
            with self.assertRaises(ApiError) as refused:
                await client.get("two")
            self.assertEqual((refused.exception.code, refused.exception.status), ("no_such_sandbox", 404))

    async def test_sandboxes_and_volumes_are_changed(self) -> None:
        async with Client() as client:
            await client.create_volume("data", labels={"a": "b"})
            async with self.sandbox(client, "one") as sandbox:
                details = await sandbox.update(name="other", memory="1g", restart="always")
                assert details.settings is not None
                self.assertEqual((sandbox.name, details.settings.memory_mib), ("other", 1024))
                with self.assertRaises(ApiError):
                    await sandbox.processes()
            self.assertEqual([one.labels for one in await client.volumes()], [{"a": "b"}])
            await client.remove_volume("data")
            self.assertEqual(await client.volumes(), [])

    async def test_cancelled_and_failed_blocks_leave_nothing(self) -> None:
        async with Client() as client:
            with self.assertRaises(TimeoutError):
                async with asyncio.timeout(0.5), self.sandbox(client, "cancelled"):
                    await asyncio.sleep(60)
            with self.assertRaises(ZeroDivisionError):
                async with self.sandbox(client, "failed"):
                    raise ZeroDivisionError
            self.assertEqual(await client.list(all=True), [])

    async def test_many_cycles_leave_nothing(self) -> None:
        # All 900 only where `MONOCORE_TEST_LONG` is set; `cycles.py` does 50 with guests.
        turns = 900 if "MONOCORE_TEST_LONG" in os.environ else 100
        async with Client() as client:
            held: list[int] = []
            for turn in range(turns):
                async with self.sandbox(client, f"turn-{turn}") as sandbox:
                    with self.assertRaises(ApiError):
                        await sandbox.exec(["true"])
                    with self.assertRaises(ApiError):
                        async with sandbox.spawn(["cat"], stdin=True):
                            pass
                (server,) = _server._servers.values()
                held.append(descriptors(server._process.pid) + descriptors(os.getpid()))
            self.assertEqual(await client.list(all=True), [])
            self.assertLessEqual(max(held[turns // 2 :]), max(held[: turns // 2]) + 2)
        for folder in ("sandboxes", "names", "run"):
            left = [name for name in os.listdir(self.dir / "home" / folder) if name != ".lock"]
            self.assertEqual(left, [], folder)

    async def test_events_come_as_they_happen(self) -> None:
        async with Client() as client:
            events = client.events(since="1h")
            async with self.sandbox(client, "three"):
                pass
            async with asyncio.timeout(60):
                found = [(await anext(events)).event for _ in range(2)]
            await events.aclose()
            self.assertEqual(found, ["create", "destroy"])

    async def test_a_killed_program_leaves_nothing(self) -> None:
        script = (
            "import sys, time\nfrom monocore import SyncSandbox\n"
            "sandbox = SyncSandbox(rootfs=sys.argv[1], name='orphan', start=False)\n"
            "sandbox.start(); print('made', flush=True); time.sleep(60)"
        )
        for ending in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM):
            program = subprocess.Popen(
                [sys.executable, "-c", script, str(self.dir)],
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            assert program.stdout is not None
            self.assertEqual(program.stdout.readline(), "made\n")
            program.send_signal(ending)
            program.wait()
            program.stdout.close()
            async with Client() as client, asyncio.timeout(60):
                while await client.list(all=True):
                    await asyncio.sleep(0.05)


class TestSync(Case):
    def test_the_twin_does_the_same(self) -> None:
        with SyncClient() as client:
            self.assertEqual(client.version().api, "v1")
            with SyncSandbox(
                client=client, rootfs=str(self.dir), name="one", start=False
            ) as sandbox:
                self.assertEqual([one.name for one in client.list(all=True)], ["one"])
                self.assertEqual(sandbox.inspect().status, "created")
                with self.assertRaises(ApiError):
                    sandbox.exec(["true"])
                self.assertEqual(next(iter(client.events(since="1h"))).event, "create")
            self.assertEqual(client.list(all=True), [])
            self.assertEqual((client.images(), client.stats(), client.status()), ([], [], []))

    def test_ctrl_c_ends_what_is_waited_for(self) -> None:
        script = (
            "from monocore import SyncClient\n"
            "with SyncClient() as client:\n"
            "    try:\n        print('waiting', flush=True)\n        list(client.events())\n"
            "    except KeyboardInterrupt:\n        print(client.version().api)"
        )
        program = subprocess.Popen(
            [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, process_group=0
        )
        assert program.stdout is not None
        self.assertEqual(program.stdout.readline(), "waiting\n")
        # As a terminal does: to the program and its server.
        os.killpg(program.pid, signal.SIGINT)
        self.assertEqual((program.stdout.readline(), program.wait()), ("v1\n", 0))
        program.stdout.close()


class TestFiles(Case):
    def archive(self, *entries: tuple[str, bytes, str]) -> io.BytesIO:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name, kind, value in entries:
                entry = tarfile.TarInfo(name)
                entry.type = kind
                if kind == tarfile.REGTYPE:
                    entry.size = len(value)
                else:
                    entry.linkname = value
                tar.addfile(entry, io.BytesIO(value.encode()))
        out.seek(0)
        return out

    def test_an_archive_is_unpacked(self) -> None:
        entries = [
            ("d", tarfile.DIRTYPE, ""),
            ("d/e/f", tarfile.REGTYPE, "text"),
            ("d/hard", tarfile.LNKTYPE, "d/e/f"),
            ("d/soft", tarfile.SYMTYPE, "e/f"),
        ]
        _extract(self.archive(*entries), self.dir / "out")
        for name in ("e/f", "hard", "soft"):
            self.assertEqual((self.dir / "out" / name).read_text(), "text", name)

    def test_an_archive_cannot_reach_what_lies_beside(self) -> None:
        (self.dir / "beside").mkdir()
        out = self.dir / "out"
        for hostile in (
            [("d/../../beside/x", tarfile.REGTYPE, "x")],
            [("/beside/x", tarfile.REGTYPE, "x")],
            [("d/a", tarfile.SYMTYPE, "../beside"), ("d/a/x", tarfile.REGTYPE, "x")],
            [("d/a", tarfile.SYMTYPE, str(self.dir / "beside"))],
            [("d/a", tarfile.CHRTYPE, "")],
        ):
            with self.assertRaises(OSError):
                _extract(self.archive(("d", tarfile.DIRTYPE, ""), *hostile), out)
        out.joinpath("link").symlink_to(self.dir / "beside")
        with self.assertRaises(OSError):
            _extract(
                self.archive(("d", tarfile.DIRTYPE, ""), ("d/link/x", tarfile.REGTYPE, "x")), out
            )
        self.assertEqual(list((self.dir / "beside").iterdir()), [])


class TestLanguages(unittest.TestCase):
    def test_images_tell_the_language(self) -> None:
        self.assertEqual(language_of("python:3.12"), "python")
        self.assertEqual(language_of("registry.example:5000/team/node:22"), "javascript")
        self.assertEqual(language_of("debian"), "python")
        self.assertEqual(command_for("sh", "ls"), ["sh", "-c", "ls"])
        for language, code in (("cobol", ""), ("python", "#" * 130_000)):
            with self.assertRaises(ValueError):
                command_for(language, code)


if __name__ == "__main__":
    unittest.main()
