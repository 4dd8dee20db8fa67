"""A call may be cancelled at any moment."""

from __future__ import annotations

import contextlib
import ssl

import attrs
import pytest
import trio

from allm.testing import WireServer, cancel_everywhere, loopback_clock
from calls import CALLS, OVER_HTTP
from leftovers import client_library

NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # reading the certificates takes 0.1 s for each client


@pytest.fixture
def clock():
    return loopback_clock()


def prepare(server, replies):
    server._queue.clear()
    server.requests.clear()
    server.add(*replies[:-1])
    server.default = replies[-1] if replies else None


async def cancels(call, pool):
    """Cancel the call at every moment, and make it once more; how often it was cancelled."""
    limiter = trio.CapacityLimiter(1)
    async with WireServer() as server:

        @contextlib.asynccontextmanager
        async def around():
            """The library's own client, which stays connected; or a new one, which has to connect first."""
            prepare(server, call.pieces())
            if pool == "connected" or not call.replies:
                yield None
            else:
                async with client_library().AsyncClient(verify=NO_TLS, timeout=None) as client:
                    yield client

        async def run(client):
            return await call.ask(call.engine(server.base_url, client, limiter=limiter))

        async def check(trial):
            prepare(server, call.replies)
            with trio.fail_after(60):
                result = await run(trial.stage)
            assert getattr(result, "error", None) is None

        report = await cancel_everywhere(run, around=around, check=check)
    return report.trials


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("pool", ["connected", "new"])
async def test_cancel_at_every_moment(pool, clock, long, chance, record_property):
    """A call can be cancelled before and after every step of every one of its tasks.

    No task, connection, token of a limiter or unanswered tool call is left, and the next call works.
    """
    chosen = CALLS if pool == "connected" else [CALLS[0], OVER_HTTP[-1]]
    for call in chosen if long else chance.sample(chosen, pool == "connected"):
        try:
            record_property("cancels", await cancels(call, pool))
        except Exception as error:
            error.add_note(f"the call was {call.name}")
            raise
        record_property("kinds of call", 1)


@pytest.mark.timeout(600)
async def test_cancel_while_waiting_for_a_connection(clock, record_property):
    """The same where a client allows one connection, so that calls wait for each other."""
    call = CALLS[0]
    reply = attrs.evolve(call.replies[-1], framing="close")

    async with WireServer(reply) as server:

        @contextlib.asynccontextmanager
        async def around():
            library = client_library()
            limits = library.Limits(max_connections=1)
            async with library.AsyncClient(verify=NO_TLS, timeout=None, limits=limits) as client:
                yield client

        async def run(client):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(call.ask, call.engine(server.base_url, client))

        async def check(trial):
            with trio.fail_after(60):
                assert (await call.ask(call.engine(server.base_url, trial.stage))).error is None

        report = await cancel_everywhere(run, around=around, check=check)
    record_property("cancels", report.trials)


@pytest.mark.timeout(600)
async def test_cancel_while_a_slow_connection_opens(clock, monkeypatch, record_property):
    """The same where connecting takes so long that Trio waits for all of its attempts together."""
    connect = trio._socket._SocketType.connect

    async def slowly(self, address):
        await trio.sleep(1)
        await connect(self, address)

    monkeypatch.setattr(trio._socket._SocketType, "connect", slowly)
    record_property("cancels", await cancels(CALLS[0], "new"))
