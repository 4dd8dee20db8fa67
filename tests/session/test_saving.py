"""A store that fails while a turn is saved: nothing paid for is lost, and no known outcome becomes a guess."""

from __future__ import annotations

import functools
import pickle

import pytest
import trio

import allm
from allm import fake
from allm.session.stores import saving
from allm.session.stores.memory import MemoryBackend
from conversations import CALL, NOOP, TEXT, engine, texts


class Faulty:
    """A backend with faults: for each operation a list of "ok", "lost" (not carried out), "unheard" (no reply).

    A fault that stands alone is repeated for ever.
    """

    def __init__(self, **faults):
        self.backend, self.faults, self.calls = MemoryBackend(), faults, []

    def __getattr__(self, name):
        return functools.partial(self.run, name)

    async def run(self, name, *args, **options):
        fault = self.faults.get(name, "ok")
        if isinstance(fault, list):
            fault = fault.pop(0) if fault else "ok"
        self.calls.append(name)
        result = None if fault == "lost" else await getattr(self.backend, name)(*args, **options)
        if fault != "ok":
            await trio.lowlevel.checkpoint()
            raise allm.SessionError("gone", reason="unavailable", retryable=fault != "broken")
        return result


def faulty(**faults):
    backend = Faulty(**faults)
    return backend, allm.session.SessionStore(backend)


def acting(*, after=None):
    """A tool that says that it acted, once `after` was called."""
    ran = []

    async def act(arguments):
        ran.append(arguments)
        if after is not None:
            after()
        return "acted"

    return ran, allm.Tool("act", "Acts.", handler=act)


ACT = [fake.tool_call("act", id="c0")]


@pytest.mark.parametrize("fault", ["lost", "unheard"])
async def test_a_known_outcome_counts_though_it_cannot_be_recorded(autojump_clock, fault):
    """If the store comes back only for the save, the session has the outcome, not "cancelled"."""
    backend, store = faulty()
    ran, tool = acting(after=lambda: backend.faults.update(append=fault))
    async with store.turn("s", lease=1000) as turn:
        with pytest.raises(allm.SessionError) as caught:
            await turn.reply(engine(ACT, TEXT, tools=[tool]), "go")
        assert caught.value.reason == "unavailable"
        assert texts(turn.session) == ["go", "", "acted"]
        assert turn.interrupted is None
    assert (await store.load("s"))[0] == turn.session
    assert len(ran) == 1


@pytest.mark.parametrize("faults", [["lost"], ["unheard"], ["lost", "unheard", "lost"]])
@pytest.mark.parametrize("begin", [0, 1, 2])
async def test_an_append_is_repeated(autojump_clock, faults, begin):
    """The turn goes on as if nothing had happened, and the journal has each entry once."""
    backend, store = faulty(append=["ok"] * begin + faults)
    journals = []

    async def noop(arguments):
        journals.append(len(backend.backend._rows["s"].journal))
        return "ok"

    tool = allm.Tool("noop", "N.", handler=noop)
    async with store.turn("s") as turn:
        await turn.reply(engine(CALL, [fake.tool_call("noop", id="c1")], TEXT, tools=[tool]), "go")
    assert texts(turn.session) == ["go", "", "ok", "", "ok", "done"]
    assert await store.load("s") == (turn.session, 1)
    assert journals == [1, 3]


async def test_a_failure_that_is_known_counts_while_a_policy_thinks(autojump_clock):
    """A call that has failed is not "cancelled" because its policy was."""

    async def broken(arguments):
        raise LookupError("nope")

    async def think(call, error):
        scope.cancel()
        await trio.sleep_forever()

    _, store = faulty()
    tool = allm.Tool("act", "A.", handler=broken)
    async with store.turn("s") as turn:
        with trio.CancelScope() as scope:
            await turn.reply(engine(ACT, TEXT, tools=[tool]), "go", on_tool_error=think)
        assert scope.cancelled_caught
        assert "nope" in texts(turn.session)[2]
        assert "cancelled" not in texts(turn.session)[2]


