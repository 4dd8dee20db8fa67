"""Twice as much of anything in an answer is twice as much work, from the script to the next request.

Steps are counted, not seconds; `benchmarks/growth.py` measures the time, in which loops in C count as well.
"""

from __future__ import annotations

from contextlib import suppress

import pytest

import allm
from allm import fake
from allm.data.json.text import dumps
from allm.data.message_builder import Pieces, UniqueIds
from allm.data.request import results_in_place
from allm.execution.options import prepare_call, resolve
from allm.http.answer_size import AnswerSize
from allm.http.sse import SSEDecoder
from allm.providers.anthropic.decode import MessagesDecoder
from allm.providers.gemini.decode import GeminiDecoder
from allm.providers.openai.argument_end import ArgumentEnd
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.responses_decode import ResponsesDecoder
from allm.testing import Reply
from growth import growth, steps

MOST = 2.6
"""Growth for twice the size; 2 is in proportion, 4 would be in the square."""
SIZE = 100

FORMATS = {
    "openai": (ChatDecoder, allm.providers.OpenAI(api_key="k", endpoint="chat_completions"), "gpt-4o"),
    "openai_responses": (ResponsesDecoder, allm.providers.OpenAI(api_key="k", endpoint="responses"), "gpt-5.4"),
    "anthropic": (MessagesDecoder, allm.providers.Anthropic(api_key="k"), "claude-haiku-4-5"),
    "gemini": (GeminiDecoder, allm.providers.Gemini(api_key="k"), "gemini-3-pro"),
}
SCRIPTS = {
    "pieces of text": lambda n: [fake.text(f"w{i} ") for i in range(n)],
    "text and reasoning": lambda n: [item for i in range(n) for item in (fake.text(f"w{i}"), fake.reasoning(f"r{i}"))],
    "calls": lambda n: [fake.tool_call("f", {"a": i}, id=f"c{i}") for i in range(n)],
    "calls without ids": lambda n: [fake.tool_call("f", {"a": i}) for i in range(n)],
    "calls with one id": lambda n: [fake.tool_call("f", {"a": i}, id="c") for i in range(n)],
    "a long call": lambda n: [fake.tool_call("f", {"a": "word " * n})],
    "citations": lambda n: [
        item
        for i in range(n)
        for item in (fake.text("Zürich 🦉 "), fake.citation(i, i + 1, url=f"https://{i}.example"))
    ],
    "text with usage": lambda n: [*map(fake.text, map(str, range(n))), fake.usage(input_tokens=1, output_tokens=n)],
}


def decoded(name, body):
    decoder, reader = FORMATS[name][0](), SSEDecoder()
    decoder.begin({})
    events = [event for kind, data in reader.feed(body) for event in decoder.decode(kind, data)]
    return events if decoder.done else [*events, *decoder.end("")]


def folded(events):
    collector = allm.StreamCollector()
    for event in events:
        collector.add(event)
    return collector.response()


def admitted(events):
    size = AnswerSize(allm.AnswerLimits())
    return [kept for event in events for kept in size.admit((event,))]


def request(name, response):
    _, adapter, model = FORMATS[name]
    results = [allm.tool_result(call.id, "ok") for call in response.tool_calls]
    messages = [allm.user("hi"), response.message, *results, allm.user("go on")]
    return resolve(allm.Engine(adapter=adapter, model=model), messages, {})


STAGES = {
    "scripted": lambda name, script: (Reply.script, name, script),
    "decoded": lambda name, script: (decoded, name, Reply.script(name, script).body),
    "counted": lambda name, script: (admitted, decoded(name, Reply.script(name, script).body)),
    "folded": lambda name, script: (folded, decoded(name, Reply.script(name, script).body)),
    "saved": lambda name, script: (allm.to_json, folded(decoded(name, Reply.script(name, script).body))),
    "sent again": lambda name, script: (
        prepare_call,
        request(name, folded(decoded(name, Reply.script(name, script).body))),
    ),
}


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("what", SCRIPTS)
@pytest.mark.parametrize("name", FORMATS)
def test_every_format(name, what, stage):
    """Whatever there is much of, in every stage of its way."""
    work = growth(lambda n: STAGES[stage](name, SCRIPTS[what](n)), SIZE)
    assert work < MOST


