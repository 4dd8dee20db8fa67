"""Twice as much is twice the work."""

from __future__ import annotations

import math
import sys

import pytest
import trio

import allm
from allm import fake
from allm.http.sse import SSEDecoder
from allm.providers.anthropic.decode import MessagesDecoder
from allm.providers.gemini.decode import GeminiDecoder
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.responses_decode import ResponsesDecoder
from allm.testing import Reply
from calls import VENDORS

DECODERS = {
    "openai": ChatDecoder,
    "openai_responses": ResponsesDecoder,
    "anthropic": MessagesDecoder,
    "gemini": GeminiDecoder,
}
MOST = 1.15  # of the exponent; 1 is linear, 2 quadratic
CONTENTS = {
    "text": lambda n: [fake.text("word " * n)],
    "reasoning": lambda n: [fake.reasoning("word " * n), fake.text("x")],
    "calls": lambda n: [fake.tool_call("f", {"a": index}, id=f"c{index}") for index in range(n)],
}


def calls_in(work):
    """How many Python and C functions `work` calls."""
    count = 0

    def profile(frame, event, arg):
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def exponent(make, n):
    """How the calls grow from `n` to `2 n`, as a power; `make(n)` prepares what is measured."""
    make(2)()  # whatever is done once
    once, twice = calls_in(make(n)), calls_in(make(2 * n))
    return math.log2(twice / once)


def events_of(vendor, items):
    reader = SSEDecoder()
    body = Reply.script(vendor, items).body
    return [*reader.feed(body), *reader.close()]


def decoded(vendor, items):
    events = events_of(vendor, items)

    def work():
        decoder = DECODERS[vendor]()
        decoder.begin({})
        for name, data in events:
            if not decoder.done:
                decoder.decode(name, data)

    return work


def folded(items):
    decoder = ChatDecoder()
    decoder.begin({})
    found = [
        event for name, data in events_of("openai", items) if not decoder.done for event in decoder.decode(name, data)
    ]

    def work():
        collector = allm.StreamCollector()
        for event in found:
            collector.add(event)
        collector.response()

    return work


def thread_of(n):
    turns = []
    for index in range(n):
        call = allm.ToolCall(f"c{index}", "f", {"a": index})
        turns += [
            allm.user(f"question {index}"),
            allm.assistant("Let me see.", call),
            allm.tool_result(call.id, "seen"),
        ]
    return allm.Thread([*turns, allm.user("and now?")])


def encoded(vendor, n):
    adapter = VENDORS[vendor]("http://127.0.0.1:9", None)
    request = allm.Request(thread_of(n).messages, model="m", max_tokens=9)
    return lambda: adapter.prepare(request, allm.adapters.AdapterOptions())


def split(n, size):
    body = Reply.script("openai", CONTENTS["text"](n)).body
    pieces = [body[start : start + size] for start in range(0, len(body), size)]

    def work():
        reader = SSEDecoder()
        for piece in pieces:
            list(reader.feed(piece))
        list(reader.close())

    return work


def one_event_in_pieces(n):
    pieces = [b"data: ", *[b"x" * 64] * n, b"\n\n"]

    def work():
        reader = SSEDecoder()
        for piece in pieces:
            list(reader.feed(piece))

    return work


def written(n):
    thread = thread_of(n)
    return lambda: allm.to_json(thread)


def read(n):
    text = allm.to_json(thread_of(n))
    return lambda: allm.from_json(text)


def saved(n):
    """Saving a new session; threads of the store are not measured, so it is the one in memory."""
    session = allm.Session(id="s", thread=thread_of(n))

    async def save():
        async with allm.session.open_store("memory://") as store:
            await store.save(session)

    return lambda: trio.run(save)


def validated(n):
    session = allm.Session(id="s", thread=thread_of(n))
    return lambda: allm.validate(session)


WORK = {
    **{
        f"decode {content} of {vendor}": lambda n, v=vendor, c=content: decoded(v, CONTENTS[c](n))
        for vendor in DECODERS
        for content in CONTENTS
    },
    **{f"fold {content}": lambda n, c=content: folded(CONTENTS[c](n)) for content in CONTENTS},
    **{f"encode for {vendor}": lambda n, v=vendor: encoded(v, n) for vendor in VENDORS},
    "split whole reads": lambda n: split(n, 4096),
    "split small reads": lambda n: split(n, 7),
    "one event in pieces": one_event_in_pieces,
    "write JSON": written,
    "read JSON": read,
    "validate": validated,
    "save a session": saved,
    **{
        f"script {content}": lambda n, c=content: lambda: Reply.script("openai", CONTENTS[c](n)) for content in CONTENTS
    },
}


@pytest.mark.parametrize("work", WORK)
def test_growth(work, long, record_property):
    """Decoding, encoding, folding, JSON and saving take twice the calls for twice the content."""
    found = exponent(WORK[work], 2000 if long else 200)
    assert found < MOST, f"{work}: the calls grow with the power {found:.2f}"
    record_property("kinds of work", 1)


def test_that_the_growth_of_something_quadratic_is_found():
    """A loop in a loop has the exponent 2."""
    assert exponent(lambda n: lambda: [abs(i) for i in range(n) for _ in range(n)], 50) == pytest.approx(2, abs=0.05)
