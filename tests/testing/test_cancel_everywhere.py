"""`cancel_everywhere` tries every moment of a function, passes sound ones and names what unsound ones leave."""

from __future__ import annotations

import socket
import threading
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.lowlevel

import allm
from allm import fake
from allm.providers import Fake, OpenAI
from allm.testing import Reply, WireServer, cancel_everywhere


async def three_steps():
    for _ in range(3):
        await trio.lowlevel.checkpoint()
    return "done"


async def test_every_moment_is_tried():
    """Before the function starts, then after each step and before the next, until it ends by itself."""
    ends = []

    async def function():
        done = 0
        try:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
                done += 1
        finally:
            ends.append(done)
        return done

    report = await cancel_everywhere(function)

    assert ends[0] == report.result == 3  # not cancelled
    assert {0, 1, 2} <= set(ends[1:])
    assert report.steps == 3
    # Before the start; then after each of three steps, twice before the next pass, and before the next step.
    assert report.trials == 1 + 3 * (1 + 2 + 1)


async def test_arguments_are_passed():
    """As in Trio, arguments follow the function."""

    async def echo(one, two):
        await trio.lowlevel.checkpoint()
        return one, two

    report = await cancel_everywhere(echo, 1, 2)
    assert report.result == (1, 2)


async def test_steps_of_other_tasks_count():
    """A child is cancelled at each of its own steps, also between those of its sibling in the same pass."""
    seen = set()

    async def child(progress, name):
        for _ in range(2):
            progress[name] += 1
            await trio.lowlevel.checkpoint()

    async def function():
        progress = {"a": 0, "b": 0}
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child, progress, "a")
                nursery.start_soon(child, progress, "b")
        finally:
            seen.add(tuple(progress.values()))

    for seed in range(4):
        await cancel_everywhere(function, seed=seed)
    assert {(1, 2), (2, 1)} <= seen


async def test_a_task_in_a_nursery_of_another_is_found(found_soon):
    """The report names the task and the place where it is."""
    async with trio.open_nursery() as outside:

        async def lingers():
            await trio.sleep_forever()

        async def function():
            outside.start_soon(lingers)
            await trio.lowlevel.checkpoint()

        with pytest.raises(AssertionError, match=r"task '.*lingers' is running, at .*test_cancel_everywhere.py"):
            await cancel_everywhere(function)
        outside.cancel_scope.cancel()


async def test_a_socket_that_is_lost_between_two_checkpoints_is_found(found_soon):
    """It is open when the wait is over, and the function is cancelled before it can close it."""
    kept = []

    async def connect():
        await trio.lowlevel.checkpoint()
        made = socket.socket()
        kept.append(made)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return made

    async def function():
        made = await connect()
        await trio.lowlevel.checkpoint()
        made.close()

    with pytest.raises(AssertionError, match=r"socket \d+ \(0.0.0.0:0, not connected\) is open") as caught:
        await cancel_everywhere(function)
    for one in kept:
        one.close()
    assert "test_cancel_everywhere.py" in caught.value.__notes__[0]
    assert "in connect" in caught.value.__notes__[0]


async def test_a_task_that_has_just_been_woken_is_cancelled_by_its_parent_in_the_same_pass(found_soon):
    """By a socket that another task has written to: the parent runs first, and takes the child by surprise."""
    kept = []
    send, receive = trio.open_memory_channel(10)

    async def answers():
        async for right in receive:
            for _ in range(3):
                await trio.lowlevel.checkpoint()
            with suppress(OSError):  # the run is over
                right.send(b"x")

    async def child(scope, done, left, right):
        with scope:
            kept.append(socket.socket())
            send.send_nowait(right)
            try:
                await trio.lowlevel.wait_readable(left)
            except trio.Cancelled:
                kept.pop().close()
                raise
            await trio.lowlevel.checkpoint_if_cancelled()  # nobody closes the socket
            kept.pop().close()
        done.set()

    async def function():
        scope, done = trio.CancelScope(shield=True), trio.Event()
        left, right = socket.socketpair()
        with left, right:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(child, scope, done, left, right)
                try:
                    await done.wait()
                finally:
                    scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answers)
        with pytest.raises(AssertionError, match="not connected") as caught:
            await cancel_everywhere(function)
        nursery.cancel_scope.cancel()
    for one in kept:
        one.close()
    assert "The cancellation came before a pass" in caught.value.__notes__[0]


