"""Compact tools: what the request says of them, what `tool_help` tells, and that calls are checked as always."""

from __future__ import annotations

import json
from typing import Annotated

import pytest

import allm
from allm import fake
from allm.data.tool_help import help_text
from allm.providers import Fake

DONE = [fake.text("Done.")]


@allm.tool(compact=True)
def book(room: Annotated[str, "its number"], nights: int = 1, breakfast: str = "") -> str:
    """Book a room. It is free until the evening before.

    Only for guests with an account.
    """
    return f"{room} for {nights}"


@allm.tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


def call(name, **arguments):
    return [fake.tool_call(name, arguments, id="c1")]


def engine(*scripts, **fields):
    return allm.Engine(adapter=Fake(scripts=scripts), model="m", **fields)


async def sent(tools, *scripts, **options):
    """The tools of each request."""
    given = engine(*(scripts or [DONE]))
    await allm.chat(given, "go", tools=tools, **options)
    return [{tool.name: tool for tool in request.tools} for request in given.adapter.requests]


async def result_of(tools, script, **options):
    """The text of the first result, and the turn."""
    result = await allm.chat(engine(script, DONE), "go", tools=tools, **options)
    return result.steps[0].tool_results[0].text, result


async def test_a_compact_tool_is_one_line():
    """First sentence, arguments, and a mark; a tool that tells the rest joins, and others stay as they are."""
    [tools] = await sent([book, weather])
    assert list(tools) == ["book", "weather", "tool_help"]
    assert tools["book"].description == "Book a room. Args: room [nights, breakfast] [compact]"
    assert tools["book"].schema == {"type": "object", "additionalProperties": True}
    assert tools["weather"] == weather
    assert "[compact]" in tools["tool_help"].description


@pytest.mark.parametrize(
    ("description", "properties", "required", "line"),
    [
        ("Costs 3.50 a night, e.g. on Friday! More.", [], [], "Costs 3.50 a night, e.g. on Friday!"),
        ("No full stop\nbut a second line", ["a"], [], "No full stop Args: [a]"),
        ("", ["a", "b"], ["a", "b"], "Args: a, b"),
        ("x" * 500, [], [], "x" * 157 + "..."),
        ("\n  Begins late. Ends.", ["a"], ["a"], "Begins late. Args: a"),
    ],
)
async def test_the_line_of_a_tool(description, properties, required, line):
    """However its description is written."""
    schema = {"type": "object", "properties": {name: {} for name in properties}, "required": required}
    [tools] = await sent([allm.Tool("t", description, schema, compact=True)])
    assert tools["t"].description == f"{line} [compact]"


async def test_tool_help_tells_the_rest():
    """Description and schema of all that are asked for, once each; of a name that there is not, what is near."""
    text, result = await result_of([book, weather], call("tool_help", names=["book", "weathr", "book", "zzz"]))
    assert text == f"{help_text(book)}\n\nThere is no tool weathr; did you mean weather?\n\nThere is no tool zzz."
    assert json.loads(text.partition("JSON Schema: ")[2].partition("\n")[0]) == book.schema
    assert "Only for guests with an account." in text
    assert result.halted_reason == "completed"
    assert (await result_of([book], call("tool_help", names="book")))[0] == help_text(book)
    assert "expected an array of names" in (await result_of([book], call("tool_help")))[0]
    assert "expected an array of names" in (await result_of([book], call("tool_help", names=[1])))[0]
    assert (await result_of([book], call("tool_help", names=[])))[0] == "No name was given."


async def test_arguments_are_checked_as_always():
    """A call that fits runs, without asking first; one that does not gets the whole help with its error."""
    assert (await result_of([book], call("book", room="12")))[0] == "12 for 1"
    for arguments, what in (
        ({"nights": 2}, "missing required argument(s): room"),
        ({"room": "12", "nights": "two"}, "nights: "),
        ({"room": "12", "beds": 2}, "beds: unknown argument"),
    ):
        text, _ = await result_of([book], call("book", **arguments))
        error = json.loads(text)["error"]
        assert error["type"] == "invalid_arguments"
        assert error["message"].startswith(what)
        assert error["message"].endswith(help_text(book))
    text, _ = await result_of([weather], call("weather"))
    assert "Schema" not in text


