"""The clients that calls share: how many connections they make, who serves what, and when they are closed."""

from __future__ import annotations

import threading

import attrs
import pytest
import trio

import allm
from allm import fake
from allm.http import library, transport
from allm.testing import Reply, Stall, WireServer, loopback_clock

ANSWER = Reply.script("openai", [fake.text("hi")])


@pytest.fixture
def clock():
    return loopback_clock()


def engine_at(server):
    adapter = allm.providers.OpenAI(api_key="k", base_url=server.url("openai"), endpoint="chat_completions")
    return allm.Engine(adapter=adapter, model="m", retry=None)


def clients():
    """The shared clients of this run."""
    return [shared for route in transport._shared.get({}).values() for shared in route.every]


async def ask(engine, times, at_once):
    """Make as many calls, so many at once."""
    limit = trio.CapacityLimiter(at_once)

    async def one():
        async with limit:
            assert (await allm.generate(engine, "hi")).output_text == "hi"

    async with trio.open_nursery() as nursery:
        for _ in range(times):
            nursery.start_soon(one)


@pytest.mark.parametrize(("times", "at_once"), [(10, 1), (120, 20), (200, 64), (130, 130)])
async def test_no_more_connections_than_requests_at_once(times, at_once):
    """However many requests there are, and though each client has few connections."""
    async with WireServer() as server:
        server.default = ANSWER
        await ask(engine_at(server), times, at_once)
        assert server.statistics().connections_total <= at_once
        assert sum(client.most for client in clients()) <= at_once
        assert max(client.most for client in clients()) <= transport.MOST_CONNECTIONS
        assert not any(client.used for client in clients())


async def test_batches_reuse_the_connections_of_the_one_before():
    """Also where nothing is in use for a moment between them."""
    async with WireServer() as server:
        server.default = ANSWER
        for _ in range(4):
            await ask(engine_at(server), 40, 40)
        assert server.statistics().connections_total <= 40


async def test_clients_that_are_not_used_are_closed(clock):
    """After a burst, those it needed; those in use stay, and so do their connections."""
    async with WireServer() as server:
        server.default = ANSWER
        engine = engine_at(server)
        await ask(engine, 60, 60)
        assert len(clients()) >= 60 // transport.MOST_CONNECTIONS
        server.add(attrs.evolve(ANSWER, fault=Stall(ANSWER.event_ends[1])))
        async with allm.stream_generate(engine, "hi", stream_timeout=None) as events:
            await anext(events)
            await trio.sleep(3 * transport.IDLE_SECONDS)
            assert [client.used for client in clients()] == [1]
        await trio.sleep(3 * transport.IDLE_SECONDS)
        assert clients() == []
        assert transport._shared.get() == {}
        await server.wait_idle()
        assert (await allm.generate(engine, "again")).output_text == "hi"


async def test_a_client_is_closed_when_its_time_has_come(clock):
    """At any moment, also where the sum of the two times is rounded: the task that closes it does not spin."""
    steps = 0

    class Count(trio.abc.Instrument):
        def after_task_step(self, task):
            nonlocal steps
            steps += 1
            if steps > 5000:  # the clock does not go on while a task runs
                clock.jump(1)

    async with WireServer() as server:
        server.default = ANSWER
        clock.jump(3.714523345999987 - trio.current_time())
        trio.lowlevel.add_instrument(counted := Count())
        for _ in range(20):
            await ask(engine_at(server), 1, 1)
            await trio.sleep(transport.IDLE_SECONDS + 1.1)
            assert clients() == []
        trio.lowlevel.remove_instrument(counted)
    assert steps < 5000


async def test_a_cancelled_request_gives_its_place_back():
    """Wherever the cancel lands, the client is as free as before."""
    async with WireServer() as server:
        server.default = attrs.evolve(ANSWER, fault=Stall())
        engine = engine_at(server)
        for steps in range(30):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(allm.generate, engine, "hi")
                    for _ in range(steps):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            assert not any(client.used for client in clients())


async def test_servers_share_clients():
    """A connection to one is none to the other, and neither gets more of them than there are requests at once."""
    async with WireServer() as one, WireServer() as other:
        one.default = other.default = ANSWER
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, engine_at(one), 60, 20)
            nursery.start_soon(ask, engine_at(other), 60, 20)
        assert max(one.statistics().connections_total, other.statistics().connections_total) <= 40
        assert len(transport._shared.get()) == 1


async def test_the_first_calls_load_the_library_in_one_thread(unloaded, monkeypatch):
    """The loop goes on meanwhile, however many calls are the first."""
    threads = []
    load = library._load

    def noting(*, secure):
        threads.append(threading.current_thread())
        load(secure=secure)

    monkeypatch.setattr(library, "_load", noting)
    async with WireServer() as server:
        server.default = ANSWER
        await ask(engine_at(server), 10, 10)
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


async def test_a_first_call_that_is_cancelled_while_it_loads(unloaded, monkeypatch):
    """It ends at once, and the next one loads what is needed."""
    blocked = threading.Event()
    load = library._load
    monkeypatch.setattr(library, "_load", lambda *, secure: blocked.wait(60))
    async with WireServer() as server:
        server.default = ANSWER
        with trio.move_on_after(0.01) as scope:
            await allm.generate(engine_at(server), "hi")
        assert scope.cancelled_caught
        monkeypatch.setattr(library, "_load", load)
        blocked.set()
        await ask(engine_at(server), 1, 1)
