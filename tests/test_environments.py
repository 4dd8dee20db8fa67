"""The endpoints of the page on environments answer, and end their calls when the reader goes away."""

from __future__ import annotations

import pytest
import trio

import allm
from allm import fake
from allm.providers import Fake
from test_docs import ROOT, examples

PAGE = ROOT / "docs" / "environments.md"


@pytest.fixture
def names():
    """The names of the page's FastAPI program on Trio."""
    program = [example.code for example in examples(PAGE)][3:5]
    found = {"__name__": "page"}
    exec("\n".join(program), found)  # noqa: S102  # our own page
    return found


def scope(path):
    """A GET request as an ASGI server passes it on."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"question=Hi",
        "headers": [],
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "root_path": "",
    }


async def request(app, path, disconnect):
    """Make a request whose reader goes away at the event `disconnect`; returns what the application sent."""
    sent = []
    first = True

    async def receive():
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": b"", "more_body": False}
        await disconnect.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        await trio.lowlevel.checkpoint()
        sent.append(message)
        if message.get("body") == b"Goodbye.":
            disconnect.set()

    await app(scope(path), receive, send)
    return sent


async def test_an_endpoint_answers(names):
    """An async endpoint awaits the library as any other function."""
    sent = await request(names["app"], "/ask", trio.Event())

    assert sent[0]["status"] == 200
    assert sent[1]["body"] == b'{"answer":"Hello web."}'


async def test_a_stream_arrives_in_pieces(names):
    """The pieces of text are pieces of the body, which has no length."""
    names["new_engine"] = lambda: allm.Engine(
        adapter=Fake(script=[fake.text("Hello "), fake.delay(0.001), fake.text("web.")])
    )
    sent = await request(names["app"], "/stream", trio.Event())

    assert [message.get("body") for message in sent] == [None, b"Hello ", b"web.", b""]
    assert not any(name == b"content-length" for name, _ in sent[0]["headers"])


async def test_the_call_ends_with_its_reader(names, autojump_clock):
    """A closed browser cancels the call, which would go on for an hour."""
    script = [fake.text("Goodbye."), fake.delay(3600), fake.text("Never.")]
    names["new_engine"] = lambda: allm.Engine(adapter=Fake(script=script))
    started = trio.current_time()
    sent = await request(names["app"], "/stream", trio.Event())

    assert [message.get("body") for message in sent] == [None, b"Goodbye."]
    assert trio.current_time() - started < 1
