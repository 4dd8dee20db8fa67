"""Faults and timing over a real socket, for the client and for the server."""

from __future__ import annotations

import httpx
import pytest
import trio

from allm.testing import (
    BEFORE_HEAD,
    Cut,
    Garbage,
    GarbageHead,
    HalfClose,
    KeepAlive,
    Reply,
    Reset,
    Stall,
    TruncatedChunk,
    WireServer,
    WrongLength,
)

BODY = b"data: one\n\ndata: two\n\ndata: three\n\n"


async def leave(server, client):
    """Close the connection; returns the request once the server has noticed."""
    await client.stream.aclose()
    with trio.fail_after(5):
        await server.wait_idle()
    return server.requests[-1]


@pytest.mark.parametrize("framing", ["chunked", "content-length", "close"])
@pytest.mark.parametrize("chunks", [None, 1, (11, 5)])
async def test_every_framing_delivers_the_body(server, framing, chunks, http_client):
    """The body arrives whole, and only `close` ends the connection."""
    server.default = Reply(body=BODY, framing=framing, chunks=chunks)
    async with http_client() as client:
        for _ in range(2):
            assert (await client.post(server.base_url)).content == BODY

    await server.wait_outcomes()
    assert {request.outcome for request in server.requests} == {"completed"}
    assert {request.bytes_sent for request in server.requests} == {len(BODY)}
    assert server.statistics().connections_total == (2 if framing == "close" else 1)


@pytest.mark.parametrize(
    ("chunks", "sizes"),
    [(None, [35]), (1, [1] * 35), (10, [10, 10, 10, 5]), ((11, 5), [11, 5, 19]), ((35, 9), [35]), ((99,), [35])],
)
async def test_http_chunks(server, chunks, sizes, http_client):
    """The client gets the HTTP chunks in `chunks`."""
    server.add(Reply(body=BODY, chunks=chunks))
    async with http_client() as client, client.stream("POST", server.base_url) as response:
        assert [len(chunk) async for chunk in response.aiter_raw()] == sizes


async def test_flush_is_one_read_per_chunk(server, connect):
    """With `flush` the client reads chunk by chunk, without it several at once."""
    reads = {}
    for flush in (True, False):
        server.add(Reply(body=BODY, chunks=1, flush=flush, framing="close"))
        client = await connect()
        reads[flush] = 0
        while await client.read():
            reads[flush] += 1
        assert client.body == BODY

    assert reads[True] > len(BODY) * 0.8
    assert reads[False] <= 3


async def test_an_http_1_0_client(server):
    """It gets the body without chunks, until the connection closes."""
    server.add(Reply(body=BODY, chunks=1))
    stream = await trio.open_tcp_stream("127.0.0.1", server._port)
    await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
    answer = b"".join([data async for data in stream])
    await stream.aclose()

    assert answer.partition(b"\r\n\r\n")[2] == BODY


async def test_a_large_body(server, http_client):
    """It arrives whole, in writes of bounded size."""
    server.add(Reply(body=b"x" * 10_000_000, chunks=4096))
    async with http_client() as client:
        assert len((await client.post(server.base_url)).content) == 10_000_000


async def test_delays(server, connect, clock):
    """Pauses before the head, between chunks and at an offset have their length."""
    server.add(Reply(body=b"abcdef", chunks=2, first_delay=10.0, delay=1.0, pauses={0: 5.0, 3: 100.0, 6: 7.0}))
    client = await connect()
    start, times = trio.current_time(), {}
    for ending in (b"\r\n\r\n", b"ab\r\n", b"1\r\nc\r\n", b"1\r\nd\r\n", b"ef\r\n", b"0\r\n\r\n"):
        await client.read_until(ending)
        times[ending] = round(trio.current_time() - start)

    assert list(times.values()) == [10, 15, 16, 116, 117, 124]


async def test_stall(server, connect, clock):
    """After `after` bytes nothing is sent, and the server notices when the client leaves."""
    server.add(Reply(body=BODY, fault=Stall(11)))
    client = await connect()
    await client.read_until(b"one\n\n\r\n")
    with trio.move_on_after(3600) as silence:
        await client.read()
    assert silence.cancelled_caught
    assert client.body == BODY[:11]
    now = trio.current_time()
    request = await leave(server, client)

    assert (request.outcome, request.bytes_sent) == ("client_closed", 11)
    assert trio.current_time() - now < 1


