"""A request that is cancelled while its connection is being made leaves no socket and no entry in the pool.

The short form cancels one request before each of its task steps, so that a cancel also lands in the pass of the
scheduler in which the connection wakes the request up; and some hundred at random. ALLM_RANDOM_CANCELS says how many.
"""

from __future__ import annotations

import gc
import importlib.util
import os
import random
import socket
import ssl
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio

import allm
from allm.http import fetch, library as http_library, transport
from allm.http.fetch import open_at
from allm.http.transport import open_response
from allm.testing import loopback_clock

LIBRARY = http_library.library()
RANDOM_CANCELS = int(os.environ.get("ALLM_RANDOM_CANCELS", "300"))
PEM = Path(__file__).with_name("loopback.pem")
"""A key and a certificate of our own for `localhost`, valid until 2126."""
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


@pytest.fixture
def clock():
    return loopback_clock()


class Server:
    """Answers every request on its way: directly, over TLS, as a proxy that is also the server behind it."""

    def __init__(self, way):
        self.way = way
        self.open = 0
        self.changed = trio.lowlevel.ParkingLot()
        self.port = None

    async def serve(self, stream):
        self.open += 1
        try:
            await self.answer(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError, IndexError):
            pass  # the client went away
        finally:
            stream.socket.close()
            self.open -= 1
            self.changed.unpark_all()

    async def answer(self, stream):
        if self.way == "socks":
            await stream.receive_some()
            await stream.send_all(b"\x05\x00")
            await stream.receive_some()
            await stream.send_all(b"\x05\x00\x00\x01" + bytes(6))
        if self.way == "tunnel":
            await head_of(stream)
            await stream.send_all(b"HTTP/1.1 200 OK\r\n\r\n")
        if self.way in {"tls", "tunnel"}:
            stream = trio.SSLStream(stream, tls(ssl.PROTOCOL_TLS_SERVER), server_side=True, https_compatible=True)
        while True:
            await head_of(stream)
            await stream.send_all(ANSWER)

    async def settled(self, count):
        """Wait until `count` connections are open, or until nothing happens any more."""
        with trio.move_on_after(60):
            while self.open != count:
                await self.changed.park()


async def head_of(stream):
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        received += await stream.receive_some() or received[len(received) :][0]  # an IndexError at the end
    return received


def tls(protocol):
    context = ssl.SSLContext(protocol)
    if protocol == ssl.PROTOCOL_TLS_SERVER:
        context.load_cert_chain(PEM)
    else:
        context.load_verify_locations(PEM)
    return context


@asynccontextmanager
async def serving(way):
    server = Server(way)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        server.port = listeners[0].socket.getsockname()[1]
        yield server
        nursery.cancel_scope.cancel()


def proxy_of(server):
    scheme = {"tunnel": "http", "forward": "http", "socks": "socks5"}.get(server.way)
    return scheme and f"{scheme}://127.0.0.1:{server.port}"


def client_of(server, **settings):
    """A client that goes the server's way."""
    proxy = proxy_of(server)
    settings = {"verify": tls(ssl.PROTOCOL_TLS_CLIENT), **settings}
    return LIBRARY.AsyncClient(proxy=proxy, trust_env=False, timeout=None, **settings)


def url_of(server):
    scheme = "https" if server.way in {"tls", "tunnel"} else "http"
    return f"{scheme}://127.0.0.1:{server.port}/"


def entries_of(client):
    transports = [client._transport, *(one for one in client._mounts.values() if one is not None)]
    return [entry for one in transports for entry in one._pool.connections]


class CancelBefore(trio.abc.Instrument):
    """Cancels a scope right before the n-th step of a task or one that it started."""

    def __init__(self, task, scope, step):
        self.task, self.scope, self.left = task, scope, step

    def before_task_step(self, task):
        while task is not None and task is not self.task:
            task = task.parent_nursery and task.parent_nursery.parent_task
        if task is not None:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def call(client, url):
    async with open_response("POST", url, headers={}, content=b"", client=client) as response:
        assert await response.read(10) == b"ok"


