"""Anthropic's wire format, written by hand for tests: wire events, and the events and responses decoded from them."""

from __future__ import annotations

import json

from allm import AdapterError, Failed, StreamCollector
from allm.http.sse import SSEDecoder
from allm.providers.anthropic.decode import MessagesDecoder

SIGNATURE = "c2lnbmVk"


def started(usage=None, **fields):
    """`message_start`."""
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-test", "content": [], **fields}
    return {"type": "message_start", "message": message if usage is None else {**message, "usage": usage}}


def block(index, start, *deltas):
    """The events of one block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def text(index, *pieces, **start):
    """A text block."""
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    return block(index, {"type": "text", "text": "", **start}, *deltas)


def thinking(index, *pieces, signature=SIGNATURE):
    """A thinking block that ends with its signature."""
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
    signed = [] if signature is None else [{"type": "signature_delta", "signature": signature}]
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas, *signed)


def call(index, call_id, name, *pieces, kind="tool_use", **start):
    """A tool call, for a tool of the client or one of Anthropic's own."""
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block(index, {"type": kind, "id": call_id, "name": name, "input": {}, **start}, *deltas)


def stopped(reason="end_turn", usage=None, **delta):
    """`message_delta` and `message_stop`."""
    end = {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None, **delta}}
    return [end if usage is None else {**end, "usage": usage}, {"type": "message_stop"}]


def flat(parts):
    """Flatten events and lists of events into one list."""
    return [event for part in parts for event in (part if isinstance(part, list) else [part])]


def sse(*parts):
    """The body of a stream: events in their wire form, strings as they are."""
    return b"".join(
        event.encode()
        if isinstance(event, str)
        else f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n".encode()
        for event in flat(parts)
    )


def decode(*reads, decoder=None):
    """The events of a body that arrives in `reads`, decoded as the common HTTP path does."""
    decoder = decoder or MessagesDecoder()
    reader = SSEDecoder()
    decoder.begin({"x-request-id": "request-1"})
    events = []
    try:
        for read in reads:
            for name, data in reader.feed(read):
                events += decoder.decode(name, data)
                if decoder.done or (events and isinstance(events[-1], Failed)):
                    return events
        events += decoder.end("")
    except AdapterError as error:
        events.append(Failed(error))
    return events


def fold(events):
    """The response that the events add up to."""
    collector = StreamCollector()
    for event in events:
        collector.add(event)
    return collector.response()


def answer(*parts, decoder=None):
    """The response of a whole stream."""
    return fold(decode(sse(*parts), decoder=decoder))
