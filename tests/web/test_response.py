"""A response: what an ASGI server gets of it, on Trio and on asyncio, and what ends when the client goes away."""

from __future__ import annotations

import asyncio
import json

import pytest
import trio

import allm
import allm.aio
import allm.blocking
import allm.web
from allm import fake
from allm.providers import Fake
from allm.testing import no_leaks
from allm.web.response import EventResponse

SCOPE = {"type": "http", "headers": []}
FORMATS = [allm.web.sse, allm.web.ui_stream, allm.web.ag_ui, allm.web.text]


def new_engine(*items):
    script = list(items) or [fake.text("Hello "), fake.text("web.")]
    return allm.Engine(adapter=Fake(script=script))


class Server:
    """An ASGI server: what was sent, and a client that goes away at a text.

    Attributes:
        blocks_at: A text at which the client stops reading.
    """

    def __init__(self, until=None, blocks_at=None, library=trio):
        self.sent = []
        self.until, self.blocks_at = until, blocks_at
        self.gone, self.blocked = library.Event(), library.Event()
        self.library = library

    async def receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message):
        if self.library is trio:
            await trio.lowlevel.checkpoint()
        else:
            await asyncio.sleep(0)
        self.sent.append(message)
        body = message.get("body", b"")
        if self.until is not None and self.until in body:
            self.gone.set()
        if self.blocks_at is not None and self.blocks_at in body:
            self.blocked.set()
            await self.library.Event().wait()

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent)


@pytest.mark.parametrize("make", FORMATS)
async def test_a_response_is_an_asgi_application(make):
    """It has one start with its headers, and one end."""
    server = Server()
    await make(allm.stream(new_engine(), "Hi"))(SCOPE, server.receive, server.send)
    start, *bodies, end = server.sent

    assert start["type"] == "http.response.start"
    assert start["status"] == 200
    headers = dict(start["headers"])
    assert headers[b"cache-control"] == b"no-cache"
    assert headers[b"x-accel-buffering"] == b"no"
    kind = b"text/plain; charset=utf-8" if make is allm.web.text else b"text/event-stream"
    assert headers[b"content-type"] == kind
    assert (headers.get(b"x-vercel-ai-ui-message-stream") == b"v1") == (make is allm.web.ui_stream)
    assert all(message["more_body"] for message in bodies)
    assert end == {"type": "http.response.body", "body": b"", "more_body": False}
    assert b"Hello " in server.body


@pytest.mark.parametrize("make", FORMATS)
async def test_a_client_that_goes_away_ends_the_call(make, autojump_clock):
    """The call would go on for an hour; it ends at once, and nothing of it is left."""
    engine = new_engine(fake.text("Goodbye."), fake.delay(3600), fake.text("Never."))
    server = Server(until=b"Goodbye.")
    async with no_leaks():
        await make(allm.stream(engine, "Hi"), **({} if make is allm.web.text else {"keep_alive": None}))(
            SCOPE, server.receive, server.send
        )

    assert trio.current_time() < 3600
    assert b"Never" not in server.body
    assert server.sent[-1]["more_body"]


async def test_a_send_that_fails_is_a_client_that_went_away():
    """ASGI servers may raise OSError from `send`."""
    server = Server()

    async def send(message):
        await server.send(message)
        if b"Hello" in message.get("body", b""):
            raise OSError("gone")

    async with no_leaks():
        await allm.web.sse(allm.stream(new_engine(), "Hi"))(SCOPE, server.receive, send)
    assert server.sent[-1]["more_body"]


async def test_silence_has_comments(autojump_clock):
    """One after each 15 seconds in which nothing was written, and none beside events."""
    engine = new_engine(fake.text("a"), fake.delay(50), fake.text("b"), fake.delay(5), fake.text("c"))
    server = Server()
    await allm.web.sse(allm.stream(engine, "Hi"), keep_alive=15)(SCOPE, server.receive, server.send)

    assert server.body.count(b": keep-alive\n\n") == 3
    assert server.body.index(b'"a"') < server.body.index(b": keep-alive") < server.body.index(b'"b"')


async def test_a_client_that_does_not_read_stops_the_call(autojump_clock):
    """What waits for it is bounded, and no comment joins it; when it goes away, all of it ends."""
    engine = new_engine(*[item for count in range(500) for item in (fake.text(f"<{count}>"), fake.delay(0.01))])
    server = Server(blocks_at=b"<3>")
    seen = []
    async with trio.open_nursery() as nursery:
        response = allm.web.sse(allm.stream(engine, "Hi", on_event=seen.append))
        nursery.start_soon(response, SCOPE, server.receive, server.send)
        await trio.sleep(3600)
        server.gone.set()

    assert len(seen) < 100
    assert b"keep-alive" not in server.body


