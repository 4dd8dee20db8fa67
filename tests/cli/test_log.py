"""The log: conversations are kept, found again and continued, and no answer is lost because of it."""

from __future__ import annotations

import io
import json
import stat
import sys
from pathlib import Path

import attrs
import click
import pytest
import trio

import allm
from allm import fake
from allm.cli import main
from allm.cli.log import Conversation, find_id, log_file, log_store
from allm.testing import Reply

USAGE = allm.Usage(input_tokens=3, output_tokens=2)


def asked(session, text, answer):
    """The conversation after another question."""
    return attrs.evolve(session, thread=session.thread.add(allm.user(text), allm.assistant(answer)))


@pytest.fixture
def begin(terminal):
    """Open a conversation, and keep a turn of it."""

    async def begin(text, *, name=None, log=None, model=None, base_url=None):
        conversation = await Conversation.open(terminal, name=name, log=log)
        conversation.choose(model or "openai:a", base_url, given=model is not None)
        await conversation.keep(asked(conversation.session, text, f"{text}!"), USAGE)
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
        conversation.choose(None, None, given=False)
        await conversation.keep(asked(conversation.session, side, "."), None)
    assert left.session.id == first.session.id != right.session.id
    texts = [[message.text for message in (await stored(name))[0].thread.messages] for name in await ids()]
    assert sorted(texts) == [["Hello", "Hello!", "left", "."], ["Hello", "Hello!", "right", "."]]
    await right.keep(asked(right.session, "on", "."), None)
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


# --- allm generate --------------------------------------------------------------------------------------------------


@pytest.fixture
def generate(server, allm_main):
    """Run `allm generate` with a prompt and options against the server, which answers `answer`."""

    async def generate(*arguments, answer="Rhine.", model="openai:a"):
        server.add(Reply.script("openai", [fake.text(answer), fake.usage(input_tokens=7, output_tokens=2)]))
        choice = ["--model", model, "--base-url", server.url("openai")] if model else []
        assert (await allm_main("generate", *arguments, *choice))[0] == 0
        body = server.requests[-1].json()
        return body["model"], [message["content"] for message in body["messages"]]

    return generate


async def test_a_prompt_goes_on_with_the_last_conversation(generate):
    """With its model and its server, also where the environment has another model."""
    await generate("Name a river.")
    assert await generate("A longer one.", "-c", model=None) == ("a", ["Name a river.", "Rhine.", "A longer one."])
    session, _ = await stored()
    assert len(session.thread.messages) == 4
    assert [turn["input_tokens"] for turn in session.metadata["turns"]] == [7, 7]
    model, texts = await generate("And now?", "--cid", session.id[:-1], model="openai:b")
    assert (model, len(texts)) == ("b", 5)
    assert len(await ids()) == 1


async def test_instructions_of_a_conversation(generate):
    """Those of the settings begin a new one, and `--system` replaces them."""
    main(["config", "set", "system", "Be brief."])
    assert (await generate("Hi"))[1] == ["Be brief.", "Hi"]
    main(["config", "unset", "system"])
    assert (await generate("Hi", "-c"))[1][0] == "Be brief."
    assert (await generate("Hi", "-c", "--system", "Be long."))[1][0] == "Be long."
    assert (await generate("Hi"))[1] == ["Hi"]


async def test_what_is_not_to_be_kept(generate):
    """With an option for one call; also a call that continues a kept conversation."""
    await generate("secret", "-n")
    assert await ids() == []
    await generate("kept")
    await generate("secret", "-n", "-c")
    assert len((await stored())[0].thread.messages) == 2


async def test_one_conversation_at_a_time(allm_main):
    """Naming two is wrong usage."""
    code, _, error = await allm_main("generate", "Hi", "-c", "--cid", "20")
    assert code == 2
    assert "--continue and --cid cannot be used together" in error


async def test_tools_of_one_shot_are_in_the_log(generate, server, tmp_path):
    """The calls and the results."""
    (tmp_path / "tools.py").write_text(  # noqa: ASYNC240
        'import allm\n\n@allm.tool\ndef depth() -> int:\n    """The depth."""\n    return 12\n', encoding="utf-8"
    )
    server.add(Reply.script("openai", [fake.tool_call("depth", {})]))
    await generate("How deep?", "--tools", str(tmp_path / "tools.py"))
    session, _ = await stored()
    assert [message.role for message in session.thread.messages] == ["user", "assistant", "tool", "assistant"]


