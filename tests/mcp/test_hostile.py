"""Servers that do not keep to the protocol, or send too much."""

from __future__ import annotations

import logging

import pytest
import trio

import allm
from allm.data.tool import TOOL_NAME
from allm.testing import no_leaks
from mcp_servers import connected, raw


@pytest.mark.parametrize("fault", ["garbage", "wrong_ids", "stderr", "none"])
async def test_noise_does_not_hold_up_a_call(fault):
    """Lines that are no messages, answers to nobody, standard error without end."""
    async with no_leaks(), connected(raw(fault)) as tools:
        for index in range(3):
            assert await tools["echo"].run({"text": f"hi {index}"}) == f"hi {index}"


async def test_garbage_is_told_once(caplog):
    """With its beginning."""
    async with connected(raw("garbage")) as tools:
        for _ in range(3):
            await tools["echo"].run({"text": "hi"})

    found = [record.getMessage() for record in caplog.records if record.name == "allm.mcp"]
    assert len(found) == 1
    assert "'raw' writes to its standard output what is not a message" in found[0]
    assert "Starting up..." in found[0]


async def test_an_answer_that_is_too_long_fails_its_own_call():
    """With its size; the connection goes on."""
    async with connected(raw("long_answer")) as tools:
        for _ in range(2):
            with pytest.raises(allm.ToolError, match=r"it sent 41,9.* bytes in one message, .* ask for less"):
                await tools["echo"].run({})


async def test_an_answer_that_is_no_result():
    """Is an error of the call."""
    async with connected(raw("bad_result")) as tools:
        with pytest.raises(allm.ToolError, match="the answer of the MCP server 'raw' cannot be used"):
            await tools["echo"].run({})


async def test_a_tool_that_is_listed_twice_is_there_once(caplog):
    """The first one counts; the other is told."""
    async with connected(raw("duplicates")) as tools:
        assert list(tools) == ["echo", "other"]
        assert tools["echo"].description == "Echo."
    assert "tool 'echo' of MCP server 'raw' is skipped" in caplog.text


async def test_ten_thousand_tools():
    """All are there."""
    async with connected(raw("many")) as tools:
        assert len(tools) == 10_000


async def test_bad_tools_are_left_out_one_by_one(caplog):
    """Each with one warning; names that no provider takes are changed, and stay different."""
    caplog.set_level(logging.WARNING, "allm.mcp")
    async with connected(raw("bad_schemas")) as tools:
        names = list(tools)
        own = [tool.metadata["mcp"]["name"] for tool in tools.values()]

    assert own == ["echo", "with.dots/and more", "a" * 100, "auto", "with_dots_and_more"]
    assert all(TOOL_NAME.fullmatch(name) for name in names)
    assert names[0] == "echo"
    assert names[1].startswith("with_dots_and_more_")
    assert names[3:] == ["auto_", "with_dots_and_more"]
    skipped = [record.getMessage() for record in caplog.records if "is skipped" in record.getMessage()]
    assert len(skipped) == 6, skipped
    assert any("'typo'" in text and "words" in text for text in skipped)
    assert any("'no_schema'" in text and "inputSchema" in text for text in skipped)


async def test_a_server_that_asks_without_end_and_reads_nothing():
    """Does not fill memory."""
    with trio.fail_after(50):
        async with no_leaks():
            with pytest.raises(allm.EngineError, match="it does not read what it is sent"):
                await allm.mcp.connect(raw("pings")).__aenter__()
