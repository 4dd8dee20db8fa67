"""Every way out of a stream's block closes the connection and joins every task before the next statement runs."""

from __future__ import annotations

import pytest
import trio

import allm
from allm import fake
from allm.http import transport
from allm.testing import Reply, Stall, WireServer, cancel_everywhere, no_leaks

ANSWER = [fake.text("one two three four five six"), fake.usage(input_tokens=3, output_tokens=6)]


@pytest.fixture(params=["httpx", "httpx2"])
async def client(request):
    """A client of each installed HTTP library."""
    library = pytest.importorskip(request.param, reason="tested where it is installed")
    async with library.AsyncClient(timeout=None) as client:
        yield client


@pytest.fixture
async def server():
    async with WireServer() as server:
        yield server


def engine_for(server, client, **options):
    adapter = allm.providers.OpenAI(api_key="test", base_url=server.url("openai"), http_client=client)
    return allm.Engine(adapter=adapter, model="m", **options)


def stalling():
    """A response that stops in the middle: text has arrived, the end has not."""
    reply = Reply.script("openai", ANSWER)
    return Reply.script("openai", ANSWER, fault=Stall(reply.event_ends[3]))


async def read_until_text(events):
    async for event in events:
        if isinstance(event, allm.TextDelta):
            return event
    raise AssertionError("no text came")


async def leave_by_break(engine):
    async with allm.stream_generate(engine, "hi", on_event=lambda event: None) as events:
        async for event in events:
            if isinstance(event, allm.TextDelta):
                break
    return events


async def leave_by_exception(engine):
    with pytest.raises(ZeroDivisionError):
        async with allm.stream_generate(engine, "hi", on_event=lambda event: None) as events:
            await read_until_text(events)
            raise ZeroDivisionError
    return events


async def leave_by_cancel_while_reading(engine):
    with trio.CancelScope() as scope:
        async with allm.stream_generate(engine, "hi", on_event=lambda event: None) as events:
            await read_until_text(events)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_when_idle, scope)
                await events.until_done()
    assert scope.cancelled_caught
    return events


async def cancel_when_idle(scope):
    for _ in range(20):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def leave_by_cancel_while_busy(engine):
    with trio.CancelScope() as scope:
        async with allm.stream_generate(engine, "hi", on_event=lambda event: None) as events:
            await read_until_text(events)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    return events


EARLY_EXITS = [leave_by_break, leave_by_exception, leave_by_cancel_while_reading, leave_by_cancel_while_busy]


@pytest.mark.parametrize("leave", EARLY_EXITS)
async def test_early_exit_closes_the_connection_and_joins_every_task(server, client, leave):
    """A break, an exception or a cancellation leaves no task or connection."""
    server.add(stalling())
    async with no_leaks():
        events = await leave(engine_for(server, client))
    with trio.fail_after(30):
        await server.wait_outcomes()
        await server.wait_idle()
    assert server.requests[0].outcome == "client_closed"
    response = events.result()
    assert response.finish_reason is None
    assert "one two three four five six".startswith(response.output_text)
    assert response.output_text


async def test_normal_end_joins_every_task_and_leaves_the_connection_reusable(server, client):
    """The next call uses the same connection."""
    server.add(*[Reply.script("openai", ANSWER)] * 2)
    engine = engine_for(server, client)
    for _ in range(2):
        async with (
            no_leaks(),
            allm.stream_generate(engine, "hi", on_event=lambda event: None) as events,
        ):
            async for _event in events:
                pass
        assert events.result().output_text == "one two three four five six"
    assert [request.outcome for request in server.requests] == ["completed", "completed"]
    assert server.statistics().connections_total == 1


async def test_normal_end_closes_a_connection_that_the_server_does_not_keep(server, client):
    """If the body ends with the connection, none stays open."""
    server.add(Reply.script("openai", ANSWER, framing="close"))
    async with no_leaks(), allm.stream_generate(engine_for(server, client), "hi") as events:
        await events.until_done()
    with trio.fail_after(30):
        await server.wait_idle()


@pytest.mark.parametrize("shared", [False, True], ids=["own client", "shared client"])
async def test_a_cancellation_at_any_moment_leaves_the_client_usable(server, client, shared):
    """Nothing is left, the next request works, and no connection stays open."""
    server.default = Reply.script("openai", ANSWER)
    engine = engine_for(server, None if shared else client)

    async def the_next_call_works(trial):
        with trio.fail_after(30):
            response = await allm.generate(engine, "second")
        assert response.finish_reason == "stop"
        assert response.output_text == "one two three four five six"

    report = await cancel_everywhere(allm.generate, engine, "first", check=the_next_call_works)
    assert report.trials > report.steps > 8
    if not shared:
        await client.aclose()
        with trio.fail_after(30):
            await server.wait_idle()


async def test_shared_client_is_closed_when_the_run_ends():
    """The library's own client reuses connections, and closes them with trio.run."""
    pools = []

    async def main():
        async with WireServer() as server:
            server.default = Reply.script("openai", ANSWER)
            engine = engine_for(server, None)
            for _ in range(3):
                assert allm.unwrap(await allm.generate(engine, "hi"))
            assert server.statistics().connections_total == 1
        pools.extend(one.pool for route in transport._shared.get().values() for one in route.every)

    await trio.to_thread.run_sync(trio.run, main)
    assert [pool.connections for pool in pools] == [[]]