async def test_a_tool_with_a_raw_schema_is_called_with_what_it_requires():
    """Its handler may check nothing, and the model has not seen the schema; `on_tool_error` sees the error."""
    ran, errors = [], []
    schema = {"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a", "b"]}
    raw = allm.Tool("raw", "Raw.", schema, handler=ran.append, compact=True)

    def policy(tool_call, error):
        errors.append(error.message)
        return "sorry"

    text, _ = await result_of([raw], call("raw", a=1), on_tool_error=policy)
    assert (text, ran) == ("sorry", [])
    assert errors[0] == f"missing required argument(s): b\n{help_text(raw)}"


async def test_a_forced_tool_is_sent_in_full():
    """The model has no occasion to ask."""
    [tools] = await sent([book], tool_choice="book")
    assert tools["book"] == book


async def test_the_request_stays_the_same_from_step_to_step():
    """A provider's prompt cache holds: asking for help changes no tool."""
    first, second, third = await sent([book, weather], call("tool_help", names=["book"]), call("book", room="1"), DONE)
    lines = [
        [(name, tool.description, tool.schema) for name, tool in tools.items()] for tools in (first, second, third)
    ]
    assert lines[0] == lines[1] == lines[2]


async def test_tool_help_is_a_reserved_name_beside_compact_tools():
    """Otherwise anyone may use it."""
    own = allm.Tool("tool_help", "Mine.", handler=lambda arguments: "mine")
    with pytest.raises(allm.ValidationError, match="which compact tools need for their own; rename it"):
        await allm.chat(engine(DONE), "go", tools=[own, book])
    assert (await result_of([own], call("tool_help")))[0] == "mine"


async def test_the_library_answers_tool_help_whoever_runs_the_tools():
    """A tool executor never sees it, and with `mode="manual"` it is not left to the caller."""

    class Executor:
        async def execute(self, tool, tool_call, context):
            assert tool == book  # with its schema
            return "executed"

    given = engine(call("tool_help", names=["book"]), call("book", room="1"), DONE, tool_executor=Executor())
    result = await allm.chat(given, "go", tools=[book])
    assert [message.text for step in result.steps for message in step.tool_results] == [help_text(book), "executed"]

    result = await allm.chat(
        engine(call("tool_help", names=["book"]), call("book", room="1")), "go", tools=[book], mode="manual"
    )
    assert result.steps[0].tool_results[0].text == help_text(book)
    assert [tool_call.name for tool_call in result.manual_tool_calls] == ["book"]


async def test_before_step_keeps_the_help_in_step_with_the_tools():
    """It knows the tools that are left, and goes where no compact tool is left."""
    compact = [allm.Tool(name, f"Does {name}.", compact=True) for name in "ab"]
    seen = await sent(
        [*compact, weather],
        call("tool_help", names=["a", "b"]),
        DONE,
        before_step=lambda step: {
            "tools": [
                tool for tool in step.tools if tool.name in ({"a", "tool_help"}, {"weather", "tool_help"})[step.index]
            ]
        },
    )
    assert [list(tools) for tools in seen] == [["a", "tool_help"], ["weather"]]


async def test_sessions_go_on_with_compact_tools():
    """The conversation is saved with the question and its answer."""
    given = engine(call("tool_help", names=["book"]), DONE, call("book", room="7"), DONE)
    compact = allm.Toolset([book, weather]).compact()
    session, _ = await allm.session.start(given, "go", tools=[compact])
    session = allm.from_json(allm.to_json(session))
    _, result = await allm.session.reply(given, session, "now", tools=[compact])
    assert [message.text for message in result.thread.messages if message.role == "tool"] == [
        help_text(book),
        "7 for 1",
    ]
