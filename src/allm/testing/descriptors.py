"""The open file descriptors of this process, and what each of them is.

Connections that rest in the pool of an HTTP client are not counted, since they are kept to be used again. They are
recognized by number only: httpcore says in public how many of a pool's connections rest, not which sockets they have.
Neither are the pipes of a local model, which lives as long as the run.
On Windows a socket is no descriptor, so that sockets are not seen there.
"""

from __future__ import annotations

import gc
import itertools
import os
import socket
import stat
import sys
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import attrs

__all__ = [
    "Descriptor",
    "instances",
    "new_descriptors",
    "open_descriptors",
    "pools_of_http_clients",
    "resting",
    "stuck",
]

FOLDERS = ("/proc/self/fd", "/dev/fd")  # Linux; macOS and BSD
MOST_TRIED = 4096  # where no folder lists the descriptors, numbers up to here are tried
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFIFO: "pipe", stat.S_IFCHR: "device"}
CONNECTION = "connection"


@attrs.frozen
class Descriptor:
    """One open descriptor.

    Attributes:
        target: What it is open on; two that are open on the same may stand for each other.
        text: What it is, for a message.
    """

    target: str
    text: str


def open_descriptors() -> dict[tuple[int, int, int], Descriptor]:
    """The descriptors by number and identity of what they are open on."""
    found: dict[tuple[int, int, int], Descriptor] = {}
    sockets: list[tuple[int, os.stat_result]] = []
    local = sys.modules.get("allm.providers.local.server")
    kept = frozenset[int]() if local is None else local.descriptors()
    for number in set(_numbers()) - kept:
        with suppress(OSError):  # it was the one that listed the folder, or another thread closed it
            status = os.fstat(number)
            if stat.S_ISSOCK(status.st_mode):
                sockets.append((number, status))
                continue
            kind = KINDS.get(stat.S_IFMT(status.st_mode), "descriptor")
            name = _path(number)
            found[number, status.st_dev, status.st_ino] = Descriptor(name or kind, f"{kind} {number} ({name})")
    return found | _sockets(sockets)


def _numbers() -> list[int]:
    for folder in FOLDERS:
        with suppress(OSError):
            return [int(name) for name in os.listdir(folder)]  # noqa: PTH208 - of numbers, not of paths
    return list(range(MOST_TRIED))


def _path(number: int) -> str:
    try:
        return os.readlink(f"{FOLDERS[0]}/{number}")  # noqa: PTH115 - often not a path, such as pipe:[42]
    except OSError:
        return ""


def _sockets(numbers: Iterable[tuple[int, os.stat_result]]) -> dict[tuple[int, int, int], Descriptor]:
    """The sockets; of a connection within this process only the client's end, with which the other one closes."""
    ends: dict[tuple[int, int, int], tuple[Any, Any]] = {}
    listening: set[Any] = set()
    for number, status in numbers:
        with suppress(OSError), socket.socket(fileno=os.dup(number)) as copy:
            address, peer = copy.getsockname(), None
            with suppress(OSError):
                peer = copy.getpeername()
            if copy.family not in {socket.AF_INET, socket.AF_INET6}:
                address = peer = None
            elif peer is None and _listens(copy):
                listening.add(address[1])
            ends[number, status.st_dev, status.st_ino] = address, peer
    connected = {end: key for key, end in ends.items() if end[1] is not None}
    found: dict[tuple[int, int, int], Descriptor] = {}
    for key, (address, peer) in ends.items():
        other = connected.get((peer, address))
        if peer is None:
            where = "no address" if address is None else _shown(address)
            found[key] = Descriptor(f"socket on {where}", f"socket {key[0]} ({where}, not connected)")
        elif other is not None and (address[1] in listening or (peer[1] not in listening and key > other)):
            continue  # the accepted end of a connection within this process
        elif address[1] in listening:
            text = f"socket {key[0]} (accepted at {_shown(address)} from {_shown(peer)})"
            found[key] = Descriptor(f"accepted at {_shown(address)}", text)
        else:
            found[key] = Descriptor(CONNECTION, f"socket {key[0]} ({_shown(address)} connected to {_shown(peer)})")
    return found


def _listens(copy: socket.socket) -> bool:
    try:
        return bool(copy.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except (AttributeError, OSError):  # not on every platform
        return False


def _shown(address: Any) -> str:
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def new_descriptors(
    before: dict[tuple[int, int, int], Descriptor], now: dict[tuple[int, int, int], Descriptor], *, at_rest: int
) -> list[str]:
    """What is open now beyond what was open before; one that took the place of another is not counted.

    Args:
        at_rest: How many more connections rest in the pools of HTTP clients than before.
    """
    had, has = (Counter(one.target for one in held.values()) for held in (before, now))
    had[CONNECTION] += at_rest
    more = {target for target, count in has.items() if count > had[target]}
    texts: dict[str, list[str]] = {target: [] for target in more}
    for key, one in now.items():
        if one.target in more and key not in before:
            texts[one.target].append(f"{one.text} is open")
    for target in more:
        if not texts[target]:  # it was open before, and rested in a pool
            texts[target] = [f"{one.text} is open" for one in now.values() if one.target == target]
    return sorted(text for some in texts.values() for text in some)


def pools_of_http_clients() -> list[Any]:
    """The connection pools of all httpx and httpx2 clients in this process."""
    libraries = [sys.modules[name] for name in ("httpcore", "httpcore2") if name in sys.modules]
    return instances([library.AsyncConnectionPool for library in libraries])


def instances(kinds: Iterable[type]) -> list[Any]:
    """The objects of these classes, and of classes derived from them, in this process."""
    waiting, known = list(kinds), set[int]()
    while waiting:
        kind = waiting.pop()
        known.add(id(kind))
        waiting += type.__subclasses__(kind)
    if not known:
        return []
    # In C, since there are a million objects; by the type's number, since comparing may run foreign code.
    objects = gc.get_objects()
    return list(itertools.compress(objects, map(known.__contains__, map(id, map(type, objects)))))


def resting(pools: Iterable[Any]) -> int:
    """How many connections wait in the pools for the next request."""
    return sum(connection.is_idle() for pool in pools for connection in pool.connections)


def stuck(pools: Iterable[Any], known: Iterable[Any]) -> list[str]:
    """Entries of the pools, other than the `known` ones, that neither rest nor are closed."""
    old = {id(connection) for connection in known}
    return [
        f"an entry in the pool of an HTTP client is neither idle nor closed: {connection.info()}"
        for pool in pools
        for connection in pool.connections
        if id(connection) not in old and not connection.is_idle() and not connection.is_closed()
    ]
