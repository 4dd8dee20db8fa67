"""Replies with calls in their text: the same events however they are cut, with nothing lost and nothing shown twice."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, strategies as st

import allm
from allm.data.events import Failed, MessageCompleted, TextCompleted, TextDelta, ToolCallCompleted, ToolCallDelta
from allm.data.message_builder import MessageBuilder
from allm.execution.prompted.events import RepliesWithCalls

TOOLS = frozenset({"weather", "clock"})


def played(pieces, *, finish="stop", is_json=False, in_string=True, taken=()):
    """The events of a reply that arrives in these pieces."""
    change = RepliesWithCalls.of(TOOLS, frozenset(taken), is_json=is_json, in_string=in_string)
    events = [event for piece in pieces for event in change.changed([TextDelta("t", piece)])]
    whole = "".join(pieces)
    end = [TextCompleted("t", whole), MessageCompleted(allm.assistant(allm.TextPart(whole)), finish)]
    return [*events, *change.changed(end)]


def seen(events):
    """What the message has, checked against what its deltas gave: text as text, a call as name and arguments."""
    last = events[-1]
    built = MessageBuilder()
    deltas: dict[str, str] = {}
    for event in events:
        built.add(event)
        if isinstance(event, TextDelta):
            deltas[event.id] = deltas.get(event.id, "") + event.delta
        elif isinstance(event, ToolCallDelta):
            deltas[event.id] = deltas.get(event.id, "") + event.arguments_delta
        elif isinstance(event, TextCompleted):
            assert deltas[event.id] == event.text
        elif isinstance(event, ToolCallCompleted):
            assert deltas.get(event.id, "") == event.raw_arguments
    assert built.content() == last.message.content
    return [
        part.text if isinstance(part, allm.TextPart) else (part.name, part.arguments) for part in last.message.content
    ]


def weather(city):
    return ("weather", {"city": city})


CALL = '{"tool": "weather", "arguments": {"city": "Zug"}}'
REPLIES = {
    "call": (CALL, [weather("Zug")]),
    "space around": (f"\n  {CALL}\n\n", [weather("Zug")]),
    "pretty": (json.dumps(json.loads(CALL), indent=2), [weather("Zug")]),
    "no arguments": ('{"tool": "clock"}', [("clock", {})]),
    "null": ('{"tool": "clock", "arguments": null}', [("clock", {})]),
    "arguments as a string": ('{"tool":"weather","arguments":"{\\"city\\": \\"Zug\\"}"}', [weather("Zug")]),
    "brackets and quotes in strings": (
        '{"tool":"weather","arguments":{"city":"Z}]\\"{[\\\\"}}',
        [weather('Z}]"{[\\')],
    ),
    "sorted keys": ('{"arguments": {"city": "Zug"}, "tool": "weather"}', [weather("Zug")]),
    "another key": ('{"tool": "weather", "id": [1, "}"], "arguments": {"city": "Zug"}}', [weather("Zug")]),
    "in words of other models": ('{"name": "weather", "parameters": {"city": "Zug"}}', [weather("Zug")]),
    "a thing with a name": ('{"name": "weather", "kind": "app"}', None),
    "a name with arguments": ('{"name": "hammer", "arguments": {}}', None),
    "no tool": ('{"tool": null, "arguments": {}, "answer": "Hi."}', ["Hi."]),
    "a tool that is no text": ('{"tool": 7, "price": 3}', None),
    "unknown tool": ('{"tool": "hammer", "arguments": {}}', [("hammer", {})]),
    "malformed arguments": ('{"tool": "weather", "arguments": {"city": Zug}}', [("weather", None)]),
    "arguments that are no object": ('{"tool": "weather", "arguments": [1]}', [("weather", None)]),
    "list of calls": (
        f'{{"calls": [{CALL}, {{"tool": "clock", "arguments": {{}}}}]}}',
        [weather("Zug"), ("clock", {})],
    ),
    "bare list": (f"[{CALL},\n{CALL}]", [weather("Zug"), weather("Zug")]),
    "two objects": (f'{CALL}\n{{"tool": "clock", "arguments": {{}}}}', [weather("Zug"), ("clock", {})]),
    "two objects without space": (f"{CALL}{CALL}", [weather("Zug"), weather("Zug")]),
    "call and answer": (f'{CALL}\n{{"answer": "Soon."}}', [weather("Zug"), "Soon."]),
    "one bracket too many": (f"{CALL}}}", [weather("Zug")]),
    "fence": (f"```json\n{CALL}\n```", [weather("Zug")]),
    "fence without a word": (f"```\n{CALL}\n```\n", [weather("Zug")]),
    "words before": (f"I will look.\n\n{CALL}", ["I will look.\n\n", weather("Zug")]),
    "words before in the line": (f"I will look. {CALL}", ["I will look. ", weather("Zug")]),
    "words and a fence": (f"Look:\n```json\n{CALL}\n```", ["Look:\n", weather("Zug")]),
    "words behind": (f"{CALL}\nThat is all.", [weather("Zug"), "\nThat is all."]),
    "answer": ('{"answer": "Sunny."}', ["Sunny."]),
    "empty answer": ('{"answer": ""}', []),
    "fenced answer": ('```json\n{"answer": "Sunny."}\n```', ["Sunny."]),
    "words and an answer": ('Well:\n{"answer": "Sunny."}', ["Well:\n", "Sunny."]),
    "escapes": (
        '{"answer": "a\\"b\\\\c\\/d\\n\\t\\u00e9\\ud83d\\ude00\\ud83d\\u0041\\q\\uZZZZ {\\"tool\\": 1}"}',
        ['a"b\\c/d\n\té\U0001f600\N{REPLACEMENT CHARACTER}A\\q\\uZZZZ {"tool": 1}'],
    ),
    "line ends as they are": ('{"answer": "a\nb"}', ["a\nb"]),
    "quotes without escapes": ('{"answer": "He said "hi", and left."}', ['He said "hi", and left.']),
    "answer that is no string": ('{"answer": {"a": [1, 2]}}', ['{"a": [1, 2]}']),
    "number": ('{"answer": 42}', ["42"]),
    "plain text": ("It is sunny.", ["It is sunny."]),
    "plain text with space": ("  It is {sunny}.\n", ["  It is {sunny}.\n"]),
    "json of its own": ('{"city": "Zug", "plan": [{"tool": "weather", "arguments": {}}]}', None),
    "json of its own in a fence": (f'```json\n{{"steps": [\n{CALL}\n]}}\n```', None),
    "a price of a tool": ('{"tool": "hammer", "price": 3}', None),
    "a tool that was spoken of": (f"Write `{CALL}` to me.", None),
    "code": ("```python\nx = {1}\n```\nDone.", None),
    "brackets": ("[1] says {x} and {", None),
    "only a fence": ("```", None),
    "only space": (" \n ", None),
}


@pytest.mark.parametrize("name", REPLIES)
def test_what_a_reply_means(name):
    """Wherever it is cut, once or everywhere; plain text is what it was."""
    reply, expected = REPLIES[name]
    expected = [reply] if expected is None else expected
    ways = [[reply], list(reply), *([reply[:cut], reply[cut:]] for cut in range(1, len(reply)))]
    for pieces in ways:
        events = played(pieces)
        found = seen(events)
        texts = "".join(part for part in found if isinstance(part, str))
        assert [part for part in found if not isinstance(part, str)] == [p for p in expected if not isinstance(p, str)]
        assert texts == "".join(part for part in expected if isinstance(part, str))
        has_calls = any(not isinstance(part, str) for part in expected)
        assert events[-1].finish_reason == ("tool_calls" if has_calls else "stop")
    assert seen(played([reply])) == expected or expected == [reply]


FRAGMENTS = [
    *'{}[]",:\\`\n 1',
    *('{"tool"', '"weather"', '"arguments"', '"answer": ', '{"answer": "', '{"calls": [', "```", "json", "hi", "null"),
    *(
        "\\u00e9",
        "\\ud83d",
        "\\ude00",
        '{"name": "weather", "parameters": ',
        '{"arguments": {}, "tool": "clock"}',
        CALL,
    ),
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12).map("".join), st.booleans(), st.data())
def test_any_reply_means_the_same_however_it_is_cut(reply, is_json, data):
    """Made of pieces of replies, right and wrong; texts are seen once."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(reply)), max_size=3)))
    in_string = data.draw(st.booleans())
    ways = [[reply], list(reply), [reply[a:b] for a, b in itertools.pairwise([0, *cuts, len(reply)])]]
    found = []
    for pieces in ways:
        events = played(pieces, is_json=is_json, in_string=in_string)
        parts = seen(events)
        runs = itertools.groupby(parts, lambda part: isinstance(part, str))
        joined = ["".join(run) if is_text else list(run) for is_text, run in runs]
        found.append((joined, events[-1].finish_reason))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", ["escapes", "plain text", "words before", "quotes without escapes", "answer"])
