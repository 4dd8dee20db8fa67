"""A background task beside a block: which one is cancelled, and whose exception comes out."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from allm.execution.nurseries import background_task


async def forever():
    await trio.sleep_forever()


async def fail():
    await trio.lowlevel.checkpoint()
    raise LookupError("work")


async def test_the_task_ends_with_the_block():
    """The task has ended before the next statement."""
    ended = []

    async def work():
        try:
            await trio.sleep_forever()
        finally:
            ended.append("work")

    async with background_task(work, "work"):
        await trio.testing.wait_all_tasks_blocked()
    assert ended == ["work"]


async def test_the_block_raises_as_itself():
    """The body's exception has no group around it."""
    with pytest.raises(KeyError) as caught:
        async with background_task(forever, "work"):
            raise KeyError("body")
    assert caught.value.args == ("body",)


async def test_a_failing_task_ends_the_block():
    """The task's exception comes out instead of the cancellation."""
    with pytest.raises(LookupError, match="work"):
        async with background_task(fail, "work"):
            await trio.sleep_forever()


async def test_a_failing_task_after_the_block():
    """If the body has finished, the task's failure is still raised."""
    with pytest.raises(LookupError, match="work"):
        async with background_task(fail, "work"):
            with trio.CancelScope(shield=True):
                await trio.testing.wait_all_tasks_blocked()


async def test_the_blocks_own_exception_wins():
    """The body's exception wins over that of the task."""
    with pytest.raises(KeyError):
        async with background_task(fail, "work"):
            try:
                await trio.sleep_forever()
            finally:
                raise KeyError("body")


async def test_a_cancellation_from_outside_passes():
    """It reaches the scope it belongs to."""
    with trio.CancelScope() as scope:
        async with background_task(forever, "work"):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


async def test_a_task_that_is_done_leaves_the_block_alone():
    """The block goes on after the task has ended."""

    async def work():
        await trio.lowlevel.checkpoint()

    async with background_task(work, "work"):
        await trio.testing.wait_all_tasks_blocked()
        await trio.lowlevel.checkpoint()


def test_an_interrupt_in_the_task_comes_out_as_itself():
    """A KeyboardInterrupt wins over the body's exception."""

    async def interrupted():
        raise KeyboardInterrupt

    async def main():
        async with background_task(interrupted, "work"):
            try:
                await trio.sleep_forever()
            finally:
                raise LookupError

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
