"""Replies as values: their constructors, and how a body is cut."""

from __future__ import annotations

import json

import attrs
import pytest

from allm.testing import Cut, Garbage, KeepAlive, Reply, Reset, Stall


def pairs(reply):
    """The pieces as pairs."""
    return [(piece.delay, piece.data) for piece in reply.pieces()]


@pytest.mark.parametrize(
    ("reply", "pieces"),
    [
        (Reply(), []),
        (Reply(body=b"abc"), [(0, b"abc")]),
        (Reply(body=b"abcde", chunks=2, delay=1), [(0, b"ab"), (1, b"cd"), (1, b"e")]),
        (Reply(body=b"abcde", chunks=[1, 3], delay=1), [(0, b"a"), (1, b"bcd"), (1, b"e")]),
        (Reply(body=b"abc", pauses={0: 2, 1: 3}), [(2, b"a"), (3, b"bc")]),
        (Reply(body=b"abcd", chunks=2, delay=1, pauses={2: 5}), [(0, b"ab"), (6, b"cd")]),
        (Reply(body=b"abc", pauses={3: 1}), [(0, b"abc"), (1, b"")]),
        (Reply(body=b"abc", pauses={99: 1}), [(0, b"abc"), (1, b"")]),
        (Reply(body=b"abcd", chunks=1, fault=Cut(2)), [(0, b"a"), (0, b"b")]),
        (Reply(body=b"abcd", chunks=3, fault=Reset(2)), [(0, b"ab")]),
        (Reply(body=b"abcd", chunks=2, delay=1, fault=Cut(2)), [(0, b"ab")]),
        (Reply(body=b"abcd", pauses={2: 1}, fault=Stall(2)), [(0, b"ab"), (1, b"")]),
        (Reply(body=b"abcd", chunks=2, fault=Cut(99)), [(0, b"ab"), (0, b"cd")]),
        (Reply(body=b"abcd", fault=Cut(-1)), []),
        (Reply(body=b"abcd", chunks=3, fault=Garbage(1, b"!")), [(0, b"a"), (0, b"!"), (0, b"bc"), (0, b"d")]),
        (Reply(body=b"abcd", pauses={1: 7}, fault=Garbage(1, b"!")), [(0, b"a"), (7, b"!"), (0, b"bcd")]),
    ],
)
def test_pieces(reply, pieces):
    """Chunks, pauses and the fault cut the body; a pause is before the piece it delays."""
    assert pairs(reply) == pieces


@pytest.mark.parametrize("chunks", [0, -1, [3, 0]])
def test_chunks_have_bytes(chunks):
    """Empty chunks are rejected, as they would end the message."""
    with pytest.raises(ValueError, match="at least 1 byte"):
        Reply(chunks=chunks)


def test_endless_comments_have_no_length():
    """`KeepAlive` cannot have a content length."""
    with pytest.raises(ValueError, match="has no length"):
        Reply(framing="content-length", fault=KeepAlive())


def test_replies_are_values():
    """They are equal and hashable, and can be varied."""
    headers = {"x": "1"}
    reply = Reply(headers=headers, body=b"abc")
    headers["x"] = "2"

    assert reply == Reply(headers={"x": "1"}, body=b"abc")
    assert attrs.evolve(reply, chunks=1) != reply
    assert len({reply, Reply(headers={"x": "1"}, body=b"abc")}) == 1


