"""Blocks that are left in any way, in any order, by any task."""

from __future__ import annotations

import itertools
import random

import pytest
import trio

import allm
from allm.testing import cancel_everywhere, no_leaks
from mcp_servers import TIMEOUT, connected, http_process, raw, stdio


async def test_a_hundred_connections_closed_in_any_order_leave_nothing():
    """Neither a task, nor a process, a descriptor or a thread."""
    rng = random.Random(20)  # noqa: S311
    with trio.fail_after(55):
        async with no_leaks():
            for _ in range(10):
                blocks = [allm.mcp.connect(raw(name=f"raw {index}")) for index in range(10)]
                async with trio.open_nursery() as nursery:
                    for block in blocks:
                        nursery.start_soon(block.__aenter__)
                rng.shuffle(blocks)
                for block in blocks[:5]:
                    await block.__aexit__(None, None, None)
                async with trio.open_nursery() as nursery:
                    for block in blocks[5:]:
                        nursery.start_soon(block.__aexit__, None, None, None)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_every_order(order):
    """While calls are waiting: each gets its error."""
    errors: list[str] = []

    async def wait(toolset):
        [tool] = toolset.known()
        with pytest.raises(allm.ToolError) as caught:
            await tool.run({})
        errors.append(caught.value.message)

    with trio.fail_after(TIMEOUT):
        async with no_leaks(), trio.open_nursery() as nursery:
            blocks = [allm.mcp.connect(raw("hangs", name=str(index))) for index in range(3)]
            for block in blocks:
                nursery.start_soon(wait, await block.__aenter__())
            await trio.testing.wait_all_tasks_blocked()
            for index in order:
                await blocks[index].__aexit__(None, None, None)

    assert sorted(errors) == [f"the MCP server '{index}' was closed during the call" for index in range(3)]


async def test_nested_blocks_that_raise():
    """The exception comes out as itself."""
    with trio.fail_after(TIMEOUT):
        async with no_leaks():
            with pytest.raises(ZeroDivisionError):
                async with allm.mcp.connect(raw()), allm.mcp.connect(raw("hangs")):
                    raise ZeroDivisionError


async def test_a_block_is_entered_once():
    """Another use is a mistake that is told."""
    with trio.fail_after(TIMEOUT):
        block = allm.mcp.connect(raw())
        async with block:
            with pytest.raises(allm.StreamError, match=r"call allm.mcp.connect again"):
                await block.__aenter__()


def test_a_block_that_nobody_leaves_ends_with_the_run():
    """With its process."""

    async def main():
        await allm.mcp.connect(raw()).__aenter__()

    with no_leaks():
        trio.run(main)


async def one_call(server):
    async with allm.mcp.connect(server) as toolset:
        tool = next(tool for tool in toolset.known() if tool.name in {"echo", "add"})
        assert await tool.run({"text": "hi", "a": 1, "b": 2}) in {"hi", "3"}


@pytest.mark.timeout(200)  # a hundred processes
async def test_cancelled_at_any_point():
    """Connecting, calling, closing: nothing is left, and `Cancelled` comes out."""
    await cancel_everywhere(one_call, raw())


@pytest.mark.timeout(200)
async def test_cancelled_at_any_point_over_http():
    """The same."""
    async with http_process() as process:
        await cancel_everywhere(one_call, process.url)


def test_a_set_of_another_run_says_so():
    """What belongs to a run of Trio cannot be used in another."""
    block = allm.mcp.connect(raw())
    toolset = trio.run(block.__aenter__)
    [tool] = toolset.known()
    with pytest.raises(allm.ToolError, match="was connected in another Trio run"):
        trio.run(tool.run, {})


async def test_connections_over_http_in_any_order():
    """As over stdio."""
    async with http_process() as process:
        async with connected(process.url):
            pass
        with trio.fail_after(TIMEOUT):
            async with no_leaks():
                blocks = [allm.mcp.connect(process.url) for _ in range(20)]
                for block in blocks:
                    await block.__aenter__()
                random.Random(3).shuffle(blocks)  # noqa: S311
                for block in blocks:
                    await block.__aexit__(None, None, None)


async def test_calls_over_http_leave_nothing():
    """Whole, failed, or cancelled."""
    async with http_process() as process:
        async with connected(process.url):
            pass
        async with no_leaks(), connected(process.url) as tools:
            for _ in range(5):
                await tools["steps"].run({"count": 3})
                await tools["add"].run({"a": 1, "b": 2})
            with trio.move_on_after(0.2):
                await tools["wait"].run({"marker": "/dev/null"})


async def test_stdio_and_http_side_by_side():
    """One block for both."""
    async with http_process() as process, no_leaks():
        servers = [stdio(prefix="a_"), allm.mcp.HttpServer(process.url, prefix="b_")]
        async with connected(*servers) as tools:
            assert await tools["a_add"].run({"a": 1, "b": 2}) == await tools["b_add"].run({"a": 1, "b": 2})
