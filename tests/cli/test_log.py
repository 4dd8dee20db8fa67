"""The log: conversations are kept, found again and continued, and no answer is lost because of it."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import attrs
import click
import pytest

import allm
from allm.cli import main
from allm.cli.log import Conversation, find_id, log_file, log_store

FACTS = {"model": "openai:a", "base_url": None}


def asked(session, text, answer):
    """The conversation after another question."""
    return attrs.evolve(session, thread=session.thread.add(allm.user(text), allm.assistant(answer)))


@pytest.fixture
def begin(terminal):
    """Open a conversation, and keep a turn of it."""

    async def begin(text, *, name=None, log=None, **facts):
        conversation = await Conversation.open(terminal, name=name, log=log)
        session = asked(conversation.session, text, f"{text}!")
        await conversation.keep(session, **{**FACTS, **facts}, turn={"input_tokens": 3})
        return conversation

    return begin


@pytest.fixture
def said(terminal):
    """What was said on standard error."""
    return terminal.stderr.stream.getvalue


async def stored(name="last"):
    async with log_store() as store:
        return await store.load(await find_id(store, name))


async def ids():
    async with log_store() as store:
        return await store.ids()


async def test_a_conversation_is_kept_and_continued(begin):
    """With its model, its server and the facts of each turn, in files of the user's own."""
    await begin("Hello")
    await begin("Again", name="last", model="openai:b", base_url="http://127.0.0.1:1/v1")
    session, version = await stored()
    assert [message.text for message in session.thread.messages] == ["Hello", "Hello!", "Again", "Again!"]
    assert version == 2
    assert session.metadata["model"] == "openai:b"
    assert session.metadata["base_url"] == "http://127.0.0.1:1/v1"
    assert [(turn["model"], turn["input_tokens"]) for turn in session.metadata["turns"]] == [
        ("openai:a", 3),
        ("openai:b", 3),
    ]
    assert await ids() == [session.id]
    if sys.platform != "win32":
        assert stat.S_IMODE(log_file().stat().st_mode) == 0o600
        assert stat.S_IMODE(log_file().parent.stat().st_mode) == 0o700


async def test_the_last_one_is_the_one_used_last(begin):
    """Not the one that was begun last; and if it was deleted, the newest one."""
    first = await begin("first")
    second = await begin("second")
    await begin("third", name=first.session.id)
    assert (await stored())[0].id == first.session.id
    async with log_store() as store:
        await store.delete(first.session.id)
    assert (await stored())[0].id == second.session.id


async def test_names_of_conversations(begin):
    """An id, or the beginning of a single one."""
    one = await begin("one")
    two = await begin("two")
    assert (await stored(one.session.id))[0].id == one.session.id
    assert (await stored(two.session.id[:-1]))[0].id == two.session.id
    with pytest.raises(click.ClickException, match="several conversations begin with '20'"):
        await stored("20")
    with pytest.raises(click.ClickException, match="there is no conversation 'x'; to list them: allm sessions list"):
        await stored("x")


async def test_both_are_kept_when_two_continue_at_once(begin, terminal):
    """The second one becomes a conversation of its own."""
    first = await begin("Hello")
    left = await Conversation.open(terminal, name="last", log=None)
    right = await Conversation.open(terminal, name="last", log=None)
    for side, conversation in (("left", left), ("right", right)):
        await conversation.keep(asked(conversation.session, side, "."), **FACTS, turn={})
    assert left.session.id == first.session.id != right.session.id
    texts = [[message.text for message in (await stored(name))[0].thread.messages] for name in await ids()]
    assert sorted(texts) == [["Hello", "Hello!", "left", "."], ["Hello", "Hello!", "right", "."]]
    await right.keep(asked(right.session, "on", "."), **FACTS, turn={})
    assert len(await ids()) == 2


async def test_one_switch_turns_it_off(begin):
    """No file is made; the option counts before the setting."""
    await begin("Hello", log=False)
    main(["logs", "off"])
    await begin("Hello")
    assert not log_file().exists()
    await begin("Hello", log=True)
    assert len(await ids()) == 1


async def test_reading_makes_no_file(terminal):
    """A list of nothing is no log."""
    assert await ids() == []
    with pytest.raises(click.ClickException, match="there is no conversation yet"):
        await Conversation.open(terminal, name="last", log=None)
    assert not log_file().exists()


def not_a_database(path):
    path.write_bytes(b"no database at all, but long enough to be one" * 100)


