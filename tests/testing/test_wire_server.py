"""The server: recorded requests, the choice of replies, and clean-up."""

from __future__ import annotations

import pytest
import trio

from allm import fake
from allm.testing import Reply, Stall, WireServer

OK = Reply.json({"ok": True})


async def test_records_the_request(server, http_client):
    """Method, path with query, lower-case headers and body are recorded."""
    server.add(OK)
    async with http_client() as client:
        await client.post(
            server.url("gemini") + "/v1beta/models/m:streamGenerateContent?alt=sse",
            json={"a": "ü"},
            headers=[("X-Twice", "1"), ("X-Twice", "2"), ("Authorization", "Bearer k")],
        )

    (request,) = server.requests
    assert request.method == "POST"
    assert request.path == "/v1beta/models/m:streamGenerateContent?alt=sse"
    assert request.headers["authorization"] == "Bearer k"
    assert request.headers["x-twice"] == "1, 2"
    assert request.json() == {"a": "ü"}


async def test_a_recorded_request_does_not_change(server, http_client):
    """Only its outcome and bytes_sent change."""
    async with http_client() as client:
        await client.get(server.base_url)

    with pytest.raises(AttributeError):
        server.requests[0].path = "/other"


def test_urls_are_what_the_sdks_take():
    """OpenAI's base URL has /v1, the others have no path; before the start it raises."""
    server = WireServer()
    with pytest.raises(RuntimeError, match="async with"):
        server.base_url  # noqa: B018
    server._port = 80
    assert server.url("openai") == server.url("openai_responses") == "http://127.0.0.1:80/v1"
    assert server.url("anthropic") == server.url("gemini") == server.base_url == "http://127.0.0.1:80"


async def test_replies_in_order_then_the_default(server, http_client):
    """Queued replies are used once, in order, then the default."""
    server.add(Reply(body=b"1"), Reply(body=b"2"))
    server.default = Reply(body=b"default")
    async with http_client() as client:
        bodies = [(await client.get(server.base_url)).text for _ in range(4)]

    assert bodies == ["1", "2", "default", "default"]


async def test_a_path_filters(server, http_client):
    """A reply with a path waits for its request without blocking others."""
    server.add(Reply(body=b"embedding"), path="/embeddings")
    server.add(Reply(body=b"chat"))
    async with http_client(base_url=server.base_url) as client:
        bodies = [(await client.post(path)).text for path in ("/v1/chat/completions", "/v1/embeddings")]

    assert bodies == ["chat", "embedding"]


async def test_no_reply_is_a_clear_error(server, http_client):
    """The response says that no reply is queued."""
    async with http_client() as client:
        response = await client.post(server.base_url + "/v1/x")

    assert response.status_code == 500
    assert "no reply queued for POST /v1/x" in response.json()["error"]["message"]


async def test_a_function_makes_the_reply(server, http_client):
    """A reply may depend on its request."""
    server.default = lambda request: Reply(body=request.body.upper())
    async with http_client() as client:
        assert (await client.post(server.base_url, content=b"echo")).text == "ECHO"


async def test_a_failing_function_fails_the_test(http_client):
    """Its exception is raised from the server's block as itself."""

    def reply(request):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        async with WireServer(default=reply) as server, http_client() as client:
            await client.get(server.base_url)


async def test_one_connection_serves_many_requests(server, http_client):
    """Connections are kept alive and numbered."""
    server.default = OK
    async with http_client() as client:
        for _ in range(3):
            await client.get(server.base_url)
        assert server.connections == 1
    await server.wait_idle()
    async with http_client() as client:
        await client.get(server.base_url)

    assert [request.connection for request in server.requests] == [0, 0, 0, 1]
    assert server.statistics().connections_total == 2


async def test_a_request_sent_during_a_reply_is_answered(server, connect, clock):
    """It is handled after the reply."""
    server.add(Reply(body=b"first", pauses={3: 1.0}), Reply(body=b"second"))
    client = await connect("/one")
    await client.read_until(b"fir")
    await client.post("/two")
    await client.read_until(b"second")

    await server.wait_outcomes()
    assert [(request.path, request.outcome) for request in server.requests] == [
        ("/one", "completed"),
        ("/two", "completed"),
    ]