def test_text_comes_as_it_arrives(name):
    """After each character, all text is shown whose meaning is known: what is held is an escape, or one bracket."""
    reply, expected = REPLIES[name]
    text = "".join(part for part in expected if isinstance(part, str))
    change = RepliesWithCalls.of(TOOLS, frozenset(), is_json=False, in_string=True)
    shown = ""
    behind = []
    for at, char in enumerate(reply):
        for event in change.changed([TextDelta("t", char)]):
            shown += event.delta if isinstance(event, TextDelta) else ""
        assert text.startswith(shown)
        behind.append(at + 1 - len(shown))
    assert shown.rstrip() == text.rstrip()
    assert max(b - a for a, b in itertools.pairwise(behind)) <= 1


@pytest.mark.parametrize("cut", range(1, len(CALL)))
def test_a_call_that_is_cut_off(cut):
    """Of the limit on tokens: a call whose arguments are not whole has none, and nothing of it is lost."""
    events = played([CALL[:cut]], finish="length")
    found = seen(events)
    assert events[-1].finish_reason == "length"
    begun = CALL.index('"weather"') + len('"weather"')
    if cut < begun:
        assert found == [CALL[:cut]]
        return
    [(name, arguments)] = found
    assert name == "weather"
    assert arguments == ({"city": "Zug"} if cut >= len(CALL) - 1 else None)
    raw = events[-1].message.tool_calls[0].raw_arguments
    assert raw == CALL[CALL.index('{"city') : min(cut, len(CALL) - 1)]


