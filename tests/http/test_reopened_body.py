"""Request bodies that are read while they are sent, from the beginning for each attempt."""

from __future__ import annotations

import functools

import attrs
import pytest
import trio

import allm
from allm.http.call import HttpCall, open_call
from allm.http.error_body import classify_error
from allm.http.json_call import post_json
from allm.http.response import Body, whole
from allm.testing import Reply, WireServer, loopback_clock, record, replay

CHUNK = 1000


def of_file(path, opened):
    """A body that reads a file in chunks; counts the files that are open and those that have been opened."""

    async def chunks():
        opened["ever"] += 1
        opened["now"] += 1
        try:
            async with await trio.open_file(path, "rb") as file:
                while chunk := await file.read(CHUNK):
                    yield chunk
        finally:
            opened["now"] -= 1

    return Body(length=path.stat().st_size, open=chunks)


def call_to(server, body):
    return HttpCall(
        provider="acme",
        url=f"{server.base_url}/files",
        headers={"content-type": "application/octet-stream"},
        body=body,
        classify=functools.partial(classify_error, "acme"),
    )


class Files:
    """An adapter that sends a file."""

    provider = "acme"
    requires_model = False

    def __init__(self, call):
        self.call = call

    def prepare(self, request, options):
        return self.call

    async def send(self, prepared):
        verdict = allm.ModerationResult(flagged=False, categories={"hate": False})
        return await post_json(
            prepared, lambda answer: allm.ModerationResponse(results=[verdict], id=answer.document["id"])
        )


@pytest.fixture
def clock():
    return loopback_clock()


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 100)
    return path


async def test_a_file_is_sent_again_after_a_503(file):
    """Each attempt opens it anew and sends all of it with its length; afterwards it is closed."""
    opened = {"now": 0, "ever": 0}
    async with WireServer() as server:
        server.add(Reply.json({}, status=503), Reply.json({"id": "f1"}))
        adapter = Files(call_to(server, of_file(file, opened)))
        engine = allm.Engine(moderation_adapter=adapter, retry=allm.RetryPolicy(base_delay=0, max_delay=0))
        assert (await allm.moderate(engine, "hi")).id == "f1"
    assert [request.body for request in server.requests] == [file.read_bytes()] * 2
    assert {request.headers["content-length"] for request in server.requests} == {"25600"}
    assert opened == {"now": 0, "ever": 2}


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_body_is_read_as_it_is_sent(kind):
    """If the server stops reading, so does the body's reader; leaving closes the file without a warning."""
    read, closed = [], []

    def pieces():
        try:
            for _ in range(1000):
                read.append(None)
                yield bytes(100_000)
        finally:
            closed.append(None)

    async def async_pieces():
        source = pieces()
        try:
            for piece in source:
                await trio.lowlevel.checkpoint()
                yield piece
        finally:
            await trio.lowlevel.checkpoint()  # noqa: ASYNC102  (shielded by the caller that closes it)
            source.close()

    chunks = pieces if kind == "sync" else async_pieces

    async def listen(*, task_status):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(listeners[0].socket.getsockname()[1])
        async with listeners[0]:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        port = await nursery.start(listen)
        server = attrs.make_class("Server", ["base_url"])(f"http://127.0.0.1:{port}")
        with trio.move_on_after(1):  # real seconds, in which the buffers of the sockets get full
            async with open_call(call_to(server, Body(length=100_000_000, open=chunks))):
                raise AssertionError
        nursery.cancel_scope.cancel()
    assert 0 < len(read) < 1000
    assert closed


@pytest.mark.parametrize("length", [5, 20])
async def test_a_wrong_length(length):
    """It is an error of the request, which is not retried."""
    async with WireServer(default=Reply.json({})) as server:
        with pytest.raises(allm.AdapterError) as caught:
            await post_json(call_to(server, Body(length=length, open=lambda: [b"0123456789"])), lambda _: None)
    assert (caught.value.reason, caught.value.retryable) == ("invalid_request", False)


async def test_a_cassette_contains_the_whole_body(file, tmp_path):
    """It is recorded and replayed like a body in memory."""
    opened = {"now": 0, "ever": 0}
    async with WireServer(default=Reply.json({"id": "f1"})) as server:
        call = call_to(server, of_file(file, opened))
        for cassette in (record, replay):
            with cassette(tmp_path / "tape.json"):
                assert await post_json(call, lambda answer: answer.document["id"]) == "f1"
    assert [request.body for request in server.requests] == [file.read_bytes()]
    assert opened == {"now": 0, "ever": 2}


@pytest.mark.parametrize("body", [b"abc", Body(length=3, open=lambda: iter([b"a", b"bc"]))])
async def test_whole_reads_every_kind_of_body(body):
    """Bytes and a `Body` give the same."""
    assert await whole(body) == b"abc"


async def test_headers_of_the_response_reach_the_decoder():
    """All of them, with their names in lower case, before the first event."""
    seen = []

    def decode(answer):
        seen.append((answer.headers["x-ratelimit-remaining-requests"], answer.status, answer.request_id))

    async with WireServer() as server:
        server.add(Reply.json({}, headers={"X-RateLimit-Remaining-Requests": "7", "x-request-id": "r1"}))
        await post_json(call_to(server, b"{}"), decode)
    assert seen == [("7", 200, "r1")]