def chat(delta=None, **choice):
    return {"choices": [{"index": 0, **({} if delta is None else {"delta": delta}), **choice}]}


def item(kind, n, **fields):
    return {"type": "response.output_item.added", "item": {"type": kind, **fields}}


def gemini(*parts, **candidate):
    return {"candidates": [{"content": {"parts": list(parts)}, **candidate}]}


def responses_without_names(n):
    """Items that no event names, all closed by the terminal event."""
    added = [item("message", i) for i in range(n)]
    output = [{"type": "message", "content": [{"type": "output_text", "text": str(i)}]} for i in range(n)]
    return [*added, {"type": "response.completed", "response": {"id": "r", "output": output}}]


def responses_at_the_end(n):
    """Calls whose end only the terminal event tells."""
    calls = [{"type": "function_call", "id": f"i{i}", "call_id": f"c{i}", "name": "f"} for i in range(n)]
    added = [{"type": "response.output_item.added", "output_index": i, "item": c} for i, c in enumerate(calls)]
    output = [{**call, "arguments": "{}"} for call in reversed(calls)]
    return [*added, {"type": "response.completed", "response": {"id": "r", "output": output}}]


def one_call(*pieces, **more):
    return [
        chat({"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": piece}, **more}]}) for piece in pieces
    ]


