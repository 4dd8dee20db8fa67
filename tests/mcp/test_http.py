"""The transport over HTTP: tokens, sessions, redirects, broken streams, and servers that answer anything."""

from __future__ import annotations

import json
import re

import pytest
import trio

import allm
from allm.mcp.stdio import MAX_MESSAGE_BYTES
from allm.testing import no_leaks
from mcp_plain_http import answer, events, plain, plain_http, usual
from mcp_servers import connected

TOKEN = "token-that-nobody-may-see-0123456789"


def result(asked, text="hi"):
    content = {"content": [{"type": "text", "text": text}]}
    return {"jsonrpc": "2.0", "id": asked.message["id"], "result": content}


async def called(reply, **options):
    """The result of one call, and the server."""
    async with (
        plain_http(reply) as server,
        no_leaks(),
        connected(allm.mcp.HttpServer(server.url, name="plain", **options)) as tools,
    ):
        return await tools["echo"].run({}), server


def on_call(make):
    return lambda asked: make(asked) if asked.called == "tools/call" else usual(asked)


async def failed(make, **options):
    """The message of the error of a call; the connection goes on."""
    count = 0

    def reply(asked):
        nonlocal count
        count += asked.called == "tools/call"
        return make(asked) if asked.called == "tools/call" and count == 1 else usual(asked)

    async with (
        plain_http(reply) as server,
        no_leaks(),
        connected(allm.mcp.HttpServer(server.url, name="plain", **options)) as tools,
    ):
        with pytest.raises(allm.ToolError) as caught:
            await tools["echo"].run({})
        assert await tools["echo"].run({}) == "hi"
    return caught.value.message


@pytest.mark.parametrize("session", [None, "abc"])
async def test_a_session_is_kept_and_ended(session):
    """Where the server has one."""
    text, server = await called(lambda asked: usual(asked, session))

    assert text == "hi"
    [call] = server.seen("tools/call")
    assert call.headers.get("mcp-session-id") == session
    assert call.headers["mcp-protocol-version"] == "2025-11-25"
    assert len(server.seen("DELETE")) == (session is not None)
    assert len(server.seen("GET")) == (session is not None)


async def test_a_token_and_headers_are_sent():
    """With every request, and shown nowhere."""
    options = {"auth": TOKEN, "headers": {"X-Team": "blue", "X-Key": TOKEN}}
    _, server = await called(usual, **options)

    assert {asked.headers["authorization"] for asked in server.asked} == {f"Bearer {TOKEN}"}
    assert {asked.headers["x-team"] for asked in server.asked} == {"blue"}
    assert TOKEN not in repr(allm.mcp.HttpServer(server.url, **options))


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_function_gives_another_token_after_401(is_async):
    """Once for all requests."""
    tokens = iter(["old", "new", "unused"])

    async def token():
        await trio.lowlevel.checkpoint()
        return next(tokens)

    def reply(asked):
        return usual(asked) if asked.headers["authorization"] == "Bearer new" else plain(401)

    text, server = await called(reply, auth=token if is_async else lambda: next(tokens))

    assert text == "hi"
    assert [asked.headers["authorization"] for asked in server.asked].count("Bearer old") == 1


async def test_a_refused_token_is_told():
    """With the status and what to look at, and without the token, which some servers repeat."""
    async with plain_http(lambda asked: plain(401, asked.headers["authorization"].encode())) as server:
        with trio.fail_after(30), pytest.raises(allm.EngineError) as caught:
            await allm.mcp.connect(allm.mcp.HttpServer(server.url, auth=TOKEN)).__aenter__()

    assert "HTTP 401: Bearer ***" in caught.value.message
    assert "check auth= and headers=" in caught.value.message
    assert TOKEN not in repr(caught.value)


@pytest.mark.parametrize("status", [200, 403])
async def test_an_error_of_the_protocol_has_no_token_in_it(status):
    """A server may repeat it there too, and the model and the log get the message."""

    def refused(asked):
        error = {"code": -32000, "message": f"no entry with {asked.headers['authorization']}"}
        body = {"jsonrpc": "2.0", "id": asked.message["id"], "error": error}
        return plain(status, json.dumps(body).encode(), content_type="application/json")

    message = await failed(refused, auth=TOKEN)
    assert message.endswith("no entry with Bearer ***")


@pytest.mark.parametrize("auth", ["Bearer abc", "two\nlines", 7])
def test_a_token_that_cannot_be_sent_is_refused_at_once(auth):
    """Without showing it."""
    with pytest.raises((allm.EngineError, allm.ValidationError)):
        allm.mcp.HttpServer("http://localhost/mcp", auth=auth)


async def test_a_forgotten_session_is_begun_again():
    """404 says that the call was not taken, so it is made again."""
    sessions = iter(["one", "two"])

    def reply(asked):
        if asked.called == "initialize":
            return usual(asked, next(sessions))
        if asked.called == "tools/call" and asked.headers["mcp-session-id"] == "one":
            return plain(404, b"who are you?")
        return usual(asked)

    text, server = await called(reply)

    assert text == "hi"
    assert [asked.headers["mcp-session-id"] for asked in server.seen("tools/call")] == ["one", "two"]


async def test_a_redirect_within_the_server_is_followed():
    """As where only a slash is missing."""

    def reply(asked):
        return usual(asked) if asked.path == "/mcp/" else plain(307, location="/mcp/")

    text, server = await called(reply, auth=TOKEN)

    assert text == "hi"
    assert [asked.path for asked in server.asked].count("/mcp") == 1


