"""Servers that cannot be reached, die, hang or are started again."""

from __future__ import annotations

import functools
import sys

import pytest
import trio

import allm
from allm.mcp.sdk import sdk
from allm.testing import no_leaks
from mcp_servers import TIMEOUT, connected, http_process, raw, stdio


async def failing(server):
    """The error of connecting."""
    with trio.fail_after(TIMEOUT):
        async with no_leaks():
            with pytest.raises(allm.EngineError) as caught:
                await allm.mcp.connect(server).__aenter__()
    assert caught.value.reason == "tools_not_loaded"
    return caught.value.message


async def test_a_program_that_is_not_there():
    """The error has its name, and says what to do; so has that of a folder."""
    message = await failing(["no-such-program"])
    assert message.endswith("there is no program 'no-such-program': install it, or give its whole path")
    message = await failing(allm.mcp.StdioServer(sys.executable, cwd="/no/such/folder"))
    assert message.endswith("it cannot be started: there is no folder '/no/such/folder' (cwd)")


async def test_a_block_runs_once():
    """Like every other block of the library."""
    block = allm.mcp.connect(raw("exits"))
    for error in (allm.EngineError, allm.StreamError):
        with pytest.raises(error) as caught:
            await block.__aenter__()
    assert caught.value.reason == "closed"


async def test_a_program_that_ends_at_its_start():
    """The error has its status and the end of its standard error."""
    message = await failing(raw("exits"))
    assert "'raw' could not be connected: it ended with exit status 7" in message
    assert "no licence found" in message


async def test_a_server_that_hangs_at_its_start():
    """Its limit ends it."""
    assert "was not ready after 0.5 s (connect_timeout)" in await failing(raw("hangs_at_start", connect_timeout=0.5))


async def test_a_list_without_end():
    """Is not read for ever."""
    assert "lists tools without end" in await failing(raw("endless_pages"))


async def test_nobody_listens():
    """The error has the host."""
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    assert f"127.0.0.1:{port}" in await failing(f"http://127.0.0.1:{port}/mcp")


@pytest.mark.parametrize(
    ("fault", "how"),
    [
        ("dies", "ended with exit status 3"),
        ("killed", "was ended by SIGKILL"),
        ("closes_stdout", "closed its standard output"),
        ("long_line", "sent 41,943,040 bytes in one message"),
    ],
)
async def test_a_server_that_is_lost_in_a_call(fault, how, caplog):
    """The call gets an error at once that says so; the next one has the server started again."""
    async with no_leaks(), connected(raw(fault)) as tools:
        for _ in range(2):
            with pytest.raises(allm.ToolError, match=f"'raw' {how}") as caught:
                await tools["echo"].run({"text": "hi"})
            assert "the next call connects again" in caught.value.message
    # What the server wrote last is in the log: an error of a call goes to the model.
    assert "out of cheese" not in caught.value.message
    assert ("out of cheese" in caplog.text) == (fault == "dies")


async def test_a_program_that_does_not_start_again(tmp_path):
    """Calls fail at once for a while, and the set keeps its tools."""
    with trio.fail_after(TIMEOUT):
        async with no_leaks(), allm.mcp.connect(raw("starts_once", tmp_path / "marker")) as toolset:
            [tool] = toolset.known()
            with pytest.raises(allm.ToolError, match="ended with exit status 3 during the call"):
                await tool.run({})
            with pytest.raises(allm.ToolError, match=r"'raw' could not be connected: it ended with exit status 1$"):
                await tool.run({})
            with pytest.raises(allm.ToolError, match=r"exit status 1; it is tried again in \d+ s"):
                await tool.run({})
            toolset.forget()
            assert [tool.name for tool in await toolset.load()] == ["echo"]


async def test_all_calls_of_a_lost_server_are_woken(tmp_path):
    """Each with an error, and a new process serves the next call."""
    marker = tmp_path / "marker"
    errors: list[str] = []

    async def wait(tool):
        with pytest.raises(allm.ToolError) as caught:
            await tool.run({"marker": str(marker)})
        errors.append(caught.value.message)

    async with connected(stdio(name="kind")) as tools:
        before = await tools["pid"].run({})
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(wait, tools["wait"])
            while not marker.exists() or marker.read_text().count("begun") < 5:
                await trio.lowlevel.checkpoint()
            with pytest.raises(allm.ToolError, match="exit status 4"):
                await tools["die"].run({"status": 4})
        assert await tools["pid"].run({}) != before

    assert len(errors) == 5
    assert all("'kind' ended with exit status 4" in error for error in errors)


async def test_a_server_that_hangs_in_a_call_can_be_left():
    """Also without its help."""
    async with no_leaks(), connected(raw("hangs")) as tools:
        with trio.move_on_after(0.2) as scope:
            await tools["echo"].run({})
        assert scope.cancelled_caught


async def test_a_server_that_ignores_its_end_is_killed():
    """Leaving the block ends it all the same."""
    async with no_leaks(), connected(raw("stubborn")) as tools:
        assert await tools["echo"].run({"text": "hi"}) == "hi"


@pytest.fixture(params=["2026", "2025"])
def version(request, monkeypatch):
    """Without sessions (2026-07-28), and with them."""
    if request.param == "2025":
        monkeypatch.setattr(sdk().client, "Client", functools.partial(sdk().client.Client, mode="legacy"))


@pytest.mark.usefixtures("version")
async def test_a_restarted_http_server_serves_the_next_call():
    """Also where it has forgotten the session."""
    async with http_process() as process, connected(process.url) as tools:
        before = await tools["pid"].run({})
        await process.kill()
        await process.start()
        assert await tools["pid"].run({}) != before
        assert await tools["add"].run({"a": 1, "b": 2}) == "3"


@pytest.mark.usefixtures("version")
async def test_an_http_server_that_dies_in_a_call():
    """The call gets an error that names the server; so do the next ones, until it is back."""
    async with http_process() as process, connected(process.url) as tools:
        with pytest.raises(allm.ToolError, match=r"127\.0\.0\.1"):
            await tools["die"].run({"status": 3})
        await process.kill()
        for _ in range(2):
            with pytest.raises(allm.ToolError, match=r"127.0.0.1.* cannot be reached"):
                await tools["pid"].run({})
        await process.start()
        assert await tools["add"].run({"a": 1, "b": 2}) == "3"


async def test_calls_after_the_block_say_so():
    """And do not connect again."""
    async with connected(raw()) as tools:
        pass
    with pytest.raises(allm.ToolError, match="'raw' was closed: its block"):
        await tools["echo"].run({})
