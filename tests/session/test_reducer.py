"""Folding events that arrive without their stream."""

from __future__ import annotations

import pytest

import allm
from conversations import CALL, SCRIPTS, TEXT, engine, in_status


@pytest.mark.parametrize("script", [*SCRIPTS.values(), CALL], ids=[*SCRIPTS, "tools"])
async def test_reducer_gives_what_the_stream_gives(script):
    """After every event, through JSON, the outcome equals that of the stream."""
    session = await in_status("completed")
    reducer = allm.session.StreamReducer(allm.session.append_user(session, "more"))
    async with allm.session.stream_reply(engine(script, TEXT), session, "more") as events:
        assert reducer.outcome() == events.outcome()
        async for event in events:
            reducer.add(allm.from_json(allm.to_json(event)))
            assert reducer.outcome() == events.outcome()


@pytest.mark.parametrize("script", [*SCRIPTS.values(), CALL], ids=[*SCRIPTS, "tools"])
async def test_reducer_of_steps(script):
    """The same for single steps."""
    session = await in_status("idle")
    reducer = allm.session.StreamReducer(session, "step")
    async with allm.session.stream_step(engine(script), session) as events:
        async for event in events:
            reducer.add(event)
            assert reducer.outcome() == events.outcome()


async def test_reducer_refuses_other_modes():
    """Only "chat" and "step" are valid."""
    with pytest.raises(ValueError, match="expected 'chat' or 'step'"):
        allm.session.StreamReducer(await in_status("idle"), "turn")


async def test_a_failure_nobody_described_is_still_an_error():
    """Events from another source may have no error object."""
    reducer = allm.session.StreamReducer(await in_status("idle"))
    reducer.add(allm.ChatCompleted(allm.ChatResult(thread=allm.Thread(), halted_reason="error")))
    session, _ = reducer.outcome()
    assert (session.status, session.error.reason) == ("error", "unknown")
