"""The approval of tool calls, with scripted models: what runs, what the model is told, and what is kept."""

from __future__ import annotations

import attrs
import pytest

import allm
from allm import fake
from allm.cli.chat import Chat
from allm.cli.exit_codes import exit_code_of
from allm.cli.stores import open_stored_session
from allm.providers import Fake

CALL = fake.tool_call("remove", {"path": "a"}, id="c1")
OTHER = fake.tool_call("look", id="c2")
DONE = [fake.text("Done.")]


@pytest.fixture
def ran():
    """The names of the tools that ran, in order."""
    return []


@pytest.fixture
def tools(ran):
    """Two tools that take note of their calls."""

    def handler(_, context):
        ran.append(context.tool_call.name)
        return "ok"

    return [allm.Tool(name, "Does it.", handler=handler) for name in ("remove", "look")]


@pytest.fixture
def chat(terminal, tools):
    """Run a chat with these lines; returns its messages."""

    def run(lines, *scripts, offered=None, approve="ask", place=None, **options):
        terminal.stdin.seek(0)
        terminal.stdin.truncate()
        terminal.stdin.write(lines)
        terminal.stdin.seek(0)
        adapter = Fake(scripts=list(scripts))
        engine = allm.Engine(adapter=adapter, model="scripted", tools=tools if offered is None else offered)
        held = Chat(
            engine=engine,
            options=options,
            terminal=terminal,
            stored=open_stored_session(place, None, terminal),
            approve=approve,
        )
        assert exit_code_of(terminal, held.run) == 0
        return held.stored.session.thread.messages

    return run


def results(messages):
    """The results of calls, by id."""
    return {message.tool_call_id: message.text for message in messages if message.role == "tool"}


@pytest.mark.parametrize("in_a_set", [False, True])
def test_nothing_runs_before_the_user_has_said_so(chat, tools, ran, in_a_set):
    """Neither a tool nor one of a set, also one that loads its tools."""
    offered = [allm.Toolset(lambda: tools)] if in_a_set else tools

    messages = chat("Go.\nno, it is mine\n", [CALL], DONE, offered=offered)

    assert ran == []
    assert "it is mine" in results(messages)["c1"]
    assert messages[-1].text == "Done."
    assert results(chat("Go.\nyes\n", [CALL], DONE, offered=offered)) == {"c1": "ok"}
    assert ran == ["remove"]


def test_a_word_that_is_no_answer_is_asked_again(chat, ran, terminal):
    """An empty line, or anything else, is not taken for yes."""
    chat("Go.\nsure\nrun\nY\n", [CALL], DONE)

    assert ran == ["remove"]
    assert terminal.stderr.stream.getvalue().count("run it?") == 3


def test_each_tool_is_asked_about_for_itself(chat, ran):
    """Always is for one tool; what was approved runs once all calls of the answer are decided."""
    again = fake.tool_call("remove", {"path": "b"}, id="c3")

    messages = chat("Go.\nalways\nno\n", [CALL, OTHER], [again], DONE)

    assert ran == ["remove", "remove"]
    assert set(results(messages)) == {"c1", "c2", "c3"}


def test_a_tool_may_insist_on_being_asked_about(chat, ran, tools):
    """`manual=True` and `manual_when=` of its own ask also where the others run, and after `always`."""
    careful = [attrs.evolve(tools[0], manual_when=lambda _: True), attrs.evolve(tools[1], manual=True)]

    chat("Go.\ny\ny\n", [CALL, OTHER], DONE, offered=careful, approve="auto")

    assert sorted(ran) == ["look", "remove"]
    chat("Go.\nn\nn\n", [CALL, OTHER], DONE, offered=careful, approve="auto")
    assert sorted(ran) == ["look", "remove"]


def test_the_end_of_the_input_refuses(chat, ran, tmp_path):
    """A chat that ends at the question has run nothing, and its conversation can go on."""
    place = str(tmp_path / "a.json")

    chat("Go.\n", [CALL, OTHER], place=place)

    saved = allm.from_json((tmp_path / "a.json").read_text(), allm.Session)
    assert ran == []
    assert saved.status == "idle"
    assert all("stopped" in text for text in results(saved.thread.messages).values())


def test_the_limit_of_a_line_counts_what_came_before_the_question(chat, ran, terminal):
    """The model calls before and after an approval are those of one line."""
    chat("Go.\n" + "y\n" * 5, *[[CALL]] * 5, DONE, max_turns=2)

    assert 2 <= len(ran) <= 5
    assert "--max-turns" in terminal.stderr.stream.getvalue() or len(ran) == 5


def test_a_call_with_broken_arguments_is_the_models_to_mend(chat, ran):
    """There is nothing to approve: it would not run."""
    broken = fake.tool_call("remove", raw_arguments="{path: ", id="c1")

    messages = chat("Go.\n", [broken], DONE)

    assert ran == []
    assert "JSON" in results(messages)["c1"]


def test_a_call_is_shown_in_full(chat, terminal):
    """`show` tells where the code is that would run, and whether the arguments fit, without running it."""

    @allm.tool
    def remove(path: str) -> str:
        """Remove a file."""
        return path

    wrong = fake.tool_call("remove", {"paths": "a"}, id="c2")

    chat("Go.\ns\nn\ns\nn\n", [CALL, wrong], DONE, offered=[remove])

    shown = terminal.stderr.stream.getvalue()
    assert "the arguments fit" in shown
    assert "it would fail: paths: unknown argument" in shown
    assert "remove: Remove a file." in shown
    assert 'path: "a"' in shown
    assert "test_chat_approval.py:" in shown