@pytest.mark.parametrize("cut", range(len('{"answer": "') + 1, len('{"answer": "Züri\\u00e9\\ud83d\\ude00ch"}')))
def test_an_answer_that_is_cut_off(cut):
    """What arrived stays; half of a character is none."""
    reply = '{"answer": "Züri\\u00e9\\ud83d\\ude00ch"}'
    [text] = seen(played([reply[:cut]], finish="length"))
    assert "Zürié\U0001f600ch".startswith(text)


@pytest.mark.parametrize("cut", range(1, len(CALL)))
def test_a_failure_in_a_reply(cut):
    """What was held back is shown before it, and a call that has begun stays incomplete."""
    change = RepliesWithCalls.of(TOOLS, frozenset(), is_json=False, in_string=True)
    failure = Failed(allm.AdapterError("gone", reason="network_error", provider="x"))
    events = [*change.changed([TextDelta("t", CALL[:cut])]), *change.changed([failure])]
    assert events[-1] is failure
    assert not any(isinstance(event, ToolCallCompleted) for event in events[:-1] if cut < len(CALL) - 1)
    builder = MessageBuilder()
    for event in events:
        builder.add(event)
    [part] = builder.content()
    assert part.text == CALL[:cut] if isinstance(part, allm.TextPart) else part.name == "weather"