async def test_statistics(server, connect):
    """The counters follow a reply from the queue to its end."""
    server.add(Reply(body=b"12345", fault=Stall(3)), OK)
    client = await connect()
    await client.read_until(b"123")
    during = server.statistics()
    await client.stream.aclose()
    await server.wait_idle()
    after = server.statistics()

    assert (during.connections, during.requests, during.requests_in_progress, during.replies_queued) == (1, 1, 1, 1)
    assert (after.connections, after.connections_total, after.requests_in_progress, after.bytes_sent) == (0, 1, 0, 3)


async def test_waiting(server, connect, clock):
    """Each wait ends when its condition is met, not before."""
    server.default = Reply(first_delay=5.0)
    with trio.move_on_after(100) as early:
        await server.wait_requests(1)
    assert early.cancelled_caught
    await server.wait_outcomes()
    await server.wait_idle()

    await connect("/one")
    assert (await server.wait_requests(1)).path == "/one"
    start = trio.current_time()
    await server.wait_outcomes()
    assert trio.current_time() - start == pytest.approx(5.0)
    with trio.move_on_after(100) as open_connection:
        await server.wait_idle()
    assert open_connection.cancelled_caught


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x00hello\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n"], ids=["tls", "without host"]
)
async def test_a_request_that_is_not_http(server, garbage, http_client):
    """The client gets an error, and the server goes on."""
    stream = await trio.open_tcp_stream("127.0.0.1", server._port)
    await stream.send_all(garbage)
    answer = b"".join([data async for data in stream])
    await stream.aclose()

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"not an HTTP/1.1 request: " in answer
    assert server.requests == []
    server.add(OK)
    async with http_client() as client:
        assert (await client.get(server.base_url)).is_success


async def test_a_client_that_leaves_in_its_request(server, connect):
    """An incomplete request is not recorded, after FIN or RST."""
    for leave in (trio.aclose_forcefully, reset):
        stream = await trio.open_tcp_stream("127.0.0.1", server._port)
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\n123")
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert server.connections == 1
        await leave(stream)
        await server.wait_idle()

    assert server.requests == []


async def reset(stream):
    """Close with RST."""
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    await stream.aclose()


async def test_an_exception_in_the_body_comes_out_as_itself(http_client):
    """Without an exception group."""
    mine = ValueError("mine")
    with pytest.raises(ValueError, match="mine") as caught:
        async with WireServer(default=OK) as server, http_client() as client:
            await client.get(server.base_url)
            raise mine

    assert caught.value is mine


async def test_a_group_in_the_body_comes_out_whole():
    """A group that the body raised is unchanged."""
    with pytest.raises(ExceptionGroup) as caught:
        async with WireServer():
            raise ExceptionGroup("mine", [ValueError(), KeyError()])

    assert caught.value.message == "mine"
    assert len(caught.value.exceptions) == 2


@pytest.mark.parametrize("way", ["end", "exception", "cancellation"])
async def test_leaving_closes_everything(way):
    """After the block no connection is open, and the port is closed."""
    with trio.CancelScope() as scope:
        try:
            async with WireServer(default=Reply(fault=Stall())) as server:
                stream = await trio.open_tcp_stream("127.0.0.1", server._port)
                await stream.send_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
                await stream.receive_some(1)
                if way == "exception":
                    raise ValueError  # noqa: TRY301
                if way == "cancellation":
                    scope.cancel()
                    await trio.sleep_forever()
        except ValueError:
            pass
    assert scope.cancelled_caught is (way == "cancellation")
    assert server.connections == 0
    assert server.requests[0].outcome is None
    with trio.fail_after(5):  # the end of file is there
        assert b"".join([data async for data in stream]).startswith(b"TTP/1.1 200 ")
    await stream.aclose()
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", server._port)


@pytest.mark.parametrize("wrong", ["hello", [fake.text("hi")], None])
async def test_what_is_no_reply(wrong):
    """It is refused where it is added, not when a request comes."""
    async with WireServer() as server:
        with pytest.raises(TypeError, match=rf"got {type(wrong).__name__}: Reply.script"):
            server.add(wrong)


def test_a_vendor_without_a_wire_format():
    """The error lists those that have one."""
    for call in (WireServer().url, lambda name: Reply.script(name, []), lambda name: Reply.error(name, 401)):
        with pytest.raises(ValueError, match=r"no wire format of 'opnai'; expected one of: openai, "):
            call("opnai")
