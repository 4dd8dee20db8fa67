"""Record real traffic once and replay it: no network, no key, the same responses in the same pieces.

with allm.testing.record("trip.json"):
    await allm.chat(engine, "How warm is it in Zug?")

with allm.testing.replay("trip.json"):
    await allm.chat(engine, "How warm is it in Zug?")
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Self, cast, final

import attrs
import trio

from allm.data.errors import AdapterError, AdapterReason
from allm.http import keys
from allm.http.headers import HeaderValue, secrets_in
from allm.http.keys import Secret
from allm.http.private_url import masked_query, secrets_in_url
from allm.http.response import Body, HttpResponse, OpenResponse, transport_override, whole
from allm.http.transport import send
from allm.runtime.registry import CHAT, SERVICES, known_providers
from allm.testing.tape import KEPT_HEADERS, Exchange, load, plain_body, save

__all__ = ["Cassette", "played_by", "record", "replay"]

_LONGEST = 80  # characters of a value in a message


@final
@attrs.define(eq=False)
class Cassette:
    """Recorded exchanges with providers, in the order of their requests.

    Attributes:
        exchanges: All exchanges.
        unused: When replaying: the exchanges that were not requested yet.
        missed: When replaying: the requests for which nothing was recorded, each with what differs.
    """

    exchanges: list[Exchange] = attrs.field(factory=list[Exchange])
    unused: list[Exchange] = attrs.field(factory=list[Exchange], init=False)
    missed: list[str] = attrs.field(factory=list[str], init=False)

    def assert_exhausted(self) -> None:
        """Check that every recorded exchange was requested.

        Raises:
            AssertionError: Some were not; the message names them.
        """
        left = ", ".join(f"{exchange.method} {exchange.url}" for exchange in self.unused)
        if left:
            raise AssertionError(f"recorded but not requested: {left}")


@contextmanager
def record(path: str | os.PathLike[str]) -> Generator[Cassette]:
    """Record every exchange with a provider in this context, and in the tasks started from it, to a file.

    The file has the bodies of requests and the responses, but no request headers, and no key that was in one or in a
    URL; only its owner can read it. It is written when the block is left, for any reason, unless there was no request.
    `allm.fetch_image` is not recorded.
    """
    cassette, secrets = Cassette(), set[Secret]()
    token = transport_override.set(_recorder(cassette, secrets, transport_override.get() or send))
    try:
        yield cassette
    finally:
        transport_override.reset(token)
        if cassette.exchanges:
            save(path, cassette.exchanges, secrets)


@contextmanager
def replay(path: str | os.PathLike[str]) -> Generator[Cassette]:
    """Replay a file that `record` wrote, for every request in this context and in the tasks started from it.

    Each recorded exchange serves one request with the same method, URL and body. Any other request fails with
    `AdapterError(no_scripted_response)`, which says what differs. No key is needed.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: The file is not a cassette.
    """
    try:
        cassette = Cassette(load(path))
    except FileNotFoundError as error:
        error.add_note(
            f"To record it, with the network and your key: with allm.testing.record({os.fspath(path)!r}): ..."
        )
        raise
    cassette.unused = list(cassette.exchanges)
    with (
        played_by(functools.partial(_match, cassette)),
        keys.override(**dict.fromkeys(frozenset().union(*map(known_providers, (CHAT, *SERVICES))), "replayed")),
    ):
        yield cassette


@contextmanager
def played_by(find: Callable[[str, str, Any], Exchange]) -> Generator[None]:
    """Serve every request in this context with the exchange that `find` returns for its method, URL and body."""
    token = transport_override.set(_player(find))
    try:
        yield
    finally:
        transport_override.reset(token)


def _recorder(cassette: Cassette, secrets: set[Secret], ask: OpenResponse) -> OpenResponse:
    @asynccontextmanager
    async def recorded(
        method: str, url: str, *, headers: Mapping[str, HeaderValue], content: bytes | Body, client: Any = None
    ) -> AsyncGenerator[HttpResponse]:
        secrets.update(secrets_in(headers), secrets_in_url(url))
        content = await whole(content)
        exchange = Exchange(method=method, url=masked_query(url), body=plain_body(headers, content))
        cassette.exchanges.append(exchange)
        responded = False
        try:
            async with ask(method, url, headers=headers, content=content, client=client) as response:
                responded = True
                exchange.status = response.status
                exchange.headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
                yield _Recorded(response.status, response.headers, response, exchange)
        except AdapterError as error:
            if not responded:
                exchange.failed(error)
            raise

    return recorded


def _player(find: Callable[[str, str, Any], Exchange]) -> OpenResponse:
    @asynccontextmanager
    async def played(
        method: str, url: str, *, headers: Mapping[str, HeaderValue], content: bytes | Body, **_: Any
    ) -> AsyncGenerator[HttpResponse]:
        await trio.lowlevel.checkpoint()
        exchange = find(method, masked_query(url), plain_body(headers, await whole(content)))
        if exchange.status is None:
            raise _failure(exchange)
        yield _Played(exchange.status, exchange.headers, exchange)

    return played


@final
@attrs.define(eq=False)
class _Recorded(HttpResponse):
    _response: HttpResponse
    _exchange: Exchange

    @asynccontextmanager
    async def chunks(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        """See `HttpResponse`."""
        try:
            async with self._response.chunks() as source:
                yield _Copying(source, self._exchange)
        except AdapterError as error:
            self._exchange.failed(error)
            raise


@final
@attrs.define(eq=False)
class _Copying:
    _source: AsyncIterator[bytes]
    _exchange: Exchange

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            piece = await anext(self._source)
        except StopAsyncIteration:
            self._exchange.ended = True
            raise
        self._exchange.pieces.append(piece)
        return piece


@final
@attrs.define(eq=False)
class _Played(HttpResponse):
    _exchange: Exchange

    @asynccontextmanager
    async def chunks(self) -> AsyncGenerator[AsyncIterator[bytes]]:
        """See `HttpResponse`."""
        yield _Playing(self._exchange, iter(self._exchange.pieces))


@final
@attrs.define(eq=False)
class _Playing:
    _exchange: Exchange
    _pieces: Iterator[bytes]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        for piece in self._pieces:
            return piece
        if self._exchange.ended:
            raise StopAsyncIteration
        raise _failure(self._exchange)


def _failure(exchange: Exchange) -> AdapterError:
    reason, message = exchange.error or ("stream_truncated", "the recording ends here: its reader stopped reading")
    return AdapterError(message, reason=cast("AdapterReason", reason))


def _match(cassette: Cassette, method: str, url: str, body: Any) -> Exchange:
    alike = [exchange for exchange in cassette.unused if (exchange.method, masked_query(exchange.url)) == (method, url)]
    for exchange in alike:
        if exchange.body == body:
            cassette.unused.remove(exchange)
            return exchange
    if alike:
        what = f"the next one recorded differs: {_difference(alike[0].body, body)}"
    else:
        what = f"of the {len(cassette.exchanges)} recorded requests, no unused one has this URL"
    cassette.missed.append(f"nothing was recorded for {method} {url}: {what}")
    raise AdapterError(cassette.missed[-1], reason="no_scripted_response")


def _difference(recorded: Any, asked: Any, path: str = "body") -> str:
    """Describe the first difference between two documents."""
    if isinstance(recorded, dict) and isinstance(asked, dict):
        for key in [*recorded, *asked]:
            if recorded.get(key) != asked.get(key):
                return _difference(recorded.get(key), asked.get(key), f"{path}.{key}")
    if isinstance(recorded, list) and isinstance(asked, list):
        for index, (one, other) in enumerate(zip(recorded, asked, strict=False)):
            if one != other:
                return _difference(one, other, f"{path}[{index}]")
        return f"{path} has {len(recorded)} items there and {len(asked)} here"
    return f"{path} is {_shown(recorded)} there and {_shown(asked)} here"


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
