"""The conversation of a chat where others have it too, where a process was killed, and where the database is away."""

from __future__ import annotations

import stat

import attrs
import pytest
import trio
import trio.testing

import allm
from allm import fake
from allm.cli.chat import Chat
from allm.cli.exit_codes import settle
from allm.cli.session_storage import Kept
from allm.cli.stores import kept_of
from allm.providers import Fake
from allm.session.stores.memory import MemoryBackend


@allm.tool
async def note(text: str) -> str:
    """Takes a note."""
    return f"noted {text}"


def engine(*scripts):
    return allm.Engine(adapter=Fake(scripts=scripts), model="scripted", tools=[note])


def held(pipes, kept, lines, *scripts):
    """The exit code of a chat, what it printed and what it said beside that."""
    pipes.stdin.write(lines)
    pipes.stdin.seek(0)
    chat = Chat(engine=engine(*scripts), options={}, terminal=pipes, kept=kept)
    code = settle(pipes, chat.run)
    return code, pipes.stdout.stream.getvalue(), pipes.stderr.stream.getvalue()


def texts(kept):
    return [message.text for message in kept.session.thread.messages]


class Patched:
    """A backend with operations of the test's own, each called with the real one."""

    def __init__(self, backend, **operations):
        self.backend, self.operations = backend, operations

    def __getattr__(self, name):
        real = getattr(self.backend, name)
        if name not in self.operations:
            return real
        return lambda *args, **options: self.operations[name](real, *args, **options)


class Killed(BaseException):
    """Stands for the end of a process."""


async def killed(real, *args, **options):
    raise Killed


async def interrupted_turn(backend):
    """Leave a turn whose process died after its tool had run."""
    store = allm.session.SessionStore(Patched(backend, write=killed))
    with pytest.raises(Killed):
        async with store.turn("chat") as turn:
            await turn.reply(engine([fake.tool_call("note", {"text": "x"})], [fake.text("never saved")]), "Note x")


def in_memory(terminal, backend, **operations):
    return Kept(allm.session.SessionStore(Patched(backend, **operations)), "chat", terminal)


def test_a_killed_turn_is_finished_first(pipes):
    """Its tool does not run again; then the lines are read."""
    backend = MemoryBackend()
    trio.run(interrupted_turn, backend)
    kept = in_memory(pipes, backend)
    code, output, beside = held(pipes, kept, "More\n", [fake.text("Noted.")], [fake.text("Sure.")])
    assert (code, output) == (0, "Noted.\nSure.\n")
    assert "going on with a turn that was interrupted" in beside
    assert "* note" not in beside
    assert texts(kept) == ["Note x", "", "noted x", "Noted.", "More", "Sure."]


def test_a_conversation_that_someone_else_went_on_with(pipes):
    """What was about to be said was said to an older one: it is not sent, and the newer one is there."""
    backend = MemoryBackend()

    async def prepare():
        await allm.session.SessionStore(backend).save(allm.Session(id="chat"))

    async def acquire(real, key, token, seconds):
        record = await real(key, token, seconds)
        if record.version == 1 and kept.version == 1:  # the second look
            await real.__self__.release(key, token)
            session = allm.session.append_user(allm.Session(id="chat"), "theirs")
            await allm.session.SessionStore(backend).save(session, version=1)
            return await real(key, token, seconds)
        return record

    trio.run(prepare)
    kept = in_memory(pipes, backend, acquire=acquire)
    code, output, beside = held(pipes, kept, "mine\n/thread\nagain\n", [fake.text("Yes.")])
    assert (code, output) == (1, "user: theirs\nYes.\n")
    assert "another process has gone on" in beside
    assert texts(kept) == ["theirs", "again", "Yes."]