async def test_a_failing_callback_is_told_and_raised():
    """The client learns that the answer failed, and nothing else; the server gets the exception."""

    def fail(event):
        if type(event) is allm.TextDelta:
            raise RuntimeError("secret")

    server = Server()
    with pytest.raises(RuntimeError, match="secret"):
        await allm.web.ui_stream(allm.stream(new_engine(), "Hi", on_event=fail))(SCOPE, server.receive, server.send)

    assert b'"errorText":"The answer failed (internal_error)."' in server.body
    assert b"secret" not in server.body
    assert server.body.endswith(b"data: [DONE]\n\n")
    assert server.sent[-1]["more_body"] is False


async def test_the_text_of_an_error_is_the_callers():
    """By default a visitor reads the reason; `error_text=str` shows everything."""
    failing = [fake.text("Half"), fake.error(allm.AdapterError("at 10.0.0.7", reason="stream_truncated"))]
    shown = {}
    for name, options in {"default": {}, "own": {"error_text": str}}.items():
        server = Server()
        await allm.web.sse(allm.stream(new_engine(*failing), "Hi"), **options)(SCOPE, server.receive, server.send)
        [shown[name]] = [json.loads(line[6:]) for line in server.body.split(b"\n\n") if b'"Failed"' in line]

    assert shown["default"] == {
        "type": "Failed",
        "reason": "stream_truncated",
        "error": "The answer failed (stream_truncated).",
    }
    assert "10.0.0.7" in shown["own"]["error"]


async def test_a_failed_text_is_cut_off():
    """A text has no place for an error: its response has no end, which a client sees."""
    engine = new_engine(fake.text("Half"), fake.error(allm.AdapterError("no", reason="stream_truncated")))
    server = Server()
    with pytest.raises(allm.AdapterError):
        await allm.web.text(allm.stream(engine, "Hi"))(SCOPE, server.receive, server.send)

    assert server.body == b"Half"
    assert server.sent[-1]["more_body"]


async def test_a_response_is_written_once():
    """A block runs once, so its response is that of one request."""
    response = allm.web.sse(allm.stream(new_engine(), "Hi"))
    server = Server()
    await response(SCOPE, server.receive, server.send)
    with pytest.raises(allm.StreamError, match="another one with a new block"):
        await response(SCOPE, server.receive, server.send)


@pytest.mark.parametrize("make", FORMATS)
def test_on_asyncio_it_is_the_same(make):
    """With a block of `allm.aio`, byte for byte; and a client that goes away ends the call."""

    async def main():
        run = allm.web.read_ag_ui({"threadId": "t", "runId": "r", "messages": []})
        options = {"run": run} if make is allm.web.ag_ui else {}
        server = Server(library=asyncio)
        await make(allm.aio.stream(new_engine(), "Hi"), **options)(SCOPE, server.receive, server.send)
        leaving = Server(until=b"Goodbye.", library=asyncio)
        engine = new_engine(fake.text("Goodbye."), fake.delay(3600), fake.text("Never."))
        async with asyncio.timeout(30):
            await make(allm.aio.stream(engine, "Hi"))(SCOPE, leaving.receive, leaving.send)
        assert leaving.sent[-1]["more_body"]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return server.body

    async def on_trio():
        run = allm.web.read_ag_ui({"threadId": "t", "runId": "r", "messages": []})
        options = {"run": run} if make is allm.web.ag_ui else {}
        server = Server()
        await make(allm.stream(new_engine(), "Hi"), **options)(SCOPE, server.receive, server.send)
        return server.body

    assert asyncio.run(main()) == trio.run(on_trio)


def test_on_asyncio_a_cancelled_request_ends_its_call():
    """A server that shuts down cancels the task of the request."""

    async def main():
        engine = new_engine(fake.text("Goodbye."), fake.delay(3600))
        server = Server(library=asyncio, blocks_at=b"Goodbye.")
        response = allm.web.sse(allm.aio.stream(engine, "Hi"))
        task = asyncio.ensure_future(response(SCOPE, server.receive, server.send))
        await server.blocked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())


def test_on_asyncio_silence_has_comments():
    """As on Trio."""

    async def main():
        server, commented = Server(library=asyncio), asyncio.Event()

        async def send(message):
            await server.send(message)
            if b": keep-alive\n\n" in message.get("body", b""):
                commented.set()

        async def events():
            yield allm.TextDelta("t", "a")
            await commented.wait()
            yield allm.TextDelta("t", "b")

        async with asyncio.timeout(30):
            await allm.web.sse(events(), keep_alive=0.001)(SCOPE, server.receive, send)
        return server.body

    body = asyncio.run(main())
    assert body.index(b'"a"') < body.index(b": keep-alive\n\n") < body.index(b'"b"')


def test_a_plain_server_iterates():
    """WSGI: the bytes of a stream of `allm.blocking`, and of a list of events."""
    pieces = list(allm.web.text(allm.blocking.stream(new_engine(), "Hi")))
    assert b"".join(pieces) == b"Hello web."
    assert b"".join(allm.web.sse([allm.TextDelta("t", "x")])) == (
        b'data: {"type":"TextDelta","id":"t","delta":"x"}\n\ndata: {"type":"End"}\n\n'
    )


async def test_any_other_server_reads_the_block():
    """`async with response as pieces` gives the bytes."""
    async with allm.web.text(allm.stream(new_engine(), "Hi")) as pieces:
        assert b"".join([data async for data in pieces]) == b"Hello web."