async def test_stall_before_the_head(server, connect, clock):
    """Not even the status line is sent."""
    server.add(Reply(body=BODY, fault=Stall(BEFORE_HEAD)))
    client = await connect()
    with trio.move_on_after(3600):
        await client.read()

    assert client.received == b""
    assert (await leave(server, client)).bytes_sent == 0


async def test_keep_alive(server, connect, clock):
    """Whole events, then comments at the interval until the client leaves."""
    first_two = Reply(body=BODY).event_ends[1]
    server.add(Reply(body=BODY, fault=KeepAlive(first_two, interval=30.0, comment=b": zzz\n\n")))
    client = await connect()
    with trio.move_on_after(99):
        await client.read_all()

    assert client.body == b"data: one\n\ndata: two\n\n" + b": zzz\n\n" * 4
    request = await leave(server, client)
    assert (request.outcome, request.bytes_sent) == ("client_closed", first_two + 4 * 7)


@pytest.mark.parametrize("framing", ["chunked", "content-length"])
async def test_cut(server, connect, framing, http_client):
    """After `after` bytes the connection ends inside the message."""
    server.default = Reply(body=BODY, framing=framing, fault=Cut(16))
    client = await connect()
    received = await client.read_all()

    assert client.body == BODY[:16]
    assert not received.endswith(b"0\r\n\r\n")
    assert (server.requests[0].outcome, server.requests[0].bytes_sent) == ("faulted", 16)
    async with http_client() as client:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            await client.post(server.base_url)


@pytest.mark.parametrize("framing", ["chunked", "content-length"])
async def test_clean_cut(server, framing, http_client):
    """The HTTP message and the connection are intact, but the body is short."""
    server.default = Reply(body=BODY, framing=framing, fault=Cut(16, clean=True))
    async with http_client() as client:
        for _ in range(2):
            assert (await client.post(server.base_url)).content == BODY[:16]

    await server.wait_outcomes()
    assert [request.outcome for request in server.requests] == ["faulted", "faulted"]
    assert server.statistics().connections_total == 1


@pytest.mark.parametrize("clean", [False, True])
async def test_cut_before_the_head(server, clean, http_client):
    """The connection ends without a byte."""
    server.add(Reply(body=BODY, fault=Cut(BEFORE_HEAD, clean=clean)))
    async with http_client() as client:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending a response"):
            await client.post(server.base_url)

    assert server.requests[0].outcome == "faulted"


async def test_cut_after_the_body(server, connect):
    """All bytes of the body are sent, but not the end of the message."""
    server.add(Reply(body=BODY, fault=Cut(10_000)))
    client = await connect()
    await client.read_all()

    assert client.body == BODY
    assert not client.received.endswith(b"0\r\n\r\n")


async def test_reset(server, connect):
    """The connection is reset instead of closed."""
    server.add(Reply(body=BODY, fault=Reset(16)))
    client = await connect()
    with pytest.raises(trio.BrokenResourceError):
        await client.read_all()

    assert client.body == BODY[:16]
    await server.wait_idle()
    assert (server.requests[0].outcome, server.requests[0].bytes_sent) == ("faulted", 16)


async def test_reset_before_the_head(server, http_client):
    """The reset is the first thing that the client sees."""
    server.add(Reply(fault=Reset(BEFORE_HEAD)))
    async with http_client() as client:
        with pytest.raises(httpx.ReadError):
            await client.post(server.base_url)


@pytest.mark.parametrize("after", [BEFORE_HEAD, 16])
async def test_half_close(server, connect, after):
    """The client sees the end, and the server still reads until the client leaves."""
    server.add(Reply(body=BODY, fault=HalfClose(after)))
    client = await connect()
    await client.read_all()

    assert client.body == BODY[: max(after, 0)]
    assert server.connections == 1
    assert server.requests[0].outcome is None
    assert (await leave(server, client)).outcome == "client_closed"