def test_a_conversation_that_was_saved_while_the_chat_waited(pipes):
    """It is the conversation that the chat begins with."""
    backend = MemoryBackend()
    looks = []

    async def acquire(real, key, token, seconds):
        looks.append(token)
        if len(looks) == 1:
            return None
        if len(looks) == 2:
            session = allm.session.append_user(allm.Session(id="chat"), "theirs")
            await allm.session.SessionStore(backend).save(session)
        return await real(key, token, seconds)

    kept = in_memory(pipes, backend, acquire=acquire)
    assert held(pipes, kept, "/thread\n") == (0, "user: theirs\n", "")


async def test_waiting_is_told(pipes, autojump_clock):
    """Once, when it has taken a moment."""
    backend = MemoryBackend()
    done = []

    async def work(turn):
        done.append(turn.version)

    kept = in_memory(pipes, backend)
    async with trio.open_nursery() as nursery, allm.session.SessionStore(backend).turn("chat"):
        nursery.start_soon(kept.turn, work)
        await trio.sleep(100)
        assert not done
    assert done == [0]
    assert pipes.stderr.stream.getvalue().count("waiting: another process has this conversation\n") == 1


def test_a_database_that_is_away_for_a_line(pipes):
    """One line says so, nothing is sent, and the next one is answered; what had arrived is not forgotten."""
    backend = MemoryBackend()
    fail = []

    async def away(real, *args, **options):
        if fail.pop(0) if fail else False:
            raise allm.SessionError("gone", reason="unavailable")
        return await real(*args, **options)

    kept = in_memory(pipes, backend, acquire=away, write=away)
    fail[:] = [False, True, False, True]  # the first look; a line; a line whose answer cannot be saved
    code, output, beside = held(pipes, kept, "One\nTwo\nThree\n", [fake.text("2")], [fake.text("3")])
    assert (code, output) == (1, "2\n3\n")
    assert beside.count("Error: gone [unavailable]\n") == 2
    assert texts(kept) == ["Two", "2", "Three", "3"]
    assert allm.from_json(backend._rows["chat"].document) == kept.session


@pytest.mark.parametrize("document", ["{", allm.to_json(allm.user("hello"))])
def test_a_conversation_that_cannot_be_read(pipes, document):
    """The chat does not begin, and nothing is overwritten."""
    backend = MemoryBackend()

    async def prepare():
        await backend.write("chat", document, version=0, token=None)

    trio.run(prepare)
    code, output, beside = held(pipes, in_memory(pipes, backend), "hello\n")
    assert (code, output) == (1, "")
    assert "cannot be read" in beside


@pytest.mark.parametrize(("typed", "code"), [(True, 0), (False, 130)])
def test_ctrl_c_before_the_conversation_is_there(terminal, pipes, monkeypatch, typed, code):
    """Ends the chat."""

    async def struck(work):
        pass

    monkeypatch.setattr("allm.cli.chat.run_until_interrupted", struck)
    screen = terminal if typed else pipes
    found, _, beside = held(screen, in_memory(screen, MemoryBackend()), "hello\n")
    assert found == code
    assert "interrupted\n" in beside


async def test_clearing_forgets_a_turn_that_was_interrupted(pipes):
    """What is saved is what the user sees."""
    backend = MemoryBackend()
    kept = in_memory(pipes, backend)

    async def look(turn):
        assert turn.interrupted is None

    await kept.turn(look)
    await interrupted_turn(backend)
    kept.session = attrs.evolve(kept.session, metadata={"cleared": True})
    await kept.save()
    await kept.turn(look)
    assert allm.from_json(backend._rows["chat"].document) == kept.session
    assert kept.session.metadata == {"cleared": True}


async def test_a_file_is_made_for_its_owner(pipes, tmp_path):
    """With the first turn."""
    kept = kept_of(str(tmp_path / "a b?.db"), "trip", pipes)

    async def look(turn):
        await turn.save(allm.Session(id="trip"))

    async with kept.store:
        await kept.turn(look)
    assert stat.S_IMODE((tmp_path / "a b?.db").stat().st_mode) == 0o600
    async with kept_of(str(tmp_path / "a b?.db"), None, pipes).store as store:
        assert await store.load("trip") == (allm.Session(id="trip"), 1)
