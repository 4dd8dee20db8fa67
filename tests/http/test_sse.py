"""The decoder of server-sent events, compared with a plain implementation of the WHATWG grammar."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings, strategies as st

import allm
from allm.http.sse import Run, ServerSentEvent, SSEDecoder

# Every form of the grammar once. Line ends are put in by the tests.
LINES = [
    b": a comment",
    b":",
    b"event: delta",
    b'data: {"a": 1}',
    b"",
    b"data:no space",
    b"data:  one of two spaces",
    b"data: second line",
    b"data",
    b"",
    b"event: without data",
    b"",
    b"id: 7",
    b"retry: 1000",
    b"data: \xe2\x80\xa8 is no line end",
    b"event",
    b"",
    b"event: one",
    b"event: the last counts",
    b"data:",
    b"",
    b"data: \xff is not UTF-8",
    b"event: \xff",
    b"",
    b"data: x: y",
    b" data: stray",
    b"database: stray",
    b'{"error": "stray"}',
    b"",
    b"",
    b"data: cut off",
]


def plain_reading(stream: bytes) -> list[ServerSentEvent]:
    """The events of a whole stream by the grammar (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    events, name, data = [], "", []
    for line in re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf"))[:-1]:
        if not line:
            if data:
                events.append(ServerSentEvent(name, b"\n".join(data)))
            name, data = "", []
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"event":
            name = value.decode("utf-8", "replace")
        elif field == b"data":
            data.append(value)
    return events


def decode(chunks, limit=1 << 20):
    """The events of a stream that arrives in `chunks`, the error if it was refused, and the decoder."""
    decoder = SSEDecoder(limit)
    events, refused = [], None
    try:
        for chunk in chunks:
            run = decoder.run(chunk)
            # Extending the list in place keeps the events before an exception.
            events += decoder.feed(chunk) if run is None else run.events()
    except allm.AdapterError as error:
        refused = error.reason
    return events, refused, decoder


def cut(stream, positions):
    edges = [0, *sorted(positions), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def written(ends, bom=b""):
    """`LINES` with those line ends in turn."""
    return bom + b"".join(line + ends[index % len(ends)] for index, line in enumerate(LINES))


STREAMS = {
    "LF": written([b"\n"]),
    "CR": written([b"\r"]),
    "CRLF": written([b"\r\n"]),
    "mixed": written([b"\r\n", b"\n", b"\r\n", b"\r"]),
    "BOM": written([b"\n"], b"\xef\xbb\xbf"),
    "BOM on an event": b"\xef\xbb\xbfdata: 1\r\n\r\n",
    "two BOMs": b"\xef\xbb\xbf\xef\xbb\xbfdata: 1\n\ndata: 2\n\n",
    "BOM later": b"data: 1\n\n\xef\xbb\xbfdata: 2\n\n",
    "events alone": b"".join(b"data: %d\n\n" % digit for digit in range(9)),
    "events after names": b"data: 1\n\nevent: a\ndata: 2\n\nevent: b\n\ndata: 3\n\n: c\ndata: 4\n\ndata: \n\n",
    "empty": b"",
    "blank": b"\r\n\r\n\r\r\n\n",
}


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_a_stream_is_the_same_wherever_it_is_cut(stream):
    """Cut in two at every byte, or into pieces of every size, it gives the events of the grammar."""
    expected = plain_reading(stream)
    strays = decode([stream])[2].stray
    for position in range(len(stream) + 1):
        events, _, decoder = decode([stream[:position], b"", stream[position:]])
        assert events == expected
        assert decoder.stray == strays
    for size in range(1, len(stream) + 1):
        assert decode([stream[at : at + size] for at in range(0, len(stream), size)])[0] == expected


def test_a_read_of_whole_events_of_one_name_is_a_run():
    """Except the first read, which may begin with a byte order mark; anything else is read line by line."""
    decoder = SSEDecoder(60)
    assert decoder.run(b"data: {1}\n\n") is None
    assert list(decoder.feed(b"data: {1}\n\n")) == [("", b"{1}")]
    assert decoder.run(b"data: {2}\n\n") == ("", b"{2}", 1)
    assert decoder.run(b"data: {2}\r\n\r\ndata: {3}\r\n\r\n") == ("", b"{2}\n{3}", 2)
    named = b"event: delta\ndata: {2}\n\n"
    assert decoder.run(named * 2) == ("delta", b"{2}\n{2}", 2)
    assert decoder.run(named * 2).events() == [("delta", b"{2}"), ("delta", b"{2}")]
    others = [
        b"data: {2}\n",
        b"data: {2}\n\n\n",
        b"data: {2}\n\ndata: {3}",
        b"data: {2}\ndata: {3}\n\n",
        b"data: {2}\n\ndata: {3}\ndata: {4}\n\n",
        b"data: {2\r3}\n\n",
        b"data:{2}\n\n",
        b"data: 2}\n\n",
        b"data: {2} \n\n",
        b"data: {2}\n\ndata: [DONE]\n\n",
        b"data: [DONE]\n\ndata: {2}\n\n",
        b": data\n\n",
        named + b"data: {2}\n\n",
        named + b"event: other\ndata: {2}\n\n",
        b"event: delta\nid: 1\ndata: {2}\n\n",
        b"event: del\rta\ndata: {2}\n\n",
        b"data: {%b}\n\n" % (b"x" * 60),
    ]
    assert [decoder.run(other) for other in others] == [None] * len(others)
    for size in (51, 52):
        event = b"data: {%b}\n\n" % (b"x" * size)
        assert (decoder.run(event * 9) is None) == (size == 52)
        if size == 51:
            assert len(list(decoder.feed(event * 9))) == 9
        else:
            with pytest.raises(allm.AdapterError):
                list(SSEDecoder(60).feed(event))
    assert list(decoder.feed(b"data: {2}\ndata:")) == []
    assert decoder.run(b"data: {2}\n\n") is None


KINDS = [
    b"data: {1}\n\n",
    b"data: [DONE]\n\n",
    b"event: e\ndata: {2}\n\n",
    b"event: f\r\ndata: {2}\r\n\r\n",
    b"event: e\rf\ndata: {2}\n\n",
    b": c\n\n",
    b"data: {3}\r\n\r\n",
    b"data: {4}\ndata: {5}\n\n",
    b"data: {4}\rdata: {5}\n\n",
    b"data: {6\n7}\n\n",
    b"x\n",
    b"\r",
]
EVENTS = st.lists(st.sampled_from(KINDS))


@given(EVENTS, st.integers(0, 60))
def test_the_parts_of_a_read(events, at):
    """Together they are the read; the second ends with an event, and begins with one; in runs it is the same."""
    stream = b"".join(events)
    decoder, by_runs, other = SSEDecoder(), SSEDecoder(), SSEDecoder()
    list(decoder.feed(stream[:at]))
    list(by_runs.feed(stream[:at]))
    parts = decoder.parts(stream[at:])
    assert b"".join(parts) == stream[at:]
    assert parts[1][-2:] in {b"", b"\n\n", b"\r\n"}
    list(decoder.feed(parts[0]))
    list(by_runs.feed(parts[0]))
    read = [event for part in parts[1:] for event in decoder.feed(part)]
    expected = list(other.feed(stream))
    assert expected[len(expected) - len(read) :] == read
    assert [*in_runs(by_runs, parts[1]), *by_runs.feed(parts[2])] == read
    assert by_runs.stray == decoder.stray == other.stray


def in_runs(decoder, whole):
    """The events of whole ones."""
    for some in decoder.runs(whole) if whole else ():
        yield from some.events() if isinstance(some, Run) else decoder.feed(some)


def test_runs_are_as_long_as_they_can_be():
    """Events of one name are one run, whatever stands around them; those too large are left to be refused."""
    decoder = SSEDecoder(60)
    list(decoder.feed(b": begin\n\n"))
    named, odd = b"event: e\ndata: {2}\n\n", b"data: [DONE]\n\n"
    large = b"data: {%b}\n\n" % (b"x" * 60)
    one = b"data: {1}\n\n"
    found = list(decoder.runs(odd + one * 9 + named * 30 + odd * 2 + one * 3 + large))
    assert found[0] == odd
    assert found[1:3] == [("", b"\n".join([b"{1}"] * 9), 9), ("e", b"\n".join([b"{2}"] * 30), 30)]
    assert b"".join(found[3:]) == odd * 2 + one * 3 + large
    assert found[2].after(0) == (("e", b"{2}"), ("e", b"\n".join([b"{2}"] * 29), 29))
    assert list(decoder.runs(one * 4 + large)) == [one * 4 + large]
    assert list(decoder.runs((one + odd) * 9)) == [("", b"{1}", 1), odd] * 9
    run = ("e", b"\n".join([b"{2}"] * 30), 30)
    assert [some for some in decoder.runs((one * 9 + named * 30) * 9) if some == run] == [run] * 9
    assert b"".join(decoder.runs(b"\n" * 90_000)) == b"\n" * 90_000
    names = b"".join(b"event: %d\ndata: {}\n\n" % n for n in range(5000))
    assert [event.name for event in in_runs(decoder, names)] == [str(n) for n in range(5000)]
    assert Run("", b"{1}\n{2}\n{3}", 3).after(1) == (("", b"{2}"), ("", b"{3}", 1))
    assert Run("", b"{1}\n{2}\n{3}", 3).after(2) == (("", b"{3}"), ("", b"", 0))


def test_the_sample_by_hand():
    """The expected events are written by hand, so that the plain implementation is checked too."""
    expected = [
        ("delta", b'{"a": 1}'),
        ("", b"no space\n one of two spaces\nsecond line\n"),
        ("", "\u2028 is no line end".encode()),
        ("the last counts", b""),
        ("\ufffd", b"\xff is not UTF-8"),
        ("", b"x: y"),
    ]
    assert decode([STREAMS["CRLF"]])[0] == plain_reading(STREAMS["LF"]) == expected


def test_lines_outside_any_field_are_kept():
    """An error may come as a bare JSON object between events."""
    assert decode([STREAMS["mixed"]])[2].stray == [b" data: stray", b"database: stray", b'{"error": "stray"}']


def test_stray_lines_are_bounded():
    """A stream of nonsense does not fill the memory."""
    decoder = SSEDecoder()
    for _ in range(200):
        assert list(decoder.feed(b"nonsense " * 100 + b"\n\n")) == []
    assert 0 < sum(map(len, decoder.stray)) <= 64 * 1024


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_an_event_without_its_blank_line_comes_on_close(end):
    """Not before: only a provider without an end marker may use it."""
    events, _, decoder = decode([b"event: e\ndata: whole\n\ndata: last" + end])
    assert events == [("e", b"whole")]
    assert list(decoder.close()) == [("", b"last")]
    assert list(decoder.close()) == []


def test_events_before_an_oversized_one_are_kept():
    """Including those of the same read."""
    events, refused, _ = decode([b"data: 1\n\ndata: 2\n\ndata: " + b"x" * 200 + b"\n\ndata: 3\n\n"], limit=100)
    assert refused == "malformed_response"
    assert events == [("", b"1"), ("", b"2")]


@pytest.mark.parametrize("piece", [b"x" * 10, b"data: x\n", b"data:\r\n", b"data\r"])
def test_an_event_that_never_ends_is_refused(piece):
    """At the limit, in one line or many, and its buffered pieces are released."""
    decoder = SSEDecoder(1000)
    fed = 0
    with pytest.raises(allm.AdapterError, match="larger than 1000 bytes"):
        while fed < 5000:
            fed += len(piece)
            assert list(decoder.feed(piece)) == []
    assert 1000 < fed <= 1200 + len(piece)
    assert not decoder._data
    assert not decoder._pieces


@pytest.mark.parametrize("piece", [b": ping\n", b"event: x\r\n", b"id: 7\r", b"\n"])
def test_ignored_lines_have_no_limit(piece):
    """A provider may keep the connection alive for hours before the event arrives."""
    decoder = SSEDecoder(1000)
    for _ in range(1000):
        assert list(decoder.feed(piece)) == []
    assert [event.data for event in decoder.feed(b"data: 1\n\n")] == [b"1"]


def test_the_limit_is_for_one_event():
    """Pings between events and the length of the stream do not count."""
    stream = b"".join(b": ping\n\nevent: e\ndata: %d\n\n" % number for number in range(1000))
    events, refused, _ = decode([stream], limit=100)
    assert refused is None
    assert len(events) == 1000


pieces = st.sampled_from(
    [b"data", b"event", b":", b": ", b" ", b"x", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\n\n", b"\r\r"]
)
streams = st.lists(pieces, max_size=40).map(b"".join)


@settings(deadline=None)
@given(streams, st.lists(st.integers(0, 60)))
def test_any_bytes_are_read_as_the_grammar_says(stream, positions):
    """However they are split into reads."""
    assert decode(cut(stream, [position for position in positions if position <= len(stream)]))[0] == plain_reading(
        stream
    )


@settings(deadline=None)
@given(streams, st.integers(1, 40))
def test_the_limit_does_not_depend_on_the_reads(stream, limit):
    """Byte by byte or all at once, the events and the verdict are the same."""
    whole, whole_refused, _ = decode([stream], limit)
    bytewise, bytewise_refused, _ = decode(cut(stream, range(1, len(stream))), limit)
    assert (whole, whole_refused) == (bytewise, bytewise_refused)
