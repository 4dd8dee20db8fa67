"""Every test runs without a network: only connections to this machine pass."""

from __future__ import annotations

import ipaddress
import socket

import pytest


def is_this_machine(host: object) -> bool:
    """Whether `host` is a loopback address, a name for one, or no host at all."""
    text = host.decode() if isinstance(host, bytes) else str(host or "")
    try:
        return text in {"", "localhost"} or ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False  # some other name


def check(host: object) -> None:
    """Fail the test if `host` is elsewhere, with an exception that no `except Exception` swallows."""
    if not is_this_machine(host):
        pytest.fail(f"a test tried to reach {host!r}; tests may connect to this machine only (see tests/conftest.py)")


def guarded_connect(original):
    """Wrap `socket.connect` or `socket.connect_ex`."""

    def connect(self, address):
        if self.family in {socket.AF_INET, socket.AF_INET6}:
            check(address[0])
        return original(self, address)

    return connect


def guarded_getaddrinfo(host, *args, original=socket.getaddrinfo, **kwargs):
    """Resolve nothing but this machine: asking a name server is a connection too."""
    check(host)
    return original(host, *args, **kwargs)


@pytest.fixture(scope="session", autouse=True)
def _no_network():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded_connect(socket.socket.connect_ex))
        patch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
        yield
