"""A database may be restarted at any moment of a turn. In real time, since it is a process of its own."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
import trio

import allm
from allm import fake

PATIENCE = 120  # seconds for a turn that meets a restart
with_servers = importlib.util.module_from_spec(
    spec := importlib.util.spec_from_file_location(
        "with_servers", Path(__file__).parents[1] / "session" / "with_servers.py"
    )
)
spec.loader.exec_module(with_servers)


class Restartable:
    """A server that can be stopped and started again with its data, at the same address."""

    def __init__(self, run, folder):
        self.run, self.folder, self.port = run, folder, with_servers.free_port()

    def start(self):
        self.running = contextlib.ExitStack()
        try:
            return self.running.enter_context(self.run(self.folder, self.port))
        except with_servers.NotStartedError as reason:
            pytest.skip(f"NOT TESTED: {reason}")

    def stop(self):
        self.running.close()


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("kind", ["postgres", "redis"])
async def test_a_database_that_restarts_during_turns(kind, long, chance, record_property):
    """Restarts of a database in the middle of turns with tools lose no turn that was acknowledged.

    No tool runs twice, and no outcome is wrong.
    """
    if not os.environ.get(f"ALLM_TEST_{kind.upper()}"):
        pytest.skip(f"{kind}: no server; `nox -s reliability` starts one")
    restarts, turns, failed = 30 if long else 2, 0, 0
    ran = Counter()

    async def act(arguments):
        ran[arguments["call"]] += 1
        await trio.sleep(chance.random() * 0.02)
        return f"acted {arguments['call']}"

    tool = allm.Tool("act", "Acts.", handler=act)
    acknowledged = []
    with tempfile.TemporaryDirectory(prefix="allm-") as folder:
        server = Restartable(getattr(with_servers, kind), Path(folder))
        url = await trio.to_thread.run_sync(server.start)
        done = trio.Event()

        async def restart():
            for _ in range(restarts):
                await trio.sleep(chance.random() * 0.5)
                await trio.to_thread.run_sync(server.stop)
                await trio.sleep(chance.random() * 0.2)
                await trio.to_thread.run_sync(server.start)
            done.set()

        try:
            async with allm.session.open_store(url) as store, trio.open_nursery() as nursery:
                nursery.start_soon(restart)
                while not done.is_set():
                    calls = [f"{turns}/{number}" for number in range(3)]
                    asked = [fake.tool_call("act", {"call": call}, id=call) for call in calls]
                    script = [asked[:2], asked[2:], [fake.text(f"done {turns}")]]
                    engine = allm.Engine(adapter=allm.providers.Fake(scripts=script), tools=[tool])
                    with trio.fail_after(PATIENCE):
                        async with contextlib.AsyncExitStack() as stack:
                            try:
                                turn = await stack.enter_async_context(store.turn("s", lease=5))
                            except allm.SessionError:  # nothing has been said or paid for by then
                                failed += 1
                                continue
                            await turn.reply(engine, f"turn {turns}")
                            acknowledged.append(turn.session)
                    turns += 1
            async with allm.session.open_store(url) as store:
                session, version = await store.load("s")
        finally:
            await trio.to_thread.run_sync(server.stop)
    assert session == acknowledged[-1]
    assert version == turns
    allm.validate(session)
    said = [
        line
        for number in range(turns)
        for calls in [[f"{number}/{n}" for n in range(3)]]
        for line in [
            f"turn {number}",
            "",
            *(f"acted {call}" for call in calls[:2]),
            "",
            f"acted {calls[2]}",
            f"done {number}",
        ]
    ]
    assert [message.text for message in session.thread.messages] == said
    assert set(ran.values()) == {1}
    record_property("restarts", restarts)
    record_property("turns", turns)
    record_property("turns that could not begin", failed)
