"""Connections that are dropped at random points of turns with tools, between the store and a real server.

In real time, since the drivers wait in threads. In the nox session `stores`, 200 drops with each server, elsewhere a
handful. The seed is printed; ALLM_SEED repeats a run.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from contextlib import AsyncExitStack

import pytest
import trio
import trio.lowlevel
import trio.testing

import allm
from allm import fake
from tcp_proxy import Proxy

DROPS = int(os.environ.get("ALLM_TEST_DROPS", "5"))
SEED = int(os.environ["ALLM_SEED"])  # tests/conftest.py draws one where it is not set
MOST_PIECES = {"postgres": 120, "redis": 30}  # that pass the proxy until a drop; some drops hit the next turn
MOST_REFUSED = 3  # connections after a drop
WHOLE = 0.7  # of the turns are read to their end
MOST_EVENTS = 25  # that are read of the others, less than a turn has
TURNS_OF_A_SESSION = 20
pytestmark = pytest.mark.timeout(600)  # seconds; 200 drops on a busy machine
SERVERS = pytest.mark.parametrize("store_url", ["postgres", "redis"], indirect=True)


def close_at_the_server(url, name):
    """Close the connections with this name, with a parting word of the server if it has one."""
    if url.startswith("redis"):
        import redis

        with redis.Redis.from_url(url) as client:
            for found in client.client_list():
                if found["name"] == name:
                    client.client_kill_filter(_id=found["id"])
    else:
        import psycopg

        with psycopg.connect(url, autocommit=True) as connection:
            own = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s"
            connection.execute(own, (name,))


@SERVERS
@pytest.mark.parametrize("by", ["network", "server", "silence"])
async def test_idle_connections_that_died(store_url, new_id, nursery, monkeypatch, by):
    """Each operation works: the first replaces its connection, and the others do not meet the next dead one."""
    if by == "silence":
        if store_url.startswith("redis"):
            pytest.skip("sends whole operations, so silence does not tell whether one took effect")
        monkeypatch.setattr("allm.session.stores.postgres.BOUND", 0.5)
    proxy = Proxy(store_url)
    name = f"?{'client_name' if store_url.startswith('redis') else 'application_name'}={new_id}"
    async with allm.session.open_store(await nursery.start(proxy.serve) + name) as store:

        async def several(operation):
            async with trio.open_nursery() as at_once:
                for number in range(4):
                    at_once.start_soon(operation, f"{new_id}-{number}")

        async def save(name):
            await store.save(allm.Session(id=name))

        async def load(name):
            assert await store.load(name) == (allm.Session(id=name), 1)

        async def turn(name):
            async with store.turn(name) as held:
                assert held.version == 1

        async def delete(name):
            assert await store.delete(name)

        for operation in (save, load, turn, delete):
            await several(operation)
            if by == "network":
                proxy.drop()
            elif by == "silence":
                proxy.mute()
            else:
                await trio.to_thread.run_sync(close_at_the_server, store_url, new_id)
            await trio.testing.wait_all_tasks_blocked(0.01)
    nursery.cancel_scope.cancel()


@SERVERS
async def test_connections_that_are_dropped_during_turns(
    store_url, store, new_id, nursery, monkeypatch, record_property
):
    """Nothing acknowledged is lost or doubled, no tool runs twice, and every outcome is the tool's own."""
    monkeypatch.setattr("allm.session.stores.saving.FIRST_PAUSE", 0.01)  # real seconds, after each of many drops
    print(f"ALLM_SEED={SEED}")  # noqa: T201  (pytest shows it if the test fails)
    dice = random.Random(SEED)  # noqa: S311  (repeatable, not secret)
    proxy, most = Proxy(store_url), MOST_PIECES["redis" if store_url.startswith("redis") else "postgres"]
    ran: Counter[str] = Counter()
    ended: set[str] = set()

    async def act(arguments):
        ran[arguments["call"]] += 1
        await trio.lowlevel.checkpoint()
        ended.add(arguments["call"])
        return f"acted {arguments['call']}"

    async def refuse(arguments):
        ran[arguments["call"]] += 1
        ended.add(arguments["call"])
        raise LookupError(f"refused {arguments['call']}")

    async def read(events, most):
        count = 0
        async for _ in events:
            count += 1
            if count == most:
                return

    tools = [allm.Tool("act", "Acts.", handler=act), allm.Tool("refuse", "Refuses.", handler=refuse)]
    before: tuple[allm.Message, ...] = ()
    completed = 0
    async with allm.session.open_store(await nursery.start(proxy.serve)) as dropped:
        turns = 0
        while proxy.dropped < DROPS:
            name = f"{new_id}-{turns // TURNS_OF_A_SESSION}"
            if turns % TURNS_OF_A_SESSION == 0:
                before = ()
            calls = [f"{turns}/{number}" for number in range(3)]
            script = [
                [
                    fake.tool_call("act", {"call": calls[0]}, id=calls[0]),
                    fake.tool_call("refuse", {"call": calls[1]}, id=calls[1]),
                ],
                [fake.tool_call("act", {"call": calls[2]}, id=calls[2])],
                [fake.text(f"done {turns}")],
            ]
            engine = allm.Engine(adapter=allm.providers.Fake(scripts=script), tools=tools)
            version = None
            while version is None:
                if proxy.left is None:
                    proxy.left, proxy.refusing = dice.randrange(most), dice.randrange(MOST_REFUSED + 1)
                async with AsyncExitStack() as stack:
                    try:
                        turn = await stack.enter_async_context(dropped.turn(name))
                    except allm.SessionError:
                        continue  # nothing has been said or paid for by then
                    async with turn.stream_reply(engine, f"turn {turns}") as events:
                        await read(events, None if dice.random() < WHOLE else dice.randrange(1, MOST_EVENTS))
                    version, acknowledged = turn.version, turn.session
            results = {
                calls[0]: f"acted {calls[0]}",
                calls[1]: f'{{"error":{{"type":"handler_raised","message":"refused {calls[1]}"}}}}',
                calls[2]: f"acted {calls[2]}",
            }
            # As another worker sees it, with connections of its own.
            session, saved = await store.load(name)
            assert (session, saved) == (acknowledged, version)
            assert version == turns % TURNS_OF_A_SESSION + 1
            assert session.thread.messages[: len(before)] == before
            said = session.thread.messages[len(before) :]
            assert said[0].text == f"turn {turns}"
            for message in said:
                if message.role == "tool" and message.text != results[message.tool_call_id]:
                    assert message.tool_call_id not in ended, "an outcome that was known became a guess"
                    assert '"cancelled"' in message.text
            if events.result().halted_reason == "completed":
                completed += 1
                expected = [f"turn {turns}", "", *(results[call] for call in calls[:2]), "", results[calls[2]]]
                assert [message.text for message in said] == [*expected, f"done {turns}"]
            before = session.thread.messages
            turns += 1
        assert set(ran.values()) == {1}
        assert completed
    record_property("drops", proxy.dropped)
    record_property("turns", turns)
    record_property("turns read to their end", completed)
    nursery.cancel_scope.cancel()
