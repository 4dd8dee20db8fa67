"""A nursery that raises its body's exception without a group."""

from __future__ import annotations

import contextlib

import pytest
import trio

from allm.execution.nurseries import nursery_boundary


async def test_a_boundary_waits_for_its_tasks(autojump_clock):
    """Like any nursery, it waits for its tasks."""
    async with nursery_boundary() as nursery:
        nursery.start_soon(trio.sleep, 3)
    assert trio.current_time() == 3


async def test_a_boundary_raises_what_its_body_raised(autojump_clock):
    """As itself, also a group, without the nursery's group as its context."""
    for error in (KeyError("body"), ExceptionGroup("body", [KeyError()])):
        with pytest.raises(type(error)) as caught:
            async with nursery_boundary() as nursery:
                nursery.start_soon(trio.sleep_forever)
                raise error
        assert caught.value is error
        assert not isinstance(caught.value.__context__, BaseExceptionGroup)
        assert not nursery.child_tasks


async def test_a_boundary_that_is_cancelled_from_inside_is_left_in_peace():
    """An outer cancellation passes, its own ends with it."""
    async with nursery_boundary() as nursery:
        nursery.cancel_scope.cancel()
        await trio.sleep_forever()
    with trio.CancelScope() as scope:
        async with nursery_boundary():
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught


def test_an_interrupt_in_a_task_comes_out_of_the_boundary():
    """It wins over the body's exception."""

    async def interrupted():
        raise KeyboardInterrupt

    async def main():
        async with nursery_boundary() as nursery:
            nursery.start_soon(interrupted)
            with contextlib.ExitStack() as stack:
                stack.callback(pytest.fail, "cleaned up")
                await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