@pytest.mark.parametrize("spoil", [not_a_database, Path.mkdir])
async def test_a_log_that_cannot_be_written_is_a_note(begin, said, spoil):
    """The command goes on."""
    log_file().parent.mkdir()
    spoil(log_file())
    await begin("Hello")
    assert said().startswith("Note: the conversation is not in the log: ")
    assert said().count("\n") == 1


async def test_a_folder_that_cannot_be_made_is_a_note(begin, said):
    """The same where there is a file in its place."""
    Path(os.environ["ALLM_HOME"]).touch()  # noqa: ASYNC240
    await begin("Hello", log=True)
    assert said().startswith("Note: the conversation is not in the log: ")


# --- allm sessions --------------------------------------------------------------------------------------------------


@pytest.fixture
def command(allm_main):
    """`allm sessions` with arguments."""
    return lambda *arguments: allm_main("sessions", *arguments)


async def test_the_list(begin, command):
    """The newest first, by words, and as JSON."""
    assert await command() == (1, "", "No conversations.\n")
    first = await begin("A long question\nabout Zürich")
    second = await begin("A short one", model="anthropic:b")
    _, shown, _ = await command("list")
    assert [line.split()[0] for line in shown.splitlines()] == sorted([first.session.id, second.session.id])[::-1]
    assert "  A long question about Zürich\n" in shown
    assert "openai:a" in shown
    _, shown, _ = await command("list", "ZÜRICH", "-q", "long")
    assert shown.count("\n") == 1
    _, shown, _ = await command("list", "-n", "1")
    assert shown.count("\n") == 1
    _, shown, _ = await command("list", "--json", "short")
    assert json.loads(shown)["id"] == second.session.id
    assert json.loads(shown)["turns"][0]["input_tokens"] == 3
    code, _, error = await command("list", "nowhere")
    assert (code, error) == (1, "No conversation has these words.\n")


async def test_a_conversation_is_shown_and_written(begin, command, tmp_path):
    """As Markdown to read, and as JSON that goes on elsewhere."""
    kept = await begin("Hello")
    assert await command("show") == (0, "## user\n\nHello\n\n## assistant\n\nHello!\n", "")
    assert (await command("show", kept.session.id))[1].startswith("## user")
    _, text, _ = await command("export")
    assert allm.from_json(text, allm.Session).thread == kept.session.thread
    await command("export", "last", "-o", str(tmp_path / "a.md"))
    assert (tmp_path / "a.md").read_text(encoding="utf-8").startswith("## user")
    await command("export", "last", "-o", str(tmp_path / "a.json"))
    assert await command("show", "--session", str(tmp_path / "a.json")) == await command("show")
    assert (await command("list", "--session", str(tmp_path / "a.json")))[1].startswith("chat ")
    code, _, error = await command("show", "nothing")
    assert (code, error) == (1, "Error: there is no conversation 'nothing'; to list them: allm sessions list\n")


async def test_calls_and_images_in_markdown(terminal):
    """Each has its place."""
    from allm.cli.transcript import transcript

    call = allm.ToolCall(id="1", name="weather", arguments={"city": "Zürich"})
    image = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(16), "image/png")
    messages = [
        allm.user("Look", image),
        allm.assistant(call),
        allm.tool_result("1", "21 degrees"),
    ]
    assert transcript(allm.Session(thread=allm.Thread(messages))) == (
        "## user\n\nLook\n\n*(image)*\n\n## assistant\n\nCalls `weather`:\n\n"
        '```json\n{\n  "city": "Zürich"\n}\n```\n\n## tool: weather\n\n21 degrees\n'
    )


async def test_deleting_asks_or_is_told(begin, command, on_a_terminal):
    """Without a terminal it needs `--yes`; at one, the answer counts."""
    first, second = await begin("one"), await begin("two")
    code, _, error = await command("delete", first.session.id)
    assert code == 2
    assert "--yes" in error
    assert len(await ids()) == 2
    assert (await command("delete", first.session.id, "--yes"))[0] == 0
    async with on_a_terminal("sessions", "delete", "last") as screen:
        await screen.read_until("?")
        await screen.press(b"n\r")
        assert await screen.read_all() != 0
    assert await ids() == [second.session.id]
    async with on_a_terminal("sessions", "delete", "last") as screen:
        await screen.read_until("?")
        await screen.press(b"y\r")
        assert await screen.read_all() == 0
    assert await ids() == []


async def test_the_switch_is_shown(allm_main):
    """With the file."""
    _, shown, _ = await allm_main("logs")
    assert shown == f"on: {log_file()} (not there yet)\n"
    await allm_main("logs", "off")
    assert (await allm_main("logs", "status"))[1].startswith("off: ")
    await allm_main("logs", "on")
    assert (await allm_main("logs"))[1].startswith("on: ")