async def test_an_answer_that_was_stopped_is_kept(server, to_server, on_a_terminal):
    """As far as it came."""
    server.add(
        Reply.script("openai", [fake.text("Four legs,\none"), fake.error(allm.AdapterError("", reason="timeout"))])
    )
    async with on_a_terminal("generate", "What is a cat?", *to_server) as screen:
        await screen.read_until("one")
        await screen.press(b"\x03")
        assert await screen.read_all() == 130
    assert [message.text for message in (await stored())[0].thread.messages] == ["What is a cat?", "Four legs,\none"]


# --- allm chat ------------------------------------------------------------------------------------------------------


@pytest.fixture
def chat(server, monkeypatch, capsys):
    """Run `allm chat` with piped lines against the server; returns the texts of its last request."""

    async def chat(*arguments, lines, model="openai:a"):
        asked = [line for line in lines if not line.startswith("/")]
        server.add(*[Reply.script("openai", [fake.text(f"{line}!"), fake.usage(input_tokens=7)]) for line in asked])
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        choice = ["--model", model, "--base-url", server.url("openai")] if model else []
        assert await trio.to_thread.run_sync(main, ["chat", *arguments, *choice]) == 0, capsys.readouterr().err
        body = server.requests[-1].json()
        return body["model"], [message["content"] for message in body["messages"]]

    return chat


def texts(session):
    return [message.text for message in session.thread.messages]


async def test_a_chat_is_kept_and_continued(chat, generate):
    """By another chat and by a single prompt; the model stays."""
    await chat(lines=["One", "Two"])
    session, version = await stored()
    assert (texts(session), version) == (["One", "One!", "Two", "Two!"], 2)
    assert (await chat("-c", lines=["Three"], model=None)) == ("a", ["One", "One!", "Two", "Two!", "Three"])
    assert (await generate("Four", "-c", model=None))[1][-3:] == ["Three", "Three!", "Four"]
    assert len(await ids()) == 1
    assert len((await stored())[0].metadata["turns"]) == 4


async def test_a_cleared_chat_is_another_conversation(chat):
    """Both are kept."""
    await chat(lines=["One", "/clear", "Two"])
    assert sorted([texts((await stored(name))[0]) for name in await ids()]) == [["One", "One!"], ["Two", "Two!"]]


async def test_a_chat_that_is_not_to_be_kept(chat, tmp_path):
    """With the option, and where it has a place of its own."""
    await chat("-n", lines=["One"])
    await chat("--session", str(tmp_path / "own.json"), lines=["Two"])
    assert await ids() == []


async def test_instructions_of_a_chat(chat, tmp_path):
    """Those of the settings begin a new one, wherever it is."""
    main(["config", "set", "system", "Be brief."])
    assert (await chat(lines=["One"]))[1] == ["Be brief.", "One"]
    place = ["--session", str(tmp_path / "own.json")]
    assert (await chat(*place, lines=["One"]))[1] == ["Be brief.", "One"]
    assert (await chat(*place, "--system", "", lines=["Two"]))[1] == ["One", "One!", "Two"]
    assert (await chat(*place, lines=["Three"]))[1][0] == "One"


async def test_a_place_of_its_own_and_the_log(allm_main, tmp_path):
    """Only one of both."""
    code, _, error = await allm_main("chat", "-m", "openai:a", "-c", "--session", str(tmp_path / "a.json"))
    assert code == 2
    assert "--session names a conversation outside the log" in error


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


async def test_a_part_of_a_conversation_is_shown(begin, command):
    """The last response, or the code in it; without it, the exit code says so."""
    await begin("Hello")
    assert await command("show", "-r") == (0, "Hello!\n", "")
    assert await command("show", "-x") == (1, "", "No code block.\n")
    await begin("```\nx = 1\n```\n")
    assert await command("show", "-x") == (0, "x = 1\n", "")


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


async def test_files_in_markdown(tmp_path):
    """Each is named, in its place behind the text, with its name where it has one."""
    from allm.cli.transcript import transcript

    place = tmp_path / "a.pdf"
    place.write_bytes(b"%PDF-1.4")
    message = allm.user("Read", allm.Document.from_file(place), allm.Audio.from_bytes(b"OggS"))
    found = transcript(
        allm.Session(thread=allm.Thread([message, allm.user(allm.Document.from_url("https://x.test/b.txt"))]))
    )
    assert (
        found
        == "## user\n\nRead\n\n*(document: a.pdf)*\n\n*(audio)*\n\n## user\n\n*(document: https://x.test/b.txt)*\n"
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
