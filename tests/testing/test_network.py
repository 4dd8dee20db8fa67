"""`deny_network` covers every way in which Python code reaches a network, and leaves this machine alone."""

from __future__ import annotations

import asyncio
import socket
import threading

import httpx
import pytest
import trio

import allm
from allm.providers import OpenAI
from allm.testing import NetworkDenied, Reply, WireServer, deny_network

ELSEWHERE = "192.0.2.1"


@pytest.fixture(autouse=True)
def denied():
    with deny_network():
        yield


@pytest.mark.parametrize(
    "host", [ELSEWHERE, "2001:db8::1", "api.example.com", "localhost.example.com", "::ffff:192.0.2.1"]
)
async def test_trio(host):
    """By address or by name, without the groups of nurseries; the message names the host and what to do."""
    with pytest.raises(NetworkDenied, match="WireServer") as caught, deny_network():
        await trio.open_tcp_stream(host, 443)
    assert caught.value.host == host


def test_asyncio():
    """Its event loop uses the same functions."""

    async def main():
        await asyncio.open_connection("api.example.com", 443)

    with pytest.raises(NetworkDenied):
        asyncio.run(main())


@pytest.mark.parametrize(
    "reach",
    [
        lambda client: client.connect((ELSEWHERE, 443)),
        lambda client: client.connect_ex((ELSEWHERE, 443)),
        lambda client: client.sendto(b"x", (ELSEWHERE, 53)),
        lambda client: client.sendto(b"x", 0, (ELSEWHERE, 53)),
        lambda client: client.sendmsg([b"x"], [], 0, (ELSEWHERE, 53)),
        lambda client: socket.create_connection(("api.example.com", 443)),
        lambda client: socket.getaddrinfo("api.example.com", 443, type=socket.SOCK_STREAM),
        lambda client: socket.getaddrinfo(b"api.example.com", None),
        lambda client: socket.gethostbyname("api.example.com"),
        lambda client: socket.gethostbyname_ex("api.example.com"),
        lambda client: socket.gethostbyaddr(ELSEWHERE),
        lambda client: socket.getnameinfo((ELSEWHERE, 443), 0),
    ],
)
def test_sockets(reach):
    """Connecting, sending a datagram, and looking up a name or an address."""
    with socket.socket(type=socket.SOCK_DGRAM) as client, pytest.raises(NetworkDenied):
        reach(client)


def test_threads():
    """The whole process is denied, not only the thread that asked for it."""
    found = []

    def reach():
        try:
            socket.create_connection((ELSEWHERE, 443))
        except NetworkDenied as error:
            found.append(error.host)

    thread = threading.Thread(target=reach)
    thread.start()
    thread.join()
    assert found == [ELSEWHERE]


async def test_no_retry_hides_it():
    """The call of a model raises it, instead of an error that is retried or handled."""
    engine = allm.Engine(adapter=OpenAI(api_key="test", base_url="http://api.example.com/v1"), model="m")
    with pytest.raises(NetworkDenied), deny_network():
        await allm.generate(engine, "hi")


async def test_this_machine_is_reached():
    """By every address and name that it has here, also over datagrams and sockets in files."""
    async with WireServer(default=Reply.json({})) as server:
        port = int(server.base_url.rpartition(":")[2])
        for host in ("127.0.0.1", "localhost", "LOCALHOST", "0.0.0.0", "::ffff:127.0.0.1"):  # noqa: S104
            if ":" in host:
                assert socket.getaddrinfo(host, port)
            else:
                await (await trio.open_tcp_stream(host, port)).aclose()
        async with httpx.AsyncClient(verify=False) as client:  # noqa: S501 - plain HTTP
            assert (await client.get(f"http://localhost:{port}/")).status_code == 200
    assert socket.getfqdn()
    assert socket.getaddrinfo(ELSEWHERE, 443, flags=socket.AI_NUMERICHOST)  # asks nobody
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"x")
        assert right.recv(1) == b"x"


def test_what_is_allowed(monkeypatch):
    """Names, addresses and networks; the addresses of an allowed name too, and no others. Blocks nest."""
    asked = []

    def connect(self, address):
        asked.append(address[0])

    def getaddrinfo(host, port, *rest):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("198.51.100.7", port))]

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    with deny_network(allow=["API.example.com", "192.0.2.1", "10.0.0.0/8"]), socket.socket() as client:
        client.connect((ELSEWHERE, 443))
        client.connect(("10.1.2.3", 443))
        with pytest.raises(NetworkDenied):
            client.connect(("198.51.100.7", 443))
        socket.create_connection(("api.example.com", 443)).close()
        client.connect(("198.51.100.7", 443))
        with deny_network(), pytest.raises(NetworkDenied):
            client.connect((ELSEWHERE, 443))
    assert asked == [ELSEWHERE, "10.1.2.3", "198.51.100.7", "198.51.100.7"]


def test_everything_is_as_before_after_the_block():
    """Also when the block raised."""
    before = socket.getaddrinfo, socket.socket.connect, socket.gethostbyname
    with pytest.raises(ZeroDivisionError), deny_network():
        raise ZeroDivisionError
    assert before == (socket.getaddrinfo, socket.socket.connect, socket.gethostbyname)
