"""Validation finds every problem of a value, with its path and tag."""

from __future__ import annotations

import attrs
import pytest

import allm
from allm.data.embedding import EmbeddingRequest
from allm.data.moderation import ModerationRequest

HI = allm.user("hi")
TOOL = allm.Tool("add", "Adds.", {"type": "object"})
CALL = allm.ToolCall("1", "add", {})
ASKING = allm.Thread((HI, allm.assistant(CALL)))
IMAGE = allm.Image.from_url("https://example.com/cat.png")


def request(**fields):
    return allm.Request(**{"messages": (HI,), **fields})


def waiting(**fields):
    return allm.Session(**{"thread": ASKING, "status": "awaiting_tools", "pending_tool_calls": (CALL,), **fields})


PROBLEMS = {
    "a role that there is not": (allm.Message("robot", "x"), ("role",), "unknown"),
    "a role that is no text": (allm.Message([], "x"), ("role",), "unknown"),
    "content that is no text": (allm.Message("user", 3), ("content",), "invalid_type"),
    "a part that is none": (allm.Message("user", ["x"]), ("content", 0), "invalid_part_type"),
    "an image that is none": (allm.user(allm.ImagePart("x.png")), ("content", 0, "image"), "invalid_type"),
    "an image of the system": (
        allm.Message("system", (allm.ImagePart(IMAGE),)),
        ("content", 0),
        "image_in_system_message",
    ),
    "arguments as a text": (
        allm.assistant(allm.ToolCall("c1", "weather", '{"city": "Zug"}')),
        ("content", 0, "arguments"),
        "invalid_type",
    ),
    "a call by the user": (allm.user(CALL), ("content", 0), "tool_call_outside_assistant_message"),
    "a call without an id": (allm.assistant(allm.ToolCall("", "add")), ("content", 0, "id"), "required"),
    "a result of no call": (allm.Message("tool", "x"), ("tool_call_id",), "required"),
    "a tool's name that is no text": (allm.Tool(3, "x"), ("name",), "invalid_type"),
    "a tool without a name": (allm.Tool("", "x"), ("name",), "empty"),
    "a tool's name that means something": (allm.Tool("auto", "x"), ("name",), "reserved_tool_name"),
    "a tool's name with a space": (allm.Tool("add up", "x"), ("name",), "invalid_format"),
    "a description that is no text": (allm.Tool("add", None), ("description",), "not_a_string"),
    "a schema that is none": (allm.Tool("add", "x", []), ("schema",), "not_a_mapping"),
    "a manual tool, maybe": (allm.Tool("add", "x", manual=1), ("manual",), "not_a_boolean"),
    "a handler that cannot be called": (allm.Tool("add", "x", handler=3), ("handler",), "not_callable"),
    "a tool without time": (allm.Tool("add", "x", timeout=0), ("timeout",), "must_be_positive"),
    "a tool with true time": (allm.Tool("add", "x", timeout=True), ("timeout",), "must_be_positive"),
    "no messages": (allm.Request(()), ("messages",), "empty"),
    "a message that is none": (request(messages=(HI, 3)), ("messages", 1), "invalid_type"),
    "a role in a request": (request(messages=(HI, allm.Message("robot", "x"))), ("messages", 1, "role"), "unknown"),
    "messages that are none": (request(messages=3), ("messages",), "invalid_type"),
    "tools that are none": (request(tools=3), ("tools",), "invalid_type"),
    "no model": (request(model=""), ("model",), "invalid_type"),
    "a tool that is none": (request(tools=(TOOL, 3)), ("tools", 1), "invalid_type"),
    "two tools of one name": (request(tools=(TOOL, TOOL)), ("tools",), "duplicate_name"),
    "a tool's name that is a list": (request(tools=(allm.Tool([], "x"),)), ("tools", 0, "name"), "invalid_type"),
    "a choice that is none": (request(tool_choice=3), ("tool_choice",), "invalid_type"),
    "too hot": (request(temperature=2.5), ("temperature",), "out_of_range"),
    "of no temperature": (request(temperature=float("nan")), ("temperature",), "out_of_range"),
    "hot": (request(temperature="hot"), ("temperature",), "invalid_type"),
    "no tokens": (request(max_tokens=0), ("max_tokens",), "must_be_positive"),
    "a format that there is not": (request(response_format="xml"), ("response_format",), "unknown"),
    "a format that is none": (request(response_format=3), ("response_format",), "invalid_shape"),
    "a format without a schema": (
        request(response_format=allm.JsonSchema("answer", [])),
        ("response_format", "schema"),
        "not_a_mapping",
    ),
    "a format without a name": (
        request(response_format=allm.JsonSchema("", {})),
        ("response_format", "name"),
        "invalid_format",
    ),
    "structured at the end, but how": (
        request(structured_finalize=True),
        ("structured_finalize",),
        "requires_json_schema",
    ),
    "a message of a thread": (allm.Thread((HI, 3)), ("messages", 1), "invalid_type"),
    "an id that is too long": (allm.Session(id="x" * 256), ("id",), "invalid_format"),
    "a conversation that is none": (allm.Session(thread=[HI]), ("thread",), "invalid_type"),
    "a message of a session": (allm.Session(thread=allm.Thread((3,))), ("thread", "messages", 0), "invalid_type"),
    "a status that there is not": (allm.Session(status="asleep"), ("status",), "unknown"),
    "a status that is no text": (allm.Session(status=[]), ("status",), "unknown"),
    "a pending call that is none": (waiting(pending_tool_calls=(3,)), ("pending_tool_calls", 0), "invalid_type"),
    "an approval that is none": (waiting(approvals=(3,)), ("approvals", 0), "invalid_type"),
    "a call that was answered": (
        waiting(thread=ASKING.add(allm.tool_result("1", "2"))),
        ("pending_tool_calls",),
        "not_the_unanswered_calls",
    ),
    "a call that was not asked so": (
        waiting(pending_tool_calls=(attrs.evolve(CALL, arguments={"a": 1}),)),
        ("pending_tool_calls",),
        "not_as_asked",
    ),
    "an approval of another call": (
        waiting(approvals=(allm.session.Approval("2", "x"),)),
        ("approvals",),
        "not_pending",
    ),
    "a status that waits for nothing": (waiting(status="idle"), ("status",), "not_as_pending_tool_calls"),
    "a question while it waits for nobody": (
        allm.Session(pending_questions=[allm.PendingQuestion("Which?", "c1")]),
        ("status",),
        "not_as_pending_questions",
    ),
    "a question that is a text": (allm.Session(pending_questions=["Which?"]), ("pending_questions", 0), "invalid_type"),
    "a question that nobody asked": (allm.Session(status="awaiting_user"), ("pending_questions",), "required"),
    "a failure without an error": (allm.Session(status="error"), ("error",), "required"),
    "a place after the end": (allm.Session(resume_at=1), ("resume_at",), "out_of_range"),
    "an embedding of nothing": (EmbeddingRequest(()), ("inputs",), "empty"),
    "a moderation of nothing": (ModerationRequest(()), ("inputs",), "empty"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_is_wrong(case):
    """It has exactly this problem."""
    value, path, tag = PROBLEMS[case]
    with pytest.raises(allm.ValidationError) as caught:
        allm.validate(value)
    assert (path, tag) in caught.value.errors
    assert caught.value.reason in {f"invalid_{type(value).__name__.lower()}", "invalid_request"}


@pytest.mark.parametrize("value", [HI, TOOL, request(tools=(TOOL,), temperature=0, max_tokens=1), ASKING, waiting()])
def test_what_is_right(value):
    """It passes."""
    allm.validate(value)


def test_all_problems_are_told_at_once():
    """In the order of the fields."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.validate(allm.Request((allm.Message("robot", 3),), model="", temperature=3, max_tokens=0))
    assert [path for path, _ in caught.value.errors] == [
        ("messages", 0, "role"),
        ("messages", 0, "content"),
        ("model",),
        ("temperature",),
        ("max_tokens",),
    ]
    assert str(caught.value) == (
        "messages[0].role is 'robot'; expected one of 'system', 'user', 'assistant', 'tool'; "
        "messages[0].content is int; expected a text, or parts such as TextPart; "
        "model is ''; expected the model's name, or None; "
        "temperature is 3; expected a number from 0 to 2; "
        "max_tokens is 0; expected a number of tokens, 1 or more, or None"
    )


def test_what_cannot_be_checked():
    """A value of another class is a TypeError that names those that can be checked."""
    with pytest.raises(TypeError, match="expected one of: Message, Tool"):
        allm.validate("hi")


@pytest.mark.parametrize("case", PROBLEMS)
def test_every_problem_has_a_sentence(case):
    """It says more than the tag; the pairs and the problems agree."""
    value, _, _ = PROBLEMS[case]
    with pytest.raises(allm.ValidationError) as caught:
        allm.validate(value)
    problems = caught.value.problems
    assert [(problem.path, problem.tag) for problem in problems] == list(caught.value.errors)
    assert all(problem.tag not in problem.sentence and len(problem.sentence.split()) > 2 for problem in problems)
    assert all(str(problem) in str(caught.value) for problem in problems)


@pytest.mark.parametrize(
    "value",
    [
        request(temperature=9),
        request(model=["secret" * 1000]),
        request(max_tokens=-(10**5000)),
        request(response_format="x" * 100_000),
        allm.Message("x" * 100_000, "hi"),
        allm.Message("user", {"secret": 1}),
        allm.Tool("x" * 100_000, "x"),
        allm.Session(id="x" * 100_000),
        waiting(pending_tool_calls=[allm.ToolCall("x" * 100_000, "add")] * 1000),
        allm.image_request("x", size="9" * 100_000),
    ],
)
def test_what_is_shown_of_a_value_is_short(value):
    """Large values are cut, and containers shown by their type only."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.validate(value)
    assert all(len(problem.sentence) < 350 for problem in caught.value.problems)
    assert "secret" not in str(caught.value)


def test_many_problems_are_all_there_and_few_are_told():
    """All of them are values, and twenty are in the message."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.validate(allm.Thread([3] * 1000))
    assert len(caught.value.errors) == len(caught.value.problems) == 1000
    assert str(caught.value).endswith("; and 980 more")