@pytest.mark.parametrize("faults", [["lost"], ["unheard"], ["unheard", "lost"], ["lost"] * 10])
async def test_a_save_is_repeated(autojump_clock, faults):
    """Also under a cancellation; it counts once even if a reply was lost."""
    _, store = faulty(write=list(faults))
    async with store.turn("s") as turn:
        with trio.CancelScope() as scope:
            async with turn.stream_reply(engine(TEXT), "go") as events:
                await events.until_done()
                scope.cancel()
        assert (turn.version, texts(turn.session)) == (1, ["go", "done"])
        await turn.reply(engine(TEXT), "more")
    assert await store.load("s") == (turn.session, 2)
    session, version = await store.load("s")
    store._backend.faults["write"] = list(faults)
    assert await store.save(allm.session.append_user(session, "x"), version=version) == 3


async def test_a_repeated_save_does_not_take_anothers_for_its_own(autojump_clock):
    """If someone else saved while the store was away, there is a conflict."""
    backend, store = faulty()
    session, _ = await allm.session.start(engine(TEXT), "go", id="s")
    mine = allm.session.append_user(session, "mine")
    backend.faults["write"] = ["lost"]

    async def theirs():
        await trio.sleep(0.01)
        await allm.session.SessionStore(backend.backend).save(session)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs)
        with pytest.raises(allm.SessionConflict) as caught:
            await store.save(mine)
    assert (caught.value.session, caught.value.version) == (session, 1)


async def stepped(turn, model):
    await turn.save(allm.Session(id="s", thread=allm.Thread([allm.user("go")])))
    await turn.step(model)


async def streamed(turn, model):
    async with turn.stream_reply(model, "go") as events:
        async for event in events:
            if isinstance(event, allm.ToolResultEncoded):
                break


ENDINGS = {
    "reply": lambda turn, model: turn.reply(model, "go"),
    "step": stepped,
    "stream": streamed,
    "save": lambda turn, model: turn.save(allm.Session(id="s", thread=allm.Thread([allm.user("go")]))),
}


@pytest.mark.parametrize("fault", ["lost", "unheard"])
@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_store_that_stays_away(autojump_clock, fault, ending):
    """The error carries the session, which the same turn or a later one can save."""
    expected = {
        "reply": ["go", "", "ok", "done"],
        "step": ["go", "", "ok"],
        "stream": ["go", "", "ok"],
        "save": ["go"],
    }
    for later in (False, True):
        backend, store = faulty()
        if ending == "step":
            backend.faults["write"] = ["ok"] + [fault] * 1000
        else:
            backend.faults["write"] = fault
        started = trio.current_time()
        async with store.turn("s", lease=1000) as turn:
            with pytest.raises(allm.SessionError) as caught:
                await ENDINGS[ending](turn, engine(CALL, TEXT))
            error = caught.value
            assert (error.reason, type(error)) == ("unavailable", allm.SessionError)
            assert texts(error.session) == expected[ending]
            assert pickle.loads(pickle.dumps(error)).session == error.session  # noqa: S301  our own
            assert trio.current_time() - started >= saving.PATIENCE
            backend.faults.clear()
            if turn.interrupted is not None:
                with pytest.raises(allm.SessionError, match=r"turn\.save\(error\.session\)"):
                    await turn.reply(engine(TEXT), "more")
            if not later:
                await turn.save(error.session)
                assert turn.interrupted is None
                assert turn.session == error.session
        if later:
            async with store.turn("s") as turn:
                if turn.interrupted is not None:
                    await turn.discard()
                await turn.save(error.session)
        assert (await store.load("s"))[0] == error.session
        async with store.turn("s") as turn:
            assert turn.interrupted is None


async def test_outcomes_are_carried_if_the_store_stays_away(autojump_clock):
    """Neither the append nor the save works: the session in the error has every known outcome."""
    backend, store = faulty()
    _, tool = acting(after=lambda: backend.faults.update(append="lost", write="lost"))

    async def slow(arguments):
        await trio.sleep_forever()

    script = [*ACT, fake.tool_call("slow", id="c1")]
    model = engine(script, TEXT, tools=[tool, allm.Tool("slow", "S.", handler=slow)])
    with pytest.raises(allm.SessionError) as caught:
        async with store.turn("s", lease=1000) as turn:
            await turn.reply(model, "go", tool_timeout=None)
    session = caught.value.session
    assert texts(session)[:3] == ["go", "", "acted"]
    assert '"cancelled"' in texts(session)[3]


