"""A turn of a session inside another one of it would wait for itself, so it is refused; any other one waits."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import allm
from allm import fake
from conversations import TEXT, engine


async def enter(store, name):
    async with store.turn(name) as turn:
        return turn.version


async def test_in_the_block(store, new_id):
    """And the outer turn goes on."""
    async with store.turn(new_id) as turn:
        with pytest.raises(allm.SessionError, match="would wait for its end") as caught:
            await enter(store, new_id)
        assert caught.value.reason == "invalid_status"
        await turn.reply(engine(TEXT), "Hello")
    assert await enter(store, new_id) == 1


async def test_in_a_task_that_was_started_in_the_block(store, new_id):
    """Or below such a task: the block waits for all of them."""

    async def below():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(enter, store, new_id)

    async with store.turn(new_id):
        with pytest.RaisesGroup(pytest.RaisesGroup(allm.SessionError)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(below)


async def test_in_a_tool(store, new_id):
    """The model is told; nothing hangs."""

    @allm.tool
    async def look() -> int:
        """Look at this conversation."""
        return await enter(store, new_id)

    calls = allm.Engine(
        adapter=allm.providers.Fake(scripts=[[fake.tool_call("look", {}, id="c")], [fake.text("done")]]), tools=[look]
    )
    async with store.turn(new_id) as turn:
        result = await turn.reply(calls, "Hello")
    [told] = [message for message in result.thread.messages if message.role == "tool"]
    assert "would wait for its end" in told.text
    assert result.output_text == "done"


async def test_in_a_task_that_was_started_outside(store, new_id):
    """It waits, as a worker elsewhere would."""
    entered = []

    async def later():
        entered.append(await enter(store, new_id))

    async with trio.open_nursery() as nursery, store.turn(new_id):
        nursery.start_soon(later)
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert entered == []
    assert entered == [0]
