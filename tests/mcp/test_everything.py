"""The protocol's reference server, a Node program: what another SDK makes of it.

Where Node is installed, `nox -s mcp` installs it and sets EVERYTHING_MODULES to its folder.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

import allm
from allm.testing import no_leaks
from mcp_servers import connected

NODE = shutil.which("node")
PACKAGE = ("@modelcontextprotocol", "server-everything", "dist", "index.js")
PROGRAM = Path(os.environ.get("EVERYTHING_MODULES", "node_modules"), *PACKAGE).resolve()
if NODE is None:
    pytest.skip("the reference server needs Node.js, and there is no `node` here", allow_module_level=True)
if not PROGRAM.exists():
    pytest.skip("the reference server is installed by `nox -s mcp`", allow_module_level=True)


@asynccontextmanager
async def over_http():
    """Its URL; it takes no port 0, so one is found for it."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    environment = {**os.environ, "PORT": str(port)}
    process = await trio.lowlevel.open_process(
        [NODE, PROGRAM, "streamableHttp"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        said = b""
        while b"listening on port" not in said:
            chunk = await process.stderr.receive_some()
            assert chunk, said
            said += chunk
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        with trio.CancelScope(shield=True):
            process.kill()
            await process.wait()
            await process.stderr.aclose()


@asynccontextmanager
async def over_stdio():
    yield [NODE, str(PROGRAM), "stdio"]


@pytest.mark.parametrize("transport", [over_stdio, over_http])
async def test_the_reference_server(transport, caplog):
    """Texts, numbers, images, structured content, resources, progress and questions."""
    with trio.fail_after(50):
        async with transport() as server, no_leaks(), connected(server) as tools:
            assert await tools["echo"].run({"message": "hi"}) == "Echo: hi"
            assert "is 3" in await tools["get-sum"].run({"a": 1, "b": 2})
            parts = await tools["get-tiny-image"].run({})
            assert [type(part) for part in parts] == [allm.TextPart, allm.ImagePart, allm.TextPart]
            assert "temperature" in await tools["get-structured-content"].run({"location": "New York"})
            links = await tools["get-resource-links"].run({"count": 2})
            assert links[1].text.startswith("[resource demo://")
            text = await tools["get-resource-reference"].run({"resourceType": "Text", "resourceId": 1})
            assert "plaintext resource" in text[1].text
            blob = await tools["get-resource-reference"].run({"resourceType": "Blob", "resourceId": 1})
            assert blob[1].document.is_text
            question = await tools["trigger-elicitation-request"].run({})
            assert "- name (string): Your full, legal name" in question.question
            answer = [{"action": "accept", "content": {"name": "Ada"}}]
            told = await tools["trigger-elicitation-request"].run({"user_answers": answer})
            assert any("Ada" in part.text for part in told)
            steps = {"duration": 0.2, "steps": 2}
            assert "completed" in await tools["trigger-long-running-operation"].run(steps)
            with pytest.raises(allm.ToolError) as caught:
                await tools["get-sum"].run({"a": "x"})
            assert caught.value.reason in {"handler_raised", "invalid_arguments"}

    assert "tool 'simulate-research-query' of MCP server" in caplog.text  # it runs as a task only