async def test_more_headers_and_wrong_options():
    """Headers of the caller win; a silence of no seconds is refused."""
    response = allm.web.sse([], headers={"Cache-Control": "no-store", "x-mine": "1"})
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-mine"] == "1"
    with pytest.raises(ValueError, match="expected seconds above 0"):
        allm.web.sse([], keep_alive=0)


def test_starlette_takes_it_for_its_own():
    """FastAPI tests for Starlette's class, adds headers to a response and runs its background tasks."""
    import starlette.responses

    response = allm.web.sse([])
    assert isinstance(response, starlette.responses.Response)
    assert isinstance(response, EventResponse)
    response.headers.append("x-more", "1")
    assert (b"x-more", b"1") in response.raw_headers


@pytest.mark.parametrize("make", [allm.web.sse, allm.web.ui_stream, allm.web.ag_ui])
async def test_a_client_that_comes_back_goes_on_anywhere(make):
    """What it has up to any frame, and what it then gets, is the whole response, byte for byte."""
    async with allm.stream(new_engine(fake.reasoning("hm"), fake.text("Hello "), fake.text("web.")), "Hi") as stream:
        events = [event async for event in stream]
    run = allm.web.read_ag_ui({"threadId": "t", "runId": "r", "messages": []})
    options = {"run": run} if make is allm.web.ag_ui else {}

    async def body(seen):
        server = Server()
        scope = {**SCOPE, "headers": [(b"last-event-id", seen)] if seen else []}
        await make(list(enumerate(events, 1)), **options)(scope, server.receive, server.send)
        return server.body

    whole = await body(b"")
    frames = whole.split(b"\n\n")[:-1]
    numbered = [frame for frame in frames if frame.startswith(b"id: ")]
    assert len(numbered) > 5
    for count, frame in enumerate(numbered, 1):
        seen = frame.split(b"\n")[0].removeprefix(b"id: ")
        assert await body(seen) == b"".join(frame + b"\n\n" for frame in frames[count:])
    assert await body(b"nonsense") == whole


async def test_a_turn_of_a_host_is_read_again_from_any_place(autojump_clock):
    """The ids name the turn and count in it: a client that comes back during the next turn gets all of that."""
    script = [fake.text("Hello "), fake.delay(1), fake.text("web.")]
    engine = allm.Engine(adapter=Fake(scripts=[script, script]))

    async def body(seen=b""):
        server = Server()
        scope = {**SCOPE, "headers": [(b"Last-Event-ID", seen)]}
        await allm.web.ui_stream(host.attach("s"))(scope, server.receive, server.send)
        return server.body

    async with allm.session.open_store("memory://") as store, allm.session.host(store) as host:
        turn = await host.reply("s", engine, "Hi")
        whole = await body()
        frames = whole.split(b"\n\n")
        ids = [frame.split(b"\n")[0].removeprefix(b"id: ") for frame in frames if frame.startswith(b"id: ")]
        assert all(found.startswith(f"{turn}:".encode()) for found in ids)
        assert len(ids) > 5
        for count, found in enumerate(ids, 1):
            assert await body(found) == b"\n\n".join(frames[count:])
        await host.reply("s", engine, "Again")
        assert (await body(ids[-1])).count(b"text-delta") == 2
    assert allm.web.last_event_id({"Last-Event-ID": "abc:7"}) == 7
    assert allm.web.last_event_id([(b"last-event-id", b"7.2")]) == 6
    assert allm.web.last_event_id({}) == 0


async def test_what_is_no_stream_is_refused():
    """At once if it can be seen, else before anything is written; a block that was entered is left."""
    for odd in (42, "text", b"bytes", {}, None):
        with pytest.raises(TypeError, match="expected a block"):
            allm.web.sse(odd)
    server = Server()
    with pytest.raises(TypeError, match="would stop the whole event loop"):
        await allm.web.sse(allm.blocking.stream(new_engine(), "Hi"))(SCOPE, server.receive, server.send)

    left = []

    class Block:
        async def __aenter__(self):
            return 42

        async def __aexit__(self, *error):
            left.append(error[0])

    with pytest.raises(TypeError):
        await allm.web.sse(Block())(SCOPE, server.receive, server.send)
    assert left == [TypeError]
    assert server.sent == []


async def test_a_picture_that_nobody_can_read_breaks_no_stream():
    """Its place is empty."""
    gone = allm.Image(("file", "/nowhere.png"), "image/png")
    events = [allm.ImageCompleted("i", allm.ImagePart(gone)), allm.TextDelta("t", "on it goes")]
    call = allm.ToolCall("c", "look", {})
    shown = allm.Message("tool", [allm.ImagePart(gone)], tool_call_id="c")
    events += [allm.ToolCallCompleted("c", "look", {}), allm.ToolResultEncoded(call, shown)]
    for make in (allm.web.sse, allm.web.ui_stream, allm.web.ag_ui):
        body = b"".join(make(events))
        assert b"on it goes" in body
        assert b"internal_error" not in body