async def cancelled_before(step, client, url, make=call):
    """Whether the call ended by itself; else it is cancelled before that step."""
    with trio.CancelScope() as scope:
        instrument = CancelBefore(trio.lowlevel.current_task(), scope, step)
        trio.lowlevel.add_instrument(instrument)
        try:
            await make(client, url)
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return not scope.cancelled_caught


WAYS = ["direct", "tls", "forward", "tunnel", "socks"]


@pytest.fixture(params=WAYS)
def way(request):
    if request.param == "socks" and importlib.util.find_spec("socksio") is None:
        pytest.skip("a SOCKS proxy needs socksio")
    return request.param


@pytest.fixture(params=["at once", "late"])
def connecting(request, monkeypatch):
    """Whether connecting takes longer than the 0.25 s after which Trio tries the next address at the same time.

    From then on no other task of the connection waits, which would be cancelled too and end the connection.
    """
    if request.param == "late":
        with socket.socket() as one:
            kind = type(trio.socket.from_stdlib_socket(one))
        connect = kind.connect

        async def late(self, address):
            await trio.sleep(1)
            await connect(self, address)

        monkeypatch.setattr(kind, "connect", late)


@pytest.mark.usefixtures("connecting")
async def test_cancelled_before_every_step(clock, way):
    """No socket is left to the garbage collector, none stays open, and the pool has no entry that nothing can use."""
    step = ended = 0
    gc.collect()
    gc.disable()
    try:
        async with serving(way) as server:
            while not ended:
                step += 1
                async with client_of(server) as client:
                    ended = await cancelled_before(step, client, url_of(server))
                    idle = [entry for entry in entries_of(client) if entry.is_idle()]
                    await server.settled(len(idle))
                    assert server.open == len(idle), f"sockets, cancelled before step {step}"
                    rest = [entry for entry in entries_of(client) if not entry.is_idle() and not entry.is_closed()]
                    assert not rest, f"entries of the pool, cancelled before step {step}"
    finally:
        gc.enable()
    assert step > 10


@pytest.mark.usefixtures("connecting")
async def test_a_shared_connection_cancelled_before_every_step(clock, way, monkeypatch):
    """The same of the library's own pools, whose sockets are its own as well."""
    monkeypatch.setattr(transport, "tls", lambda *, secure: tls(ssl.PROTOCOL_TLS_CLIENT))
    step = ended = 0
    gc.collect()
    gc.disable()
    try:
        async with serving(way) as server:
            route = transport.Route(proxy_of(server), way in {"tls", "tunnel"})
            while not ended:
                step += 1
                ended = await cancelled_before(step, route, url_of(server))
                clients = transport._shared.get({}).get(route)
                pools = [] if clients is None else [one.pool for one in clients.every]
                entries = [entry for pool in pools for entry in pool.connections]
                await server.settled(sum(entry.is_idle() for entry in entries))
                assert server.open == sum(entry.is_idle() for entry in entries), f"cancelled before step {step}"
                assert all(entry.is_idle() or entry.is_closed() for entry in entries), f"before step {step}"
                await trio.sleep(2 * transport.IDLE_SECONDS)  # the next one has to connect anew
                assert route not in transport._shared.get({})
    finally:
        gc.enable()
    assert step > 10


async def test_a_fetch_cancelled_before_every_step(clock, connecting, monkeypatch):
    """The same of `open_at`, whose connection is its own."""
    monkeypatch.setattr(fetch, "tls", lambda: tls(ssl.PROTOCOL_TLS_CLIENT))
    step = ended = 0
    gc.collect()
    gc.disable()
    try:
        async with serving("tls") as server:
            while not ended:
                step += 1
                with trio.CancelScope() as scope:
                    instrument = CancelBefore(trio.lowlevel.current_task(), scope, step)
                    trio.lowlevel.add_instrument(instrument)
                    try:
                        async with open_at(url_of(server), "127.0.0.1", {}) as response:
                            await response.read(10)
                    finally:
                        trio.lowlevel.remove_instrument(instrument)
                ended = not scope.cancelled_caught
                await server.settled(0)
                assert server.open == 0, f"cancelled before step {step}"
    finally:
        gc.enable()
    assert step > 10


