"""A chat whose session others use, whose process was killed, or whose database is unavailable."""

from __future__ import annotations

import stat

import attrs
import pytest
import trio
import trio.testing

import allm
from allm import fake
from allm.cli.chat import Chat
from allm.cli.exit_codes import exit_code_of
from allm.cli.session_storage import StoredSession
from allm.cli.stores import open_stored_session
from allm.providers import Fake
from allm.session.stores.backend import Change
from allm.session.stores.memory import MemoryBackend


@allm.tool
async def note(text: str) -> str:
    """Takes a note."""
    return f"noted {text}"


def engine(*scripts):
    return allm.Engine(adapter=Fake(scripts=scripts), model="scripted", tools=[note])


def held(pipes, stored, lines, *scripts):
    """Run a chat; returns the exit code, standard output and standard error."""
    pipes.stdin.write(lines)
    pipes.stdin.seek(0)
    chat = Chat(engine=engine(*scripts), options={}, terminal=pipes, stored=stored)
    code = exit_code_of(pipes, chat.run)
    return code, pipes.stdout.stream.getvalue(), pipes.stderr.stream.getvalue()


def texts(stored):
    return [message.text for message in stored.session.thread.messages]


class Patched:
    """A backend with some operations replaced, each called with the original."""

    def __init__(self, backend, **operations):
        self.backend, self.operations = backend, operations

    def __getattr__(self, name):
        real = getattr(self.backend, name)
        if name not in self.operations:
            return real
        return lambda *args, **options: self.operations[name](real, *args, **options)


class Killed(BaseException):
    """Stands for the death of the process."""


async def killed(real, *args, **options):
    raise Killed


async def interrupted_turn(backend):
    """Leave a turn whose process died after its tool had run."""
    store = allm.session.SessionStore(Patched(backend, write=killed))
    with pytest.raises(Killed):
        async with store.turn("chat") as turn:
            await turn.reply(engine([fake.tool_call("note", {"text": "x"})], [fake.text("never saved")]), "Note x")


def in_memory(terminal, backend, **operations):
    return StoredSession(allm.session.SessionStore(Patched(backend, **operations)), "chat", terminal)


def test_a_killed_turn_is_finished_first(pipes):
    """Its tool does not run again; then lines are read."""
    backend = MemoryBackend()
    trio.run(interrupted_turn, backend)
    stored = in_memory(pipes, backend)
    code, output, beside = held(pipes, stored, "More\n", [fake.text("Noted.")], [fake.text("Sure.")])
    assert (code, output) == (0, "Noted.\nSure.\n")
    assert "finishing a turn that was interrupted" in beside
    assert "* note" not in beside
    assert texts(stored) == ["Note x", "", "noted x", "Noted.", "More", "Sure."]


def test_a_conversation_that_someone_else_went_on_with(pipes):
    """The message is not sent, and the newer conversation is loaded."""
    backend = MemoryBackend()

    async def prepare():
        await allm.session.SessionStore(backend).save(allm.Session(id="chat"))

    async def acquire(real, key, token, seconds, **options):
        record = await real(key, token, seconds, **options)
        if record.version == 1 and stored.version == 1:  # the second look
            await real.__self__.release(key, token)
            session = allm.session.append_user(allm.Session(id="chat"), "theirs")
            await allm.session.SessionStore(backend).save(session, version=1)
            return await real(key, token, seconds, **options)
        return record

    trio.run(prepare)
    stored = in_memory(pipes, backend, acquire=acquire)
    code, output, beside = held(pipes, stored, "mine\n/thread\nagain\n", [fake.text("Yes.")])
    assert (code, output) == (1, "user: theirs\nYes.\n")
    assert "another process has continued" in beside
    assert texts(stored) == ["theirs", "again", "Yes."]


def test_a_conversation_that_was_saved_while_the_chat_waited(pipes):
    """The chat begins with the saved conversation."""
    backend = MemoryBackend()
    looks = []

    async def acquire(real, key, token, seconds, **options):
        looks.append(token)
        if len(looks) == 1:
            return None
        if len(looks) == 2:
            session = allm.session.append_user(allm.Session(id="chat"), "theirs")
            await allm.session.SessionStore(backend).save(session)
        return await real(key, token, seconds, **options)

    stored = in_memory(pipes, backend, acquire=acquire)
    assert held(pipes, stored, "/thread\n") == (0, "user: theirs\n", "")