@pytest.mark.parametrize("after", [0, 16])
async def test_truncated_chunk(server, connect, after, http_client):
    """The last chunk has announced more than it holds."""
    server.default = Reply(body=BODY, fault=TruncatedChunk(after))
    client = await connect()
    received = await client.read_all()

    assert received.endswith(b"10000\r\n{")
    assert (server.requests[0].outcome, server.requests[0].bytes_sent) == ("faulted", after)
    async with http_client() as client:
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            await client.post(server.base_url)


async def test_wrong_length(server, http_client):
    """Too much is announced, and the body is truncated; too little, and the client stops reading too early."""
    async with http_client() as client:
        server.add(Reply(body=BODY, framing="content-length", fault=WrongLength(+5)))
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete message body"):
            await client.post(server.base_url)
        server.add(Reply(body=BODY, framing="content-length", chunks=9, fault=WrongLength(-5)))
        assert (await client.post(server.base_url)).content == BODY[:-5]

    await server.wait_outcomes()
    assert [(request.outcome, request.bytes_sent) for request in server.requests] == [("faulted", len(BODY))] * 2


@pytest.mark.parametrize(
    ("fault", "framing", "mistake"),
    [
        (TruncatedChunk(), "close", "needs framing='chunked'"),
        (WrongLength(1), "chunked", "needs framing='content-length'"),
        (WrongLength(-99), "content-length", "35 -99"),
    ],
)
def test_faults_that_the_framing_cannot_have(fault, framing, mistake):
    """They are refused where they are written."""
    with pytest.raises(ValueError, match=mistake):
        Reply(body=BODY, framing=framing, fault=fault)


@pytest.mark.parametrize("after", [0, 2])
async def test_refused_connections(after, http_client):
    """After a number of connections every other one is refused, and those that are open stay."""
    async with WireServer(Reply(body=BODY), refuse_after=after) as server, http_client() as client:
        async with http_client() as second:
            for one in (client, second)[:after]:
                assert (await one.post(server.base_url)).content == BODY
            async with http_client() as third:
                with pytest.raises(httpx.ConnectError):
                    await third.post(server.base_url)
            for one in (client, second)[:after]:
                assert (await one.post(server.base_url)).content == BODY
        assert server.statistics().connections_total == after


async def test_connections_can_be_refused_at_any_time(server, http_client):
    """From the next statement on."""
    server.default = Reply(body=BODY)
    async with http_client() as client:
        await client.post(server.base_url)
        await server.refuse_connections()
        await client.post(server.base_url)
        async with http_client() as other:
            with pytest.raises(httpx.ConnectError):
                await other.post(server.base_url)


@pytest.mark.parametrize("framing", ["chunked", "content-length"])
@pytest.mark.parametrize("after", [0, 11, 35])
async def test_garbage(server, framing, after, http_client):
    """Unexpected bytes in a valid HTTP message."""
    server.add(Reply(body=BODY, framing=framing, chunks=3, fault=Garbage(after, b"\x00{]\xff")))
    async with http_client() as client:
        response = await client.post(server.base_url)

    assert response.content == BODY[:after] + b"\x00{]\xff" + BODY[after:]
    await server.wait_outcomes()
    assert server.requests[0].outcome == "faulted"


async def test_garbage_instead_of_a_head(server, http_client):
    """The response is not HTTP."""
    server.add(Reply(fault=GarbageHead()))
    async with http_client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post(server.base_url)

    assert server.requests[0].outcome == "faulted"


async def test_a_client_that_leaves_in_a_pause(server, connect, clock):
    """The rest of the reply is not sent."""
    server.add(Reply(body=BODY, chunks=(11, 11), delay=1000.0))
    client = await connect()
    await client.read_until(b"one")
    start = trio.current_time()
    request = await leave(server, client)

    assert (request.outcome, request.bytes_sent) == ("client_closed", 11)
    assert trio.current_time() - start < 1


async def test_a_client_that_leaves_under_fire(server, connect):
    """A client that resets the connection during a write has left too."""
    server.add(Reply(body=b"x" * 50_000_000, chunks=100_000))
    client = await connect()
    await client.read()
    await trio.testing.wait_all_tasks_blocked(0.01)  # the buffers are full and the server waits in a write
    request = await leave(server, client)

    assert request.outcome == "client_closed"
    assert 0 < request.bytes_sent < 50_000_000