def test_json():
    """The body is JSON with raw non-ASCII characters and a content length."""
    reply = Reply.json({"a": "ü"}, status=201, headers={"x-y": "z"})

    assert (reply.status, reply.body, reply.framing) == (201, '{"a": "ü"}'.encode(), "content-length")
    assert reply.headers == {"content-type": "application/json", "x-y": "z"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_sse(end):
    """Event names, texts of several lines, bytes and JSON, with the given line end."""
    events = [("ping", "x"), (None, "two\nlines"), (None, b"\xff"), ("e", {"a": "ü"})]
    reply = Reply.sse(events, line_end=end, headers={"x-y": "z"}, chunks=3)

    lines = [b"event: ping", b"data: x", b"", b"data: two", b"data: lines", b"", b"data: \xff", b""]
    lines += [b"event: e", 'data: {"a":"ü"}'.encode(), b""]
    assert reply.body == b"".join(line + end.encode() for line in lines)
    assert reply.chunks == 3
    assert reply.headers == {"content-type": "text/event-stream; charset=utf-8", "x-y": "z"}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_event_ends(end):
    """Offsets of the ends of events, with any line end."""
    reply = Reply.sse([("a", "1"), (None, "2\n3"), ("c", "4")], line_end=end)

    starts = (0, *reply.event_ends[:-1])
    parts = [reply.body[start:stop] for start, stop in zip(starts, reply.event_ends, strict=True)]
    assert [part.count(b"data: ") for part in parts] == [1, 2, 1]
    assert b"".join(parts) == reply.body


@pytest.fixture
def case(tmp_path):
    """A recorded response."""
    answer = {
        "status": 203,
        "headers": {"x-request-id": "r", "Connection": "close", "content-encoding": "gzip", "content-length": "7"},
        "wire_only_headers": {"transfer-encoding": "chunked"},
    }
    (tmp_path / "response.json").write_text(json.dumps(answer), "utf-8")
    (tmp_path / "response.body").write_bytes(b"data: \xe2\x80\xa8\n\n")
    return tmp_path


async def test_recorded(case, server, http_client):
    """Status, headers and body, without headers of the connection."""
    reply = Reply.recorded(case)
    server.add(reply)
    async with http_client() as client:
        response = await client.get(server.base_url)

    assert reply.headers == {"x-request-id": "r"}
    assert (response.status_code, response.content) == (203, b"data: \xe2\x80\xa8\n\n")


def test_recorded_chunks(case):
    """The body is cut as recorded, unless the test says otherwise."""
    assert Reply.recorded(case).chunks is None
    (case / "chunks.json").write_text('{"chunk_lengths": [7, 4]}', "utf-8")

    assert Reply.recorded(str(case)).chunks == (7, 4)
    assert Reply.recorded(case, chunks=1, delay=2.0).chunks == 1
    assert Reply.recorded(case, chunks=None).chunks is None


@pytest.mark.parametrize("provider", ["openai", "openai_responses"])
def test_openai_errors(provider):
    """OpenAI's envelope, with the wait in seconds and milliseconds."""
    reply = Reply.error(provider, 429, retry_after=1.5)

    error = json.loads(reply.body)["error"]
    assert (error["type"], error["param"], error["code"]) == ("requests", None, "rate_limit_exceeded")
    assert (reply.headers["retry-after"], reply.headers["retry-after-ms"]) == ("2", "1500")
    assert reply.headers["x-request-id"].startswith("req_")


def test_anthropic_errors():
    """Anthropic's envelope, with its id twice, and whether to retry."""
    reply = Reply.error("anthropic", 529, retry_after=3)

    body = json.loads(reply.body)
    assert body["error"] == {"type": "overloaded_error", "message": "Overloaded"}
    assert (body["type"], body["request_id"]) == ("error", reply.headers["request-id"])
    assert (reply.headers["retry-after"], reply.headers["x-should-retry"]) == ("3", "true")
    assert Reply.error("anthropic", 401).headers["x-should-retry"] == "false"
    assert Reply.error("anthropic", 429).headers["x-should-retry"] == "true"


def test_gemini_errors():
    """Google's envelope; the wait and the exact reason are in the details only."""
    reply = Reply.error("gemini", 429, retry_after=34.4, code="RATE_LIMIT_EXCEEDED")

    error = json.loads(reply.body)["error"]
    assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert [detail.get("reason") or detail["retryDelay"] for detail in error["details"]] == [
        "RATE_LIMIT_EXCEEDED",
        "34.4s",
    ]
    assert "retry-after" not in reply.headers
    assert "details" not in json.loads(Reply.error("gemini", 500).body)["error"]


def test_an_error_may_say_anything():
    """Given values replace the usual ones, also for an unknown status."""
    reply = Reply.error("openai", 418, message="m", code="c", type="t", headers={"x-should-retry": "true"})
    assert json.loads(reply.body) == {"error": {"message": "m", "type": "t", "param": None, "code": "c"}}
    assert (reply.status, reply.headers["x-should-retry"]) == (418, "true")

    unknown = Reply.error("anthropic", 502)
    assert (unknown.status, json.loads(unknown.body)["error"]["type"]) == (502, "api_error")
