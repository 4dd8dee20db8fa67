"""Servers in programs without Trio: the connection is on Trio, the program's functions where they belong."""

from __future__ import annotations

import asyncio
import threading

import pytest

import allm
import allm.aio
import allm.blocking
from allm import fake
from allm.providers import Fake
from mcp_servers import raw, stdio


def engine(*calls):
    return allm.Engine(adapter=Fake(scripts=[*([call] for call in calls), [fake.text("Done.")]]))


def test_a_turn_on_asyncio():
    """Questions are answered on the loop; the block is left on Trio."""
    threads: list[int] = []

    async def on_elicit(_question):
        await asyncio.sleep(0)
        threads.append(threading.get_ident())
        return {"size": "L"}

    async def main():
        block = allm.mcp.connect(raw("asks"), on_elicit=on_elicit)
        toolset = await allm.aio.run(block.__aenter__)
        try:
            result = await allm.aio.chat(engine(fake.tool_call("echo", {}, id="c1")), "Go.", tools=[toolset])
        finally:
            await allm.aio.run(block.__aexit__, None, None, None)
        return result

    result = asyncio.run(main())
    assert '"size": "L"' in result.steps[0].tool_results[0].text
    assert threads == [threading.get_ident()]


def test_progress_and_cancelling_on_asyncio(tmp_path):
    """The server is told of a cancelled task."""
    marker = tmp_path / "marker"

    async def main():
        block = allm.mcp.connect(stdio())
        toolset = await allm.aio.run(block.__aenter__)
        try:
            turn = engine(fake.tool_call("steps", {"count": 2}, id="c1"))
            async with allm.aio.stream(turn, "Go.", tools=[toolset]) as events:
                seen = [event.payload["progress"] async for event in events if isinstance(event, allm.ToolProgress)]
            turn = engine(fake.tool_call("wait", {"marker": str(marker)}, id="c2"))
            task = asyncio.create_task(allm.aio.chat(turn, "Go.", tools=[toolset]))
            while not marker.exists():
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while "cancelled" not in marker.read_text():
                await asyncio.sleep(0.01)
            return seen
        finally:
            await allm.aio.run(block.__aexit__, None, None, None)

    assert asyncio.run(main()) == [1, 2]


def test_a_turn_in_a_plain_thread():
    """With a list that changes."""
    block = allm.mcp.connect(raw("changes"))
    toolset = allm.blocking.run(block.__aenter__)
    try:
        turn = engine(fake.tool_call("echo_0", {"text": "hi"}, id="c1"))
        result = allm.blocking.chat(turn, "Go.", tools=[toolset])
    finally:
        allm.blocking.run(block.__aexit__, None, None, None)
    assert result.steps[0].tool_results[0].text == "hi"
    assert [tool.name for tool in turn.adapter.requests[1].tools] == ["echo_1"]


def test_a_block_that_is_entered_outside_trio():
    """The error says what to write instead, which works on asyncio and in a script."""

    async def main():
        async with allm.mcp.connect(raw("asks")):
            pytest.fail("entered on asyncio")

    with pytest.raises(RuntimeError, match=r"await allm\.aio\.run\(block\.__aenter__\).*allm\.blocking\.run.*docs/mcp"):
        asyncio.run(main())
