"""The guard of conftest.py covers the ways in which this project could reach a network."""

from __future__ import annotations

import socket

import pytest
import trio


@pytest.mark.parametrize("host", ["192.0.2.1", "api.example.com"])
async def test_connecting_elsewhere_fails_the_test(host):
    """Connecting to another machine, by address or by name, fails with a message that says so."""
    with pytest.RaisesGroup(
        pytest.RaisesExc(pytest.fail.Exception, match="this machine only"), allow_unwrapped=True, flatten_subgroups=True
    ):
        await trio.open_tcp_stream(host, 443)


def test_connect_ex_is_guarded_too():
    """`connect_ex`, which returns error codes, is guarded like `connect`."""
    with socket.socket() as client, pytest.raises(pytest.fail.Exception):
        client.connect_ex(("192.0.2.1", 443))


async def test_loopback_passes():
    """A server on this machine can be reached, by address and by name."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            async with await trio.open_tcp_stream(host, port):
                pass