async def test_a_limiter_that_is_not_given_back_is_found(found_soon):
    """Also one that the function only reaches through others."""
    limiter = trio.CapacityLimiter(1000)

    async def function():
        await limiter.acquire_on_behalf_of(object())
        await trio.lowlevel.checkpoint()
        limiter.release_on_behalf_of(limiter.statistics().borrowers[0])

    with pytest.raises(AssertionError, match="a token of a CapacityLimiter is borrowed"):
        await cancel_everywhere(function)


async def test_a_busy_thread_is_found(found_soon):
    """A thread that outlives the run."""
    stop = threading.Event()

    async def function():
        thread = threading.Thread(target=stop.wait, name="lost")
        thread.start()
        await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match="thread 'lost' is running"):
        await cancel_everywhere(function)
    stop.set()


async def test_an_async_generator_that_is_not_closed_is_found(found_soon):
    """Whether somebody keeps it or not."""
    kept = []

    async def numbers():
        try:
            yield 1
            yield 2
        finally:
            kept.clear()

    async def function():
        kept.append(numbers())
        await anext(kept[0])
        await trio.lowlevel.checkpoint()
        await kept[0].aclose()

    with pytest.raises(AssertionError, match=r"async generator '.*numbers' was not closed"):
        await cancel_everywhere(function)
    await kept[0].aclose()


async def test_an_unanswered_tool_call_is_found():
    """In what the function returns, and in what `check` finds kept."""
    call = allm.ToolCall("c1", "weather", {})
    asked = allm.Thread([allm.user("hi"), allm.Message("assistant", [call])])
    kept = []

    async def function():
        kept[:] = [asked]
        await trio.lowlevel.checkpoint()
        kept[:] = []

    with pytest.raises(AssertionError, match=r"tool call 'c1' \(weather\) has no answer in the Thread"):
        await cancel_everywhere(function, check=lambda trial: list(kept))


async def test_an_error_in_a_nursery_comes_out_as_itself():
    """Without a group, with a note that says when the cancellation came."""

    async def fails_when_cancelled():
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled:
            raise ZeroDivisionError from None

    async def function():
        await trio.lowlevel.checkpoint()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails_when_cancelled)

    with pytest.raises(ZeroDivisionError) as caught:
        await cancel_everywhere(function)
    assert "The cancellation came" in caught.value.__notes__[0]


async def test_a_turn_with_tools_is_sound(autojump_clock):
    """The library's own chat, with an async tool and one in a thread, and with a limiter."""

    async def slow(arguments):
        await trio.sleep(1)
        return "slow"

    tools = [allm.Tool("slow", "S.", handler=slow), allm.Tool("sync", "S.", handler=lambda arguments: "sync")]
    limiter = trio.CapacityLimiter(2)

    async def turn():
        scripts = [[fake.tool_call("slow"), fake.tool_call("sync")], [fake.text("Done.")]]
        engine = allm.Engine(adapter=Fake(scripts=scripts), tools=tools, limiter=limiter)
        return await allm.chat(engine, "go")

    report = await cancel_everywhere(turn)
    assert report.result.output_text == "Done."
    assert report.trials > 20


async def test_a_call_over_http_is_sound():
    """With a server that outlives the runs, whose connections may rest in the shared client's pool."""
    async with WireServer(default=Reply.script("openai", [fake.text("one "), fake.text("two")], flush=True)) as server:
        engine = allm.Engine(adapter=OpenAI(api_key="test", base_url=server.url("openai")), model="m")
        report = await cancel_everywhere(allm.generate, engine, "hi")
    assert report.result.output_text == "one two"


async def test_around_is_opened_for_each_run():
    """Its value is the first argument, and reaches `check`."""
    opened = []

    @asynccontextmanager
    async def stage():
        opened.append(len(opened))
        await trio.lowlevel.checkpoint()
        yield opened[-1]

    trials = []

    async def function(number, name):
        await trio.lowlevel.checkpoint()
        return number

    report = await cancel_everywhere(function, "x", around=stage, check=trials.append)
    assert [trial.stage for trial in trials] == opened
    assert [trial.number for trial in trials] == opened
    assert [trial.cancelled for trial in trials] == [False, *[True] * report.trials, False]


async def test_a_coroutine_is_refused():
    """It could run once only."""
    coroutine = three_steps()
    with pytest.raises(TypeError, match="pass an async function or a lambda"):
        await cancel_everywhere(coroutine)
    coroutine.close()


async def test_a_function_without_an_end_is_refused():
    """The number of steps is bounded."""

    async def endless():
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.raises(AssertionError, match="more than 50 task steps"):
        await cancel_everywhere(endless, max_steps=50)
