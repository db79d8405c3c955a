"""Calls every tool by the official client: every_tool.py ERA DIRECTORY (URL | PROGRAM ARGUMENT...)"""

import asyncio
import os
import sys

from mcp import Client, StdioServerParameters

ERA, DIRECTORY, TARGET, *ARGUMENTS = sys.argv[1:]
SANDBOX = {"image": "test/plain:latest", "memory_mib": 128, "network": {"reach": "none"}}


class Calls:
    def __init__(self, client: Client) -> None:
        self.client = client
        self.names: set[str] = set()

    async def __call__(self, name: str, fails: bool = False, **arguments: object) -> str:
        self.names.add(name)
        result = await self.client.call_tool(name, arguments)
        text = result.content[0].text
        assert bool(result.is_error) == fails, (name, text)
        return text


async def every_tool(client: Client) -> None:
    call = Calls(client)
    name = f"foreign-{ERA}-{os.getpid()}"
    main = ["sh", "-c", "echo main; exec sleep 1000"]
    await call("create_sandbox", name=name, command=main, **SANDBOX)
    ran = await call("exec", sandbox=name, script="echo hi; exit 3")
    assert ran == "exit code 3\n--- stdout\nhi", ran
    await call("write_file", sandbox=name, path="/a/b", content="text")
    assert await call("read_file", sandbox=name, path="/a/b") == "text"
    assert " b\n" in await call("list_directory", sandbox=name, path="/a")
    await call("download", sandbox=name, path="/a", host_path=f"{DIRECTORY}/{name}")
    await call("upload", sandbox=name, path="/c", host_path=f"{DIRECTORY}/{name}")
    assert await call("read_file", sandbox=name, path="/c/b") == "text"
    assert name in await call("list_sandboxes")
    assert name in await call("inspect_sandbox", sandbox=name)
    assert name in await call("stats", sandbox=name)
    await call("logs", sandbox=name)
    resources = (await client.list_resources()).resources
    uri = next(resource.uri for resource in resources if resource.name == f"{name}.log")
    assert (await client.read_resource(str(uri))).contents[0].text == "main\n"
    await call("stop_sandbox", sandbox=name)
    await call("start_sandbox", sandbox=name)
    await call("remove_sandbox", sandbox=name, force=True)
    assert "code" in await call("run_code", code="echo code", language="shell", **SANDBOX)
    assert "test/plain" in await call("list_images")
    await call("pull_image", fails=True, image="localhost:1/x")
    service = {"service": "one", "sandbox": {**SANDBOX, "command": ["sleep", "1000"]}}
    await call("project_up", project=name, services=[service])
    assert name in await call("project_status", project=name)
    await call("project_down", project=name)
    tools = {tool.name for tool in (await client.list_tools()).tools}
    assert call.names == tools, call.names ^ tools


async def main() -> None:
    is_url = TARGET.startswith("http")
    program = StdioServerParameters(command=TARGET, args=ARGUMENTS, env=dict(os.environ))
    async with Client(TARGET if is_url else program, mode=ERA, read_timeout_seconds=300) as client:
        assert client.protocol_version == ("2025-11-25" if ERA == "legacy" else "2026-07-28")
        await every_tool(client)


asyncio.run(main())