async def test_a_save_that_took_effect_after_all(autojump_clock):
    """The next save of the turn replaces it; nobody is told of a conflict with themselves."""
    backend, store = faulty(write="unheard")
    async with store.turn("s", lease=1000) as turn:
        with pytest.raises(allm.SessionError):
            await turn.reply(engine(TEXT), "one")
        backend.faults.clear()
        await turn.reply(engine(TEXT), "two")
        assert texts(turn.session) == ["two", "done"]
        assert await store.load("s") == (turn.session, turn.version)
    async with store.turn("s", lease=1000) as turn:
        backend.faults["write"] = "unheard"
        with pytest.raises(allm.SessionError):
            await turn.reply(engine(TEXT), "three")
        backend.faults.clear()
        ran, tool = acting()
        await turn.reply(engine(ACT, TEXT, tools=[tool]), "four")
        assert texts(turn.session) == ["two", "done", "four", "", "acted", "done"]
        assert await store.load("s") == (turn.session, turn.version)
        assert len(ran) == 1


async def test_a_lost_lease_carries_the_session(autojump_clock):
    """It cannot be saved over the other worker's, but it is not gone."""
    backend, store = faulty()
    with pytest.raises(allm.SessionError) as caught:
        async with store.turn("s") as turn:
            backend.backend._rows["s"].token = "thief"
            await turn.reply(engine(TEXT), "go")
    assert (caught.value.reason, texts(caught.value.session)) == ("lease_lost", ["go", "done"])


async def test_an_error_that_will_not_pass_is_raised_at_once(autojump_clock):
    """A full disk is not tried again for half a minute."""
    backend, store = faulty(write="broken")
    with pytest.raises(allm.SessionError, match="gone") as caught:
        async with store.turn("s") as turn:
            await turn.reply(engine(TEXT, tools=[NOOP]), "go")
    assert (texts(caught.value.session), backend.calls.count("write")) == (["go", "done"], 1)


@pytest.mark.parametrize("faults", [("unheard", "lost"), ("lost", "unheard"), ("lost", "lost")])
async def test_one_of_two_saves_took_effect_after_all(autojump_clock, faults):
    """Whichever it was, the next save replaces it."""
    backend, store = faulty()
    async with store.turn("s", lease=1000) as turn:
        for fault, text in zip(faults, ("one", "two"), strict=True):
            backend.faults.update(write=fault, read="lost")
            with pytest.raises(allm.SessionError):
                await turn.reply(engine(TEXT), text)
        backend.faults.clear()
        await turn.reply(engine(TEXT), "three")
        assert texts(turn.session) == ["three", "done"]
        assert await store.load("s") == (turn.session, turn.version)


async def test_a_save_by_someone_else_is_not_taken_for_an_earlier_one(autojump_clock):
    """It is a conflict, with their session."""
    backend, store = faulty(write="lost", read="lost")
    theirs = allm.Session(id="s", thread=allm.Thread([allm.user("theirs")]))
    async with store.turn("s", lease=1000) as turn:
        with pytest.raises(allm.SessionError):
            await turn.reply(engine(TEXT), "one")
        backend.faults.clear()
        backend.backend._rows["s"].token = None
        await allm.session.SessionStore(backend.backend).save(theirs)
        with pytest.raises(allm.SessionConflict) as caught:
            await turn.reply(engine(TEXT), "two")
    assert caught.value.session == theirs


async def test_an_image_that_a_save_dropped_after_all(autojump_clock):
    """It is written again with the journal entry that has it, not only named there."""
    backend, store = faulty()
    seen = allm.user("Look", allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100_000)))
    await store.save(allm.Session(id="s", thread=allm.Thread([seen])))
    there = []

    async def noop(arguments):
        there.append(len(backend.backend._rows["s"].blobs))
        return "ok"

    async with store.turn("s", lease=1000) as turn:
        backend.faults.update(write="unheard", read="lost")
        with pytest.raises(allm.SessionError):
            await turn.save(allm.Session(id="s"))
        assert backend.backend._rows["s"].blobs == {}
        backend.faults.clear()
        await turn.reply(engine(CALL, TEXT, tools=[allm.Tool("noop", "N.", handler=noop)]), seen)
        assert there == [1]
    assert await store.load("s") == (turn.session, turn.version)
