"""Tools of real MCP servers, over stdio and over HTTP."""

from __future__ import annotations

import subprocess
import sys
from contextlib import AsyncExitStack

import pytest
import trio

import allm
from allm import fake
from allm.providers import Fake
from allm.testing import no_leaks
from mcp_servers import HERE, connected, http_process, raw, stdio


@pytest.fixture(scope="module")
def url():
    """The SDK's server over HTTP, one for all tests here."""
    command = [sys.executable, HERE / "sdk_server.py", "http"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/mcp"
        process.kill()


@pytest.fixture(params=["stdio", "http"])
def server(request):
    """The SDK's server, over each transport."""
    return stdio() if request.param == "stdio" else allm.mcp.HttpServer(request.getfixturevalue("url"))


async def test_a_turn_uses_the_tools_of_a_server(server):
    """The set goes into `tools=` as any other, and what the server returns is what the model reads."""
    adapter = Fake(scripts=[[fake.tool_call("add", {"a": 2, "b": 3}, id="c1")], [fake.text("It is 5.")]])
    with trio.fail_after(50):
        async with allm.mcp.connect(server) as toolset:
            result = await allm.chat(allm.Engine(adapter=adapter), "What is 2 + 3?", tools=[toolset])

    assert result.output_text == "It is 5."
    assert [message.text for message in result.steps[0].tool_results] == ["5"]
    sent = next(tool for tool in adapter.requests[0].tools if tool.name == "add")
    assert sent.description == "Add two numbers."
    assert sent.schema["required"] == ["a", "b"]


async def test_calls_run_side_by_side(server):
    """Each gets its own result."""
    results: dict[int, str] = {}

    async def add(tool, index):
        results[index] = await tool.run({"a": index, "b": 1})

    async with connected(server) as tools, trio.open_nursery() as nursery:
        for index in range(20):
            nursery.start_soon(add, tools["add"], index)

    assert results == {index: str(index + 1) for index in range(20)}


async def test_parts_of_results(server):
    """Images and sound are parts."""
    async with connected(server) as tools:
        [picture] = await tools["picture"].run({})
        [sound] = await tools["sound"].run({})

    assert isinstance(picture, allm.ImagePart)
    assert picture.image.mime_type == "image/png"
    assert sound.audio.mime_type == "audio/wav"


async def test_errors_of_tools_are_errors_that_the_model_reads(server):
    """As those of any handler."""
    async with connected(server) as tools:
        with pytest.raises(allm.ToolError, match="valid integer"):
            await tools["add"].run({"a": "x", "b": 1})


async def test_progress_is_an_event(server):
    """`ToolProgress`, in the server's order."""
    adapter = Fake(scripts=[[fake.tool_call("steps", {"count": 3}, id="c1")], [fake.text("Done.")]])
    with trio.fail_after(50):
        async with allm.mcp.connect(server) as toolset:
            engine = allm.Engine(adapter=adapter, tools=[toolset])
            async with allm.stream(engine, "Go.") as events:
                seen = [event.payload async for event in events if isinstance(event, allm.ToolProgress)]

    assert seen[-1] == {"progress": 3.0, "total": 3.0, "message": "step 3"}
    assert [report["progress"] for report in seen] == sorted(report["progress"] for report in seen)


async def marked(path, text):
    while text not in (path.read_text() if path.exists() else ""):
        await trio.lowlevel.checkpoint()


async def test_a_limit_ends_the_call_on_the_server_too(server, tmp_path):
    """Its handler is cancelled, and the connection goes on."""
    marker = tmp_path / "marker"
    adapter = Fake(scripts=[[fake.tool_call("wait", {"marker": str(marker)}, id="c1")], [fake.text("Too slow.")]])
    with trio.fail_after(50):
        async with allm.mcp.connect(server) as toolset:
            limited = toolset.limited(timeout=2)
            result = await allm.chat(allm.Engine(adapter=adapter), "Go.", tools=[limited])
            await marked(marker, "cancelled")
            [add] = toolset.filtered(["add"]).known()
            assert await add.run({"a": 1, "b": 1}) == "2"

    assert "took longer than 2 s" in result.steps[0].tool_results[0].text


async def test_a_cancelled_call_is_cancelled_on_the_server(server, tmp_path):
    """The caller leaves at once; the server is told."""
    marker = tmp_path / "marker"
    async with connected(server) as tools:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(tools["wait"].run, {"marker": str(marker)})
            await marked(marker, "begun")
            nursery.cancel_scope.cancel()
        await marked(marker, "cancelled")


async def test_what_the_server_says_about_a_tool(server):
    """Its own name and its hints are in `metadata`, and two policies of approval read them."""
    async with connected(server) as tools:
        facts = tools["add"].metadata["mcp"]
        asks = {name: allm.mcp.may_change(tool, allm.ToolCall("c", name)) for name, tool in tools.items()}
        destroys = allm.mcp.may_destroy(tools["fail"], allm.ToolCall("c", "fail"))

    assert facts["name"] == "add"
    assert facts["annotations"] == {"readOnlyHint": True}
    assert asks.pop("add") is False
    assert all(asks.values())
    assert destroys


async def test_several_servers_with_prefixes_and_filters():
    """One set has the tools of all."""
    servers = [stdio(prefix="a_", only=["add", "pid"]), stdio(prefix="b_", only=lambda tool: tool.name == "pid")]
    async with connected(*servers, raw()) as tools:
        assert list(tools) == ["a_add", "a_pid", "b_pid", "echo"]
        assert await tools["a_pid"].run({}) != await tools["b_pid"].run({})


async def test_two_tools_of_one_name_are_an_error():
    """That says what to do; nothing stays open."""
    with trio.fail_after(50):
        async with no_leaks():
            with pytest.raises(allm.EngineError, match=r"both have a tool 'echo': give one of them a prefix, prefix="):
                await allm.mcp.connect(raw(), raw(name="other")).__aenter__()


async def test_a_changed_list_is_loaded_before_the_next_step():
    """`tools/list_changed` of a server is `forget` of the set."""
    adapter = Fake(scripts=[[fake.tool_call("echo_0", {"text": "hi"}, id="c1")], [fake.text("Done.")]])
    with trio.fail_after(50):
        async with allm.mcp.connect(raw("changes")) as toolset:
            await allm.chat(allm.Engine(adapter=adapter), "Go.", tools=[toolset])

    assert [[tool.name for tool in request.tools] for request in adapter.requests] == [["echo_0"], ["echo_1"]]


@pytest.mark.parametrize("transport", ["stdio", "http"])
async def test_a_server_of_2026_tells_changes(transport):
    """It is asked to: `subscriptions/listen`."""
    async with AsyncExitStack() as stack:
        stack.enter_context(trio.fail_after(50))
        where = stdio() if transport == "stdio" else (await stack.enter_async_context(http_process())).url
        await stack.enter_async_context(no_leaks())
        toolset = await stack.enter_async_context(allm.mcp.connect(where))
        tools = {tool.name: tool for tool in toolset.known()}
        assert await tools["grow"].run({}) == "grown"
        while "grown" not in {tool.name for tool in await toolset.load()}:
            await trio.lowlevel.checkpoint()


async def test_pages_of_a_list_are_joined():
    """However many there are."""
    async with connected(raw("pages")) as tools:
        assert list(tools) == ["tool_0", "tool_1", "tool_2", "tool_3"]


def test_importing_allm_mcp_loads_no_sdk():
    """Nor does making servers; only a connection needs it."""
    program = "import sys, allm; allm.mcp.connect(['x'], 'http://localhost/mcp'); assert 'mcp' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_without_the_extra_the_error_names_it():
    """And the command that installs it."""
    program = (
        "import sys, trio, allm\n"
        "sys.modules['mcp'] = None\n"
        "try: trio.run(allm.mcp.connect(['x']).__aenter__)\n"
        "except ImportError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert "pip install 'allm-trio[mcp]'" in result.stdout
