"""The binary frames of AWS: split anywhere, cut anywhere, and with any byte broken."""

from __future__ import annotations

import json
import struct
from zlib import crc32

import pytest

from allm import AdapterError
from allm.adapters import FrameDecoder, ServerSentEvent
from allm.testing.wire_formats.bedrock import frame

EVENT = {":event-type": "messageStart", ":content-type": "application/json", ":message-type": "event"}
FIRST = frame(EVENT, b'{"role":"assistant"}')
SECOND = frame({**EVENT, ":event-type": "contentBlockDelta"}, '{"delta":{"text":"Zürich"}}'.encode())
BODY = FIRST + SECOND
EVENTS = [
    ServerSentEvent("messageStart", b'{"role":"assistant"}'),
    ServerSentEvent("contentBlockDelta", '{"delta":{"text":"Zürich"}}'.encode()),
]


def sealed(headers, payload=b""):
    """A frame with these bytes as its headers, its sums being right."""
    lengths = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    rest = lengths + struct.pack(">I", crc32(lengths)) + headers + payload
    return rest + struct.pack(">I", crc32(rest))


def decoded(*chunks):
    decoder = FrameDecoder()
    return [event for chunk in chunks for event in decoder.feed(chunk)] + list(decoder.close())


def test_frames_are_the_same_however_they_are_split():
    """Two reads split at every byte, and single bytes, give the same events."""
    assert decoded(BODY) == EVENTS
    assert decoded(*(BODY[at : at + 1] for at in range(len(BODY)))) == EVENTS
    for at in range(len(BODY)):
        assert decoded(BODY[:at], BODY[at:]) == EVENTS


def test_a_body_cut_inside_a_frame_is_truncated():
    """A body that ends at any byte inside a frame keeps the events before it, and is an error."""
    for at in range(len(BODY)):
        decoder = FrameDecoder()
        events = list(decoder.feed(BODY[:at]))
        assert events == EVENTS[: at >= len(FIRST)]
        if at in {0, len(FIRST)}:
            assert list(decoder.close()) == []
        else:
            with pytest.raises(AdapterError) as caught:
                decoder.close()
            assert caught.value.reason == "stream_truncated"


def test_any_broken_byte_is_found():
    """One wrong bit, or a wrong byte, in either frame is an error, after the events of the frames before it."""
    for at in range(len(BODY)):
        for flipped in (0x01, 0x80, 0xFF):
            broken = BODY[:at] + bytes([BODY[at] ^ flipped]) + BODY[at + 1 :]
            decoder, events = FrameDecoder(), []
            with pytest.raises(AdapterError) as caught:
                for event in decoder.feed(broken):
                    events.append(event)  # noqa: PERF402  those before the error are kept
            assert caught.value.reason == "malformed_response"
            assert events == EVENTS[: at >= len(FIRST)]


def test_a_broken_length_is_found_at_once():
    """The first sum is checked before the frame has come: else a wrong length would wait for bytes without an end."""
    with pytest.raises(AdapterError, match="checksum of its lengths"):
        list(FrameDecoder().feed(b"\x00\xff\xff\xff" + FIRST[4:12]))


def test_headers_of_every_type_are_read_over():
    """Only strings are looked at; any other type is skipped by its length."""
    values = [
        (0, b""),
        (1, b""),
        (2, b"1"),
        (3, b"12"),
        (4, b"1234"),
        (5, b"12345678"),
        (8, b"12345678"),
        (9, b"1" * 16),
    ]
    headers = b"".join(b"\x01x" + bytes([kind]) + value for kind, value in values)
    headers += b"\x01x\x06\x00\x03abc" + b"\x0b:event-type\x07\x00\x04done"
    assert decoded(sealed(headers, b"{}")) == [ServerSentEvent("done", b"{}")]


@pytest.mark.parametrize("headers", [b"\x01x\x0a", b"\x01x\x07\x00\x09short", b"\x09x", b"\x01x\x04\x00"])
def test_headers_that_cannot_be_read_are_an_error(headers):
    """An unknown type of value, or one that is longer than the headers, though the sums are right."""
    with pytest.raises(AdapterError) as caught:
        decoded(sealed(headers))
    assert caught.value.reason == "malformed_response"


def test_more_headers_than_the_frame_is_long_are_an_error():
    """A frame of 20 bytes with 100 bytes of headers, its first sum being right."""
    lengths = struct.pack(">II", 20, 100)
    with pytest.raises(AdapterError, match="100 bytes of headers in a frame of 20"):
        decoded(lengths + struct.pack(">I", crc32(lengths)) + b"12345678")


def test_a_frame_that_is_too_large_is_refused_by_its_head():
    """Twelve bytes are enough to refuse a frame: the rest is not waited for."""
    with pytest.raises(AdapterError, match="more than 100") as caught:
        list(FrameDecoder(100).feed(frame(EVENT, b"x" * 100)[:12]))
    assert caught.value.reason == "malformed_response"


@pytest.mark.parametrize(
    ("headers", "payload", "report"),
    [
        (
            {":message-type": "exception", ":exception-type": "throttlingException"},
            b'{"message":"Slow down.","originalStatusCode":429}',
            {"message": "Slow down.", "originalStatusCode": 429, "code": "throttlingException"},
        ),
        (
            {":message-type": "error", ":error-code": "InternalError", ":error-message": "It broke."},
            b"",
            {"code": "InternalError", "message": "It broke."},
        ),
        ({":message-type": "exception", ":exception-type": "x"}, b"no JSON", {"code": "x", "message": "no JSON"}),
    ],
    ids=["exception", "error", "text"],
)
def test_exceptions_and_errors_are_events_named_error(headers, payload, report):
    """Their name and message are in the data, wherever in the frame they stand."""
    [event] = decoded(frame(headers, payload))
    assert event.name == "error"
    assert json.loads(event.data) == {"error": report}


def test_work_does_not_grow_with_the_number_of_reads():
    """A frame that comes byte by byte is joined twice: when its lengths are known, and when it is whole."""
    decoder = FrameDecoder()
    for at in range(len(FIRST) - 1):
        assert list(decoder.feed(FIRST[at : at + 1])) == []
    assert len(decoder._pieces) == len(FIRST) - 1 - 12 + 1
