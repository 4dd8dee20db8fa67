"""The unions are closed: after adding an event, a part or a script item, these tests fail at each place to update.

Where speed matters, a table maps each member to its handler; its keys are compared here. Everywhere else it is a
`match` that ends in `assert_never`, which the type checkers verify; these tests find and check the statements too. Code
that uses `get_args` (the JSON tags, validation, the observer) needs no update.

Neither does code that looks for single events and ignores the others: the text iterator of a stream, the costs, the
time limits.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import get_args

import attrs
import pytest

import allm
from allm.data import message_builder
from allm.data.content import PART_TYPES
from allm.data.json import tags
from allm.data.script import ScriptItem
from allm.execution.stream import folds
from allm.providers.fake import adapter as fake_adapter
from allm.session import StreamReducer

SOURCE = Path(allm.__file__).parent
UNIONS = {
    "AdapterEvent": get_args(allm.AdapterEvent),
    "OrchestrationEvent": get_args(allm.OrchestrationEvent),
    "Event": get_args(allm.Event),
    "Part": get_args(allm.Part),
    "ScriptItem": get_args(ScriptItem),
}
MEMBERS = {member.__name__ for union in UNIONS.values() for member in union}
WITHOUT_CONTENT = {
    allm.MessageStarted,
    allm.UsageReported,
    allm.MessageCompleted,
    allm.RawChunk,
    allm.Failed,
}
TABLES = {
    "the message builder": ("AdapterEvent", message_builder._STEPS, WITHOUT_CONTENT),
    "the fold of a response": ("AdapterEvent", {**message_builder._STEPS, **folds._CALL_EVENTS}, set()),
    "the fold of a step": (
        "OrchestrationEvent",
        folds._STEP_EVENTS,
        {allm.ChatCompleted},
    ),  # the fold of a turn takes it
    "the fake": ("ScriptItem", fake_adapter._PLAYERS, {fake_adapter.Delay, fake_adapter.PreflightError}),
    "events in JSON": ("Event", dict.fromkeys(tags.EVENT_TAGS.values()), set()),
    "parts in JSON": ("Part", dict.fromkeys(tags.PART_TAGS.values()), set()),
    "validation": ("Part", dict.fromkeys(PART_TYPES), set()),
}
MATCHES = {
    ("cli/chat_screen.py", "_response"): "AdapterEvent",
    ("cli/chat_screen.py", "_orchestration"): "OrchestrationEvent",
    ("cli/demo_screen.py", "_response"): "AdapterEvent",
    ("cli/demo_screen.py", "_orchestration"): "OrchestrationEvent",
    ("cli/generate.py", "_response"): "AdapterEvent",
    ("testing/conformance/event_grammar.py", "_check_block"): "AdapterEvent",
    ("testing/wire_formats/encoder.py", "_item"): "ScriptItem",
    ("data/token_count.py", "_of_part"): "Part",
    ("providers/anthropic/content_encode.py", "_part"): "Part",
    ("providers/bedrock/content_encode.py", "_part"): "Part",
    ("providers/gemini/content_encode.py", "_part"): "Part",
    ("providers/openai/chat_encode.py", "_part"): "Part",
    ("providers/openai/responses_items_encode.py", "_content"): "Part",
    ("providers/openai/responses_items_encode.py", "_item"): "Part",
    ("runtime/fitting.py", "_needed_by"): "Part",
}
"""Functions that match all members of a union."""
PARTIAL = {("testing/wire_formats/encoder.py", "play")}
"""Functions that match some members, and pass all others to one of the above."""


def names(union):
    return {member.__name__ for member in UNIONS[union]}


def matched(statement):
    """The union members in the patterns of a `match`."""
    patterns = [node for case in statement.cases for node in ast.walk(case.pattern) if isinstance(node, ast.MatchClass)]
    return MEMBERS & {getattr(pattern.cls, "attr", None) or pattern.cls.id for pattern in patterns}


def is_closed(statement):
    """Whether a `match` ends in `assert_never`, which no other wildcard precedes."""
    *_, last = statement.cases
    calls = [node.func.id for node in ast.walk(last) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return isinstance(last.pattern, ast.MatchAs) and calls == ["assert_never"]


def statements():
    """Every `match` in the package that names a member of a closed union, by file and function."""
    for path in sorted(SOURCE.rglob("*.py")):
        text = path.read_text("utf-8")
        if " match " not in text:
            continue
        for function in ast.walk(ast.parse(text)):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for node in ast.walk(function):
                    if isinstance(node, ast.Match) and matched(node):
                        yield (path.relative_to(SOURCE).as_posix(), function.name), node


FOUND = dict(statements())


@pytest.mark.parametrize("place", TABLES)
def test_a_table_has_every_member(place):
    """Each member is in the table or in the list of those that it ignores, never in both."""
    union, table, silent = TABLES[place]
    assert not table.keys() & silent
    assert table.keys() | silent == set(UNIONS[union])


def test_every_match_of_a_union_is_listed():
    """A new `match` has to be added with its union."""
    assert FOUND.keys() == MATCHES.keys() | PARTIAL


@pytest.mark.parametrize("place", MATCHES, ids=":".join)
def test_a_match_has_every_member(place):
    """Each member is named, and `assert_never` guards against future ones."""
    assert matched(FOUND[place]) == names(MATCHES[place])
    assert is_closed(FOUND[place])


@attrs.frozen
class CitationAdded:
    """An event that is not part of the union."""

    id: str


@pytest.mark.parametrize(
    "fold",
    [
        allm.StreamCollector(),
        folds.StepFold(allm.Thread()),
        folds.ChatFold(allm.Thread()),
        StreamReducer(allm.Session()),
    ],
    ids=lambda fold: type(fold).__name__,
)
def test_an_unknown_event_is_an_error_of_every_fold(fold):
    """It is never ignored silently."""
    with pytest.raises(TypeError, match="CitationAdded is not an event"):
        fold.add(CitationAdded("a"))