async def test_waiting_is_told(pipes, autojump_clock):
    """A message is shown once, after a moment."""
    backend = MemoryBackend()
    done = []

    async def work(turn):
        done.append(turn.version)

    stored = in_memory(pipes, backend)
    async with trio.open_nursery() as nursery, allm.session.SessionStore(backend).turn("chat"):
        nursery.start_soon(stored.turn, work)
        await trio.sleep(100)
        assert not done
    assert done == [0]
    assert pipes.stderr.stream.getvalue().count("waiting: another process has this conversation\n") == 1


def test_a_database_that_is_away_for_a_line(pipes, monkeypatch):
    """The line is not sent, and the next one works; the partial response is kept."""
    monkeypatch.setattr("allm.session.stores.saving.PATIENCE", 0.05)
    backend = MemoryBackend()
    fail = []

    async def away(real, *args, **options):
        if fail.pop(0) if fail else False:
            raise allm.SessionError("gone", reason="unavailable")
        return await real(*args, **options)

    stored = in_memory(pipes, backend, acquire=away, write=away)
    fail[:] = [False, True, False, True]  # the first look; a line; a line whose answer cannot be saved
    code, output, beside = held(pipes, stored, "One\nTwo\nThree\n", [fake.text("2")], [fake.text("3")])
    assert (code, output) == (1, "2\n3\n")
    assert beside.count("gone [unavailable]\n") == 2
    assert beside.count("stayed away") == 1
    assert texts(stored) == ["Two", "2", "Three", "3"]
    assert trio.run(allm.session.SessionStore(backend).load, "chat")[0] == stored.session


@pytest.mark.parametrize("document", ["{", allm.to_json(allm.user("hello"))])
def test_a_conversation_that_cannot_be_read(pipes, document):
    """The chat does not begin, and nothing is overwritten."""
    backend = MemoryBackend()

    async def prepare():
        await backend.write("chat", Change(head=document), version=0, token=None)

    trio.run(prepare)
    code, output, beside = held(pipes, in_memory(pipes, backend), "hello\n")
    assert (code, output) == (1, "")
    assert "cannot be read" in beside


@pytest.mark.parametrize(("typed", "code"), [(True, 0), (False, 130)])
def test_ctrl_c_before_the_conversation_is_there(terminal, pipes, monkeypatch, typed, code):
    """It ends the chat."""

    async def struck(work):
        pass

    monkeypatch.setattr("allm.cli.chat_turns.run_until_interrupted", struck)
    screen = terminal if typed else pipes
    found, _, beside = held(screen, in_memory(screen, MemoryBackend()), "hello\n")
    assert found == code
    assert "interrupted\n" in beside


async def test_clearing_forgets_a_turn_that_was_interrupted(pipes):
    """The stored session is what the user sees."""
    backend = MemoryBackend()
    stored = in_memory(pipes, backend)

    async def look(turn):
        assert turn.interrupted is None

    await stored.turn(look)
    await interrupted_turn(backend)
    stored.session = attrs.evolve(stored.session, metadata={"cleared": True})
    await stored.save()
    await stored.turn(look)
    assert (await allm.session.SessionStore(backend).load("chat"))[0] == stored.session
    assert stored.session.metadata == {"cleared": True}


async def test_a_file_is_made_for_its_owner(pipes, tmp_path):
    """A new database is created at the first turn, for its owner only."""
    stored = open_stored_session(str(tmp_path / "a b?.db"), "trip", pipes)

    async def look(turn):
        await turn.save(allm.Session(id="trip"))

    async with stored.store:
        await stored.turn(look)
    assert stat.S_IMODE((tmp_path / "a b?.db").stat().st_mode) == 0o600
    async with open_stored_session(str(tmp_path / "a b?.db"), None, pipes).store as store:
        assert await store.load("trip") == (allm.Session(id="trip"), 1)