STREAMS = {
    "calls that come whole at one place": ("openai", lambda n: one_call(*['{"a": 1}'] * n)),
    "a name with each piece": ("openai", lambda n: one_call('{"a": [', *["{}, "] * n, "{}]}")),
    "pieces that look whole": ("openai", lambda n: one_call("{", *["}"] * n)),
    "words that are no arguments": ("openai", lambda n: one_call(*["1"] * n)),
    "an id with each piece": (
        "openai",
        lambda n: [
            chat({"tool_calls": [{"index": 0, "id": f"c{i}", "function": {"name": "f", "arguments": "{}"}}]})
            for i in range(n)
        ],
    ),
    "ids that are taken": (
        "openai",
        lambda n: [
            chat(
                {"tool_calls": [{"index": i, **({"id": f"call_{i + n}"} if i < n else {}), "function": {"name": "f"}}]}
            )
            for i in range(2 * n)
        ],
    ),
    "images": (
        "openai",
        lambda n: [chat({"images": [{"image_url": {"url": f"https://x.test/{i}.png"}}]}) for i in range(n)],
    ),
    "thoughts in details": (
        "openai",
        lambda n: [
            chat({"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "word "}]}) for _ in range(n)
        ],
    ),
    "fields in lists": ("openai", lambda n: [chat({"own_field": [f"x{i}"]}) for i in range(n)]),
    "notes with indexes": (
        "openai",
        lambda n: [{**chat({"content": "x"}), "search_results": [{"index": i}]} for i in range(n)],
    ),
    "notes with names": ("openai", lambda n: [{**chat({"content": "x"}), "extra": {f"k{i}": 1}} for i in range(n)]),
    "messages in a stream": (
        "openai",
        lambda n: [e for i in range(n) for e in (chat({"content": "word "}), chat(message={"content": "x"}))],
    ),
    "annotations": ("openai", lambda n: [chat({"annotations": [{"url": "u"}]}) for _ in range(n)]),
    "items without names": ("openai_responses", responses_without_names),
    "items that end at the end": ("openai_responses", responses_at_the_end),
    "deltas without names": (
        "openai_responses",
        lambda n: [
            event
            for i in range(n)
            for event in (
                item("message", i),
                {"type": "response.output_text.delta", "delta": "x"},
                {"type": "response.output_item.done", "item": {"type": "message", "content": []}},
            )
        ],
    ),
    "texts of one item": (
        "openai_responses",
        lambda n: [
            {"type": "response.output_text.delta", "item_id": "m", "content_index": i, "delta": "x"} for i in range(n)
        ],
    ),
    "open blocks": (
        "anthropic",
        lambda n: [
            {"type": "content_block_start", "index": i, "content_block": {"type": "text", "text": "x"}}
            for i in range(n)
        ],
    ),
    "citations": (
        "anthropic",
        lambda n: [
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *[
                {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta", "citation": {"n": i}}}
                for i in range(n)
            ],
        ],
    ),
    "partial arguments": (
        "gemini",
        lambda n: [
            gemini(
                {
                    "functionCall": {
                        "name": "f",
                        "willContinue": i < n - 1,
                        "partialArgs": [{"jsonPath": f"$.a[{i}]", "stringValue": "x"}],
                    }
                }
            )
            for i in range(n)
        ],
    ),
    "citations of chunks": (
        "gemini",
        lambda n: [gemini({"text": "x"}, citationMetadata={"citations": [{"n": i}]}) for i in range(n)],
    ),
    "items of its own": ("gemini", lambda n: [gemini({"executableCode": {"code": str(i)}}) for i in range(n)]),
}


@pytest.mark.parametrize("what", STREAMS)
def test_streams_that_are_unusual(what):
    """What no scripted server sends: each decoder's answers to what servers leave out or repeat."""
    name, make = STREAMS[what]

    def decode(body):
        with suppress(allm.AdapterError):  # an answer without an end
            decoded(name, body)

    def work(n):
        return decode, b"".join(b"data: " + dumps(event) + b"\n\n" for event in make(n)) + b"data: [DONE]\n\n"

    assert growth(work, 4 * SIZE) < MOST


def test_results_without_calls():
    """Results that belong to no call are not looked for in every message."""

    def conversation(n):
        asked = [m for i in range(n) for m in (allm.assistant(allm.ToolCall(f"c{i}", "f", {})), allm.user("hm"))]
        return results_in_place, [*asked, *[allm.tool_result(f"x{i}", "late") for i in range(n)]]

    assert growth(conversation, SIZE) < MOST


def test_one_mark_at_a_time():
    """Arguments are read once, however they are cut, and whether they are whole is known with each piece."""
    text = '{"a": "}\\"{", "b": [1, {"c": null}]}'
    for width in (1, 2, 3, 7, len(text)):
        end, pieces, whole = ArgumentEnd(), Pieces(), []
        for start in range(0, len(text), width):
            pieces.add(text[start : start + width])
            whole.append(end.is_reached(text[start : start + width], pieces))
        assert whole == [False] * (len(whole) - 1) + [True]
        assert end.is_reached(" \n", pieces)
        assert not end.is_reached("}", pieces)


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("{}", True),
        (" {} ", True),
        ("null", True),
        ('"{}"', True),
        ('"{\\"a\\": 1}"', True),
        ("", False),
        (" ", False),
        ("nul", False),
        ("nulls", False),
        ("1", False),
        ("[1]", False),
        ('"x"', False),
        ("{a}", False),
        ("{]", False),
        ("}", False),
        ("{}{}", False),
        ('{"a": "\\\\"}', True),
        ('{"a": "\\"}', False),
    ],
)
def test_what_whole_arguments_are(text, whole):
    """A JSON object, in whichever way services write one."""
    for cut in ([text], list(text)):
        end, pieces, found = ArgumentEnd(), Pieces(), False
        for piece in cut:
            pieces.add(piece)
            found = end.is_reached(piece, pieces)
        assert found is whole


def test_ids_that_are_taken():
    """Made-up ids never take one that the server sends, and their number is found without trying all."""
    ids = UniqueIds()
    sent = [ids.new(f"call_{n}") for n in range(100, 200)]
    assert steps(lambda: [ids.new(None) for _ in range(100)]) < 1500
    assert len({*sent, *(ids.new(None) for _ in range(100))}) == 200


def test_steps_see_a_loop_of_one_line():
    """The measure itself: a quadratic function is found."""
    quadratic = growth(
        lambda n: (lambda items: [sum(1 for other in items if other < one) for one in items], range(n)), 50
    )
    assert 3 < quadratic < 5
