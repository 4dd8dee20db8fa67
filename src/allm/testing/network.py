"""Keep tests from reaching any machine but this one."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias, final
from unittest import mock

import attrs

from allm.testing.groups import plain

__all__ = ["NetworkDenied", "deny_network"]

INTERNET = frozenset({socket.AF_INET, socket.AF_INET6})
HERE = frozenset({"", "localhost", "0.0.0.0", "::"})  # noqa: S104 - connecting to "any address" reaches this machine
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class NetworkDenied(BaseException):
    """A test tried to reach another machine.

    `except Exception` does not catch it, so that no retry or fallback hides it.

    Attributes:
        host: Where to.
    """

    def __init__(self, host: str) -> None:
        super().__init__(host)
        self.host = host

    def __str__(self) -> str:
        return (
            f"a test tried to reach {self.host!r}, and deny_network lets it reach this machine only: play the other "
            f"side with allm.testing.WireServer, or allow it with deny_network(allow=[{self.host!r}])"
        )


@final
@attrs.define(eq=False)
class _Policy:
    """Who may be reached."""

    names: frozenset[str]
    networks: tuple[Network, ...]
    resolved: set[str] = attrs.field(factory=set[str])

    @classmethod
    def of(cls, allow: Iterable[str]) -> _Policy:
        names = {socket.gethostname().lower()}  # `socket.getfqdn` asks for it, which even makes ids of messages
        networks: list[Network] = []
        for entry in allow:
            try:
                networks.append(ipaddress.ip_network(entry, strict=False))
            except ValueError:
                names.add(entry.lower().rstrip("."))
        return cls(frozenset(names), tuple(networks))

    def check(self, host: object) -> str:
        """Returns the host as a text.

        Raises:
            NetworkDenied: It is not allowed.
        """
        text = host.decode() if isinstance(host, (bytes, bytearray)) else str(host or "")
        name = text.lower().rstrip(".")
        if name in HERE or name in self.names or text in self.resolved:
            return text
        try:
            address = ipaddress.ip_address(text.partition("%")[0])
        except ValueError:
            raise NetworkDenied(text) from None  # a name, whatever it stands for
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if not address.is_loopback and not any(address in network for network in self.networks):
            raise NetworkDenied(text)
        return text

    def connecting(self, original: Callable[..., Any], place: int) -> Callable[..., Any]:
        """A method of a socket whose argument number `place`, from 0 or from the end, is an address."""

        def method(this: socket.socket, *args: Any, **options: Any) -> Any:
            address = args[place] if -len(args) <= place < len(args) else None
            if this.family in INTERNET and isinstance(address, tuple):
                self.check(address[0])
            return original(this, *args, **options)

        return method

    def getaddrinfo(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """`socket.getaddrinfo`, which asks a name server unless it is told that the host is a number."""

        def getaddrinfo(
            host: Any,
            port: Any,
            family: int = 0,
            type: int = 0,  # noqa: A002 - its name
            proto: int = 0,
            flags: int = 0,
        ) -> Any:
            numeric = bool(flags & socket.AI_NUMERICHOST)
            text = "" if numeric else self.check(host)
            found = original(host, port, family, type, proto, flags)
            if text.lower().rstrip(".") in self.names:
                self.resolved.update(str(entry[4][0]) for entry in found)
            return found

        return getaddrinfo

    def lookup(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Another function of `socket` whose first argument is a host."""

        def look_up(host: Any, *args: Any) -> Any:
            self.check(host[0] if isinstance(host, tuple) else host)
            return original(host, *args)

        return look_up


@contextmanager
def deny_network(*, allow: Iterable[str] = ()) -> Generator[None]:
    """Let this process reach no machine but itself while the block runs.

    Connecting, sending a datagram and looking up a name raise at once, in any thread and in Trio and asyncio alike. It
    replaces functions of the module `socket`; libraries in C that make their own connections, such as libpq, are not
    seen. There is also a pytest fixture of this name.

    Args:
        allow: Host names, addresses or networks (`"10.0.0.0/8"`) that may be reached all the same.

    Raises:
        NetworkDenied: In the code that tried.
    """
    policy = _Policy.of(allow)
    denied: BaseException
    try:
        with ExitStack() as patches:
            for name, place in (("connect", 0), ("connect_ex", 0), ("sendto", -1), ("sendmsg", 3)):
                if (original := getattr(socket.socket, name, None)) is not None:  # sendmsg is not on every platform
                    method = policy.connecting(original, place)
                    patches.enter_context(mock.patch.object(socket.socket, name, method))
            patched = mock.patch.object(socket, "getaddrinfo", policy.getaddrinfo(socket.getaddrinfo))
            patches.enter_context(patched)
            for name in ("gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo"):
                look_up = policy.lookup(getattr(socket, name))
                patches.enter_context(mock.patch.object(socket, name, look_up))
            yield
            return
    except BaseExceptionGroup as group:
        denied = plain(group)
        if not isinstance(denied, NetworkDenied):
            raise
    raise denied  # outside the clause above, so that the group is not shown as its context