@pytest.mark.parametrize(
    ("reply", "in_string", "text"),
    [
        ('{"answer": {"city": "Zug", "at": [1]}}', True, '{"city": "Zug", "at": [1]}'),
        ('{"answer": "{\\"city\\": \\"Zug\\"}"}', True, '{"city": "Zug"}'),
        ('{"answer": "Zug"}', False, '"Zug"'),
        ('{"answer": 1.5}', False, "1.5"),
        ('{"answer": [1]}\n{"answer": [2]}', True, "[1]"),
        ('{"city": "Zug"}', True, '{"city": "Zug"}'),
    ],
)
def test_an_answer_in_json(reply, in_string, text):
    """Its text is the JSON as the model wrote it, with or without our object around it; the first one counts."""
    for pieces in ([reply], list(reply)):
        assert seen(played(pieces, is_json=True, in_string=in_string)) == [text]


def test_ids_are_new_in_the_conversation():
    """So that results find their calls, in this answer and in later ones."""
    events = played([CALL, CALL], taken={"call_0", "call_2", "toolu_1"})
    assert [call.id for call in events[-1].message.tool_calls] == ["call_1", "call_3"]


def test_arguments_without_a_name_are_not_held_forever():
    """A long object that turns out to be none of ours is text, and comes before its end."""
    change = RepliesWithCalls.of(TOOLS, frozenset(), is_json=False, in_string=True)
    head = '{"arguments": {"a": "'
    shown = [event.delta for event in change.changed([TextDelta("t", head), *[TextDelta("t", "x" * 1000)] * 200])]
    assert len("".join(shown)) > 100_000
    rest = list(change.changed([TextDelta("t", '"}}'), MessageCompleted(allm.assistant(""), "stop")]))
    assert rest[-1].message.text == head + "x" * 200_000 + '"}}'
    assert rest[-1].finish_reason == "stop"


def test_what_comes_between_stays_between():
    """Reasoning, and a refusal, which is not a reply."""
    change = RepliesWithCalls.of(TOOLS, frozenset(), is_json=False, in_string=True)
    events = [
        allm.ReasoningDelta("r", "Hm."),
        allm.ReasoningCompleted("r", "Hm."),
        TextDelta("a", "Let me see. "),
        allm.ReasoningDelta("s", "So."),
        allm.ReasoningCompleted("s", "So."),
        TextDelta("b", CALL),
        TextDelta("c", "No.", refusal=True),
        TextCompleted("c", "No.", refusal=True),
        MessageCompleted(allm.assistant(""), "stop"),
    ]
    parts = list(change.changed(events))[-1].message.content
    assert [type(part).__name__ for part in parts] == [
        "ReasoningPart",
        "TextPart",
        "ReasoningPart",
        "ToolCall",
        "TextPart",
    ]
    assert parts[-1].refusal


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        ('{"tool": "clock", "note": "', "x"),
        ('{"tool": "clock", ', " "),
        ('{"tool": "clock", ', ","),
        ("", "\n"),
        ('{"calls": [', " "),
        ('{"answer": {}}{"answer": "', "x"),
        ('{"answer": 1, "answer": [', "[],"),
        ('{"answer": "a"', " "),
        ("``", "`"),
        ("```", "a"),
        ('{"arguments": {}, "b": "', "x"),
    ],
)
def test_a_reply_without_an_end(head, piece):
    """Whatever it repeats becomes text in the end, which counts against the limits on an answer."""
    change = RepliesWithCalls.of(TOOLS, frozenset(), is_json=head.count("answer") > 1, in_string=True)
    events = change.changed([TextDelta("t", head), *[TextDelta("t", piece * 100)] * 1200])
    shown = sum(len(event.delta) for event in events if isinstance(event, TextDelta))
    assert shown > 15_000