async def test_a_redirect_elsewhere_is_not_followed():
    """It would take the token along."""
    message = await failed(lambda _asked: plain(307, location="http://127.0.0.1:1/other?secret=1"))

    assert "it redirects to http://127.0.0.1:1/other, which is not followed" in message


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda _asked: plain(500, b"<h1>Oops</h1>"), "HTTP 500: <h1>Oops</h1>"),
        (lambda _asked: plain(502), "HTTP 502"),
        (lambda _asked: plain(200, b"hello", content_type="text/html"), "with text/html; expected JSON or events"),
        (lambda _asked: plain(202), "with no content type"),
        (lambda _asked: plain(200, b"{", content_type="application/json"), "not a message of the protocol"),
        (lambda _asked: plain(200, b"[]", content_type="application/json"), "not a message of the protocol"),
        (lambda _asked: events("data: {no json}\n\n"), "not a message of the protocol"),
        (lambda _asked: events("event: other\ndata: {}\n\n: comment\n\n"), "the connection was lost"),
        (lambda _asked: [b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{"], "plain"),
        (lambda _asked: [b"rubbish\r\n\r\n"], "cannot be reached"),
        (lambda _asked: [], "cannot be reached"),
        (
            lambda _asked: plain(200, b'"' + b"x" * MAX_MESSAGE_BYTES, content_type="application/json"),
            "more than 33,554,432 bytes in one message",
        ),
        (
            lambda _asked: events("data: " + "x" * (MAX_MESSAGE_BYTES + 1) + "\n\n"),
            "it sent 33,554,4.. bytes in one message",
        ),
    ],
)
async def test_an_answer_that_is_none_fails_its_own_call(make, expected):
    """In words that say what it was."""
    with trio.fail_after(30):
        assert re.search(expected, await failed(make))


async def test_an_error_of_the_protocol_at_any_status():
    """Is the server's own."""

    def refuse(asked):
        body = b'{"jsonrpc": "2.0", "id": null, "error": {"code": -32602, "message": "no such tool"}}'
        return plain(400, body, content_type="application/json")

    async with plain_http(on_call(refuse)) as server, connected(server.url) as tools:
        with pytest.raises(allm.ToolError, match="no such tool") as caught:
            await tools["echo"].run({})
    assert caught.value.reason == "invalid_arguments"


async def test_progress_in_a_stream_of_events():
    """Before the answer, however the lines end."""
    seen: list[object] = []

    def stream(asked):
        token = asked.message["params"]["_meta"]["progressToken"]
        params = {"progressToken": token, "progress": 1}
        report = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        first, *rest = events(report, result(asked))
        return [first, *(part.replace(b"\n", b"\r\n") for part in rest)]

    async def emit(payload):
        seen.append(payload)
        await trio.lowlevel.checkpoint()

    async with plain_http(on_call(stream)) as server, connected(server.url) as tools:
        context = allm.ToolContext(tool_call=allm.ToolCall("c", "echo"), report=emit)
        assert await tools["echo"].run({}, context=context) == "hi"
    assert seen == [{"progress": 1}]


async def test_a_broken_stream_is_taken_up_again():
    """From the last event that had an id, when the server wishes."""
    calls: list[object] = []

    def reply(asked):
        if asked.called == "tools/call":
            calls.append(asked)
            return events("id: 7\nretry: 10\ndata:\n\n")
        if asked.headers.get("last-event-id") == "7":
            return events("id: 8\ndata: \n\n")
        if asked.headers.get("last-event-id") == "8":
            return events(result(calls[-1], "late"))
        return usual(asked, "abc")

    text, server = await called(reply)

    assert text == "late"
    assert len(server.seen("tools/call")) == 1


async def test_half_an_event_is_forgotten_when_a_stream_breaks():
    """The server sends it again."""
    calls: list[object] = []

    def reply(asked):
        if asked.called == "tools/call":
            calls.append(asked)
            return events("id: 7\nretry: 10\ndata:\n\n", "data: {")
        if "last-event-id" in asked.headers:
            return events(result(calls[-1], "whole"))
        return usual(asked, "abc")

    text, _ = await called(reply)
    assert text == "whole"


async def test_a_function_for_tokens_that_fails():
    """Its own words are in the error."""

    def token():
        raise ValueError("the vault is locked")

    async with plain_http(usual) as server:
        with trio.fail_after(30), pytest.raises(allm.EngineError, match=r"has no token: .*the vault is locked"):
            await allm.mcp.connect(allm.mcp.HttpServer(server.url, auth=token)).__aenter__()


async def test_a_stream_that_cannot_be_taken_up_fails_the_call():
    """After a few attempts."""

    def reply(asked):
        if asked.called == "tools/call":
            return events("id: 7\nretry: 1\ndata:\n\n")
        return usual(asked, "abc")

    async with plain_http(reply) as server, connected(server.url) as tools:
        with pytest.raises(allm.ToolError, match="the connection was lost before the answer came"):
            await tools["echo"].run({})
    assert len([one for one in server.seen("GET") if "last-event-id" in one.headers]) == 2


async def test_an_answer_with_another_id_is_that_of_its_request():
    """In the stream of a request there is no other."""
    text, _ = await called(on_call(lambda asked: events({**result(asked), "id": 999})))
    assert text == "hi"


async def test_a_server_of_your_own_client():
    """Such as one that signs in."""
    http = pytest.importorskip("httpx2")
    async with http.AsyncClient(headers={"x-own": "yes"}) as client:
        text, server = await called(usual, http_client=client)
    assert text == "hi"
    assert {asked.headers["x-own"] for asked in server.asked} == {"yes"}


async def test_a_list_in_a_wrong_form():
    """Is told at the start."""

    def reply(asked):
        return answer(asked, {"tools": "none"}) if asked.called == "tools/list" else usual(asked)

    async with plain_http(reply) as server, no_leaks():
        with trio.fail_after(30), pytest.raises(allm.EngineError, match="could not be connected"):
            await allm.mcp.connect(server.url).__aenter__()