async def call_at_random(client, url, chance):
    with trio.CancelScope() as scope:
        instrument = CancelBefore(trio.lowlevel.current_task(), scope, chance.randrange(1, 40))
        trio.lowlevel.add_instrument(instrument)
        try:
            await call(client, url)
        finally:
            trio.lowlevel.remove_instrument(instrument)


def open_sockets():
    """The sockets of this process."""
    found = 0
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # that of the listing itself
            found += str(path.readlink()).startswith("socket:")
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts sockets in /proc")
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("connecting")
async def test_many_cancelled_at_random(clock, way):
    """Sockets and entries of one client are as many after all cancels as after the first few."""
    at_once, chance = 20, random.Random(5)  # noqa: S311  (not a secret)
    async with serving(way) as server, client_of(server) as client:
        before = open_sockets()
        for _ in range(RANDOM_CANCELS // at_once):
            async with trio.open_nursery() as nursery:
                for _ in range(at_once):
                    nursery.start_soon(call_at_random, client, url_of(server), chance)
        await call(client, url_of(server))
        await server.settled(len(entries_of(client)))
        sockets, entries = open_sockets() - before, len(entries_of(client))
        print(f"{way}: {RANDOM_CANCELS} calls, {sockets} sockets at both ends, {entries} entries")  # noqa: T201  (with -s)
        assert server.open == entries
        assert sockets == 2 * entries  # this process has both ends
        assert entries <= at_once
        assert all(entry.is_idle() for entry in entries_of(client))


async def test_a_failed_handshake(clock, way):
    """A certificate that is not trusted leaves nothing behind either."""
    if way not in {"tls", "tunnel"}:
        pytest.skip("without TLS")
    async with serving(way) as server, client_of(server, verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) as client:
        for _ in range(3):
            with pytest.raises(allm.AdapterError, match="cannot be reached"):
                await call(client, url_of(server))
        await server.settled(0)
        assert server.open == 0
        assert all(entry.is_closed() for entry in entries_of(client))


async def failure_of(url):
    """How a call over a shared connection fails."""
    with pytest.raises(allm.AdapterError) as caught:
        async with open_response("POST", url, headers={}, content=b""):
            pass
    return caught.value


async def test_a_shared_connection_that_is_refused(clock):
    """The error is of the network, in the library's own words, and may be retried."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = await failure_of(f"http://127.0.0.1:{port}/")
    assert (error.reason, error.retryable) == ("network_error", True)
    assert "(ConnectError: " in error.message
    assert "resolver" not in error.message


async def test_a_shared_connection_that_takes_too_long(clock, monkeypatch):
    """It is a timeout, after the library's own ten seconds."""

    async def never(*_args, **_settings):
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", never)
    begun = trio.current_time()
    error = await failure_of("http://127.0.0.1:9/")
    assert error.reason == "timeout"
    assert "ConnectTimeout" in error.message
    assert trio.current_time() - begun == pytest.approx(transport.CONNECT_SECONDS)


async def test_a_shared_connection_whose_certificate_is_not_trusted(clock):
    """It would not be at the next try either."""
    async with serving("tls") as server:
        error = await failure_of(url_of(server))
        assert (error.reason, error.retryable) == ("network_error", False)
        assert "CERTIFICATE_VERIFY_FAILED" in error.message
        await server.settled(0)
        assert server.open == 0


async def test_a_shared_connection_that_ends(clock):
    """In the middle of a body, and before a response."""
    for answer, reason in ((ANSWER[:-1], "stream_truncated"), (b"", "network_error")):

        async def serve(stream, answer=answer):
            await stream.receive_some()
            await stream.send_all(answer)
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
            with pytest.raises(allm.AdapterError) as caught:
                await call(None, url)
            assert caught.value.reason == reason
            nursery.cancel_scope.cancel()


@pytest.mark.usefixtures("connecting")
async def test_a_pool_of_one_connection(clock, way):
    """The slot of a cancelled request is free for the next one, which was waiting for it."""
    limits = LIBRARY.Limits(max_connections=1)
    step = ended = 0
    async with serving(way) as server:
        while not ended:
            step += 1
            async with client_of(server, limits=limits) as client, trio.open_nursery() as nursery:
                waiting = trio.Event()

                async def next_one(client=client, waiting=waiting):
                    await waiting.wait()
                    with trio.fail_after(60):
                        await call(client, url_of(server))

                nursery.start_soon(next_one)
                waiting.set()
                ended = await cancelled_before(step, client, url_of(server))
    assert step > 10


@pytest.mark.usefixtures("connecting")
async def test_two_cancelled_in_a_pool_of_one_connection(clock, way):
    """A request that is cancelled just as it gets the slot of another one frees it for a third."""
    limits = LIBRARY.Limits(max_connections=1)
    step, is_over = 0, False
    async with serving(way) as server:
        while not is_over:
            step += 1
            async with client_of(server, limits=limits) as client, trio.open_nursery() as nursery:

                async def two(client, url):
                    async with trio.open_nursery() as both:
                        for _ in range(2):
                            both.start_soon(call, client, url)
                        nursery.start_soon(third, client, url)

                async def third(client, url):
                    with trio.fail_after(60):
                        await call(client, url)

                is_over = await cancelled_before(step, client, url_of(server), two)
    assert step > 10


async def test_a_trace_of_the_user(clock):
    """It is called as before."""
    seen = []

    class Client(LIBRARY.AsyncClient):
        def build_request(self, *args, **settings):
            async def trace(event, info):
                seen.append(event)

            return super().build_request(*args, **settings, extensions={"trace": trace})

    async with serving("direct") as server, Client() as client:
        await call(client, url_of(server))
    assert seen[:2] == ["connection.connect_tcp.started", "connection.connect_tcp.complete"]
    assert "http11.receive_response_headers.complete" in seen


async def http2_server(stream):
    import h2.config
    import h2.connection
    import h2.events
    import h2.exceptions

    context = tls(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    stream = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
    state = h2.connection.H2Connection(config=h2.config.H2Configuration(client_side=False))
    state.initiate_connection()

    async def answer(number):
        await trio.sleep(1)
        try:
            state.send_headers(number, [(":status", "200")])
            state.send_data(number, b"ok", end_stream=True)
        except h2.exceptions.ProtocolError:
            return  # the client has reset the stream
        await send()

    async def send():
        async with lock:
            await stream.send_all(state.data_to_send())

    lock = trio.Lock()
    try:
        async with trio.open_nursery() as nursery:
            await send()
            while received := await stream.receive_some():
                for event in state.receive_data(received):
                    if isinstance(event, h2.events.RequestReceived):
                        nursery.start_soon(answer, event.stream_id)
                await send()
            nursery.cancel_scope.cancel()
    except* (trio.BrokenResourceError, trio.ClosedResourceError):
        pass
    finally:
        await trio.aclose_forcefully(stream)


async def test_a_connection_that_others_use(clock):
    """A cancelled request does not end the others on its HTTP/2 connection, not even if it made the connection.

    It is cancelled while it waits for its response; while it writes, the libraries themselves lose what others write.
    """
    pytest.importorskip("h2")

    async def cancelled(client, url):
        with trio.move_on_after(0.5):
            await call(client, url)

    async with trio.open_nursery() as server:
        listeners = await server.start(partial(trio.serve_tcp, http2_server, 0, host="127.0.0.1"))
        url = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}/"
        async with LIBRARY.AsyncClient(verify=tls(ssl.PROTOCOL_TLS_CLIENT), http2=True, timeout=None) as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancelled, client, url)
                await trio.sleep(0.25)
                nursery.start_soon(call, client, url)
            await call(client, url)
            assert len(entries_of(client)) == 1
        server.cancel_scope.cancel()
