"""Gemini's wire format, written by hand for tests: chunks, and the events and responses decoded from them."""

from __future__ import annotations

import json
from functools import partial
from itertools import chain

from allm import AdapterError, Failed, StreamCollector
from allm.http.sse import SSEDecoder
from allm.providers.gemini.decode import GeminiDecoder

SIGNATURE = "c2lnbmVk"


def text(value, **beside):
    """A part with text."""
    return {"text": value, **beside}


def thought(value, **beside):
    """A part with a thought."""
    return {"text": value, "thought": True, **beside}


def call(name=None, args=None, **beside):
    """A part with a function call; `signature` becomes a field of the part, other names become fields of the call."""
    signature = beside.pop("signature", None)
    fields = {"name": name, "args": args, **beside}
    part = {"functionCall": {key: value for key, value in fields.items() if value is not None}}
    return part if signature is None else {**part, "thoughtSignature": signature}


def chunk(*parts, finish=None, usage=None, candidate=None, **fields):
    """One chunk of a stream, with one candidate."""
    first = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **(candidate or {})}
    if finish is not None:
        first["finishReason"] = finish
    answer = {"candidates": [first], "modelVersion": "gemini-test", "responseId": "answer-1", **fields}
    return answer if usage is None else {**answer, "usageMetadata": usage}


def sse(*chunks):
    """The body of a stream: JSON values as events, strings as they are."""
    return b"".join(
        (value if isinstance(value, str) else f"data: {json.dumps(value, ensure_ascii=False)}\r\n\r\n").encode()
        for value in chunks
    )


def decode(*reads, decoder=None):
    """The events of a body that arrives in `reads`, decoded as the common HTTP path does."""
    decoder = decoder or GeminiDecoder()
    reader = SSEDecoder()
    decoder.begin({"x-request-id": "request-1"})
    events = []
    feeds = [*(partial(reader.feed, read) for read in reads), reader.close]
    try:
        for name, data in chain.from_iterable(feed() for feed in feeds):
            events += decoder.decode(name, data)
            if decoder.done:
                return events
        events += decoder.end(b"\n".join(reader.stray).decode())
    except AdapterError as error:
        events.append(Failed(error))
    return events


def fold(events):
    """The response that the events add up to."""
    collector = StreamCollector()
    for event in events:
        collector.add(event)
    return collector.response()


def answer(*chunks, decoder=None):
    """The response of a stream of these chunks."""
    return fold(decode(sse(*chunks), decoder=decoder))
