"""Bodies, responses and exceptions as ours, whatever the HTTP library; `OpenResponse` is whatever sends a request."""

from __future__ import annotations

import functools
import re
import ssl
import sys
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import ContextVar
from types import ModuleType
from typing import Any, Protocol, final

import attrs
import trio

from allm.data.errors import AdapterError
from allm.data.user_functions import items_of_user
from allm.http.encodings import decoded
from allm.http.headers import HeaderValue
from allm.http.keys import Secret
from allm.http.library import core

__all__ = [
    "Body",
    "BodyReader",
    "Chunks",
    "HttpResponse",
    "OpenResponse",
    "is_known",
    "mapped",
    "sent_body",
    "shown_headers",
    "transport_override",
    "unconnected",
    "whole",
    "without_frames",
]


# `x-ratelimit-remaining-tokens` and `x-amzn-bedrock-input-token-count` are counts, `x-csrf-token` is a secret.
_SECRET = re.compile(r"authoriz|cookie|secret|password|api-?key|signature|(^|-)token$")
# URLs in headers that grant access by themselves, to an upload or a download.
_SECRETS = frozenset({"location", "x-goog-upload-control-url", "x-goog-upload-url"})


def shown_headers(headers: Mapping[str, str], secrets: Iterable[Secret] = ()) -> dict[str, str]:
    """Return the headers without those that may hold a secret, and with echoed keys masked.

    Args:
        headers: Headers of the response, names in lower case.
        secrets: The keys that were sent.
    """
    shown = {name: value for name, value in headers.items() if not _is_secret(name)}
    together = "\n".join(shown.values())
    for secret in secrets:
        if secret.redact(together) != together:  # hardly any answer echoes a key
            shown = {name: secret.redact(value) for name, value in shown.items()}
    return shown


@functools.lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return name in _SECRETS or _SECRET.search(name) is not None


@attrs.define(eq=False)
class HttpResponse:
    """A response whose body has not been read yet.

    Attributes:
        status: HTTP status.
        headers: Names in lower case.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)

    def chunks(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open the body for reading as it arrives, one item per network read.

        Raises:
            AdapterError: `stream_truncated` when the connection ends before the body does, `network_error`.
        """
        raise NotImplementedError

    async def read(self, limit: int, *, cut: bool = False) -> bytes:
        """Read the body, decompressed, up to `limit` bytes.

        Args:
            limit: In bytes; the rest is not read.
            cut: If the connection breaks, return what had arrived instead of raising.

        Raises:
            AdapterError: As `chunks`, unless `cut`.
        """
        pieces: list[bytes] = []
        size = 0
        try:
            async with self.chunks() as chunks:
                async for chunk in chunks:
                    pieces.append(chunk)
                    size += len(chunk)
                    if size >= limit:
                        break
        except AdapterError:
            if not cut:
                raise
        return b"".join(pieces)[:limit]


@final
@attrs.define(eq=False, init=False)
class Chunks:
    """A body that is being read, as its own block. Its own errors are mapped, and not those of the code that reads."""

    _source: AsyncIterator[bytes]
    _plain: AsyncIterator[bytes]  # the same, decompressed
    _library: ModuleType
    _is_open: bool  # a generator of the library's waits to go on

    def __init__(self, source: AsyncIterator[bytes], headers: Mapping[str, str], library: ModuleType) -> None:
        self._source = source
        self._plain = decoded(headers, source) if "content-encoding" in headers else source
        self._library = library
        self._is_open = False

    async def __aenter__(self) -> Chunks:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._is_open:
            await _finish(self._source)  # noqa: ASYNC102  (in a cancelled scope of its own: it never waits)

    def __aiter__(self) -> Chunks:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._plain.__anext__()
        except Exception as error:  # the end too, which is not mapped
            self._is_open = self._plain is not self._source
            failed = [error]
        else:
            self._is_open = True
            return chunk
        with mapped(self._library, reading=True):  # entered for a failure only: most reads have none
            raise failed.pop()  # not from a variable, which would be a cycle of the frame and its exception


async def _finish(source: AsyncIterator[bytes]) -> None:
    """Let every generator of a body end that was not read to its end.

    Closing the outermost one would leave those inside it to the garbage collector, which warns under Trio. In a
    cancelled scope the next read ends them all, from the inside out.
    """
    with trio.CancelScope(shield=True) as scope:
        scope.cancel()
        with suppress(Exception):
            async for _ in source:
                pass


class OpenResponse(Protocol):
    """Sends a request and opens its response for the length of a block; it is closed on every way out."""

    def __call__(
        self, method: str, url: str, *, headers: Mapping[str, HeaderValue], content: bytes | Body, client: Any = None
    ) -> AbstractAsyncContextManager[HttpResponse]:
        """Raise `AdapterError` (`network_error`, `timeout`, `invalid_request`) if no response arrives.

        Args:
            client: See `HttpCall`.
        """
        ...


transport_override: ContextVar[OpenResponse | None] = ContextVar("allm_transport_override", default=None)
"""Replaces the network within one context; `allm.testing` records and replays with it."""

CLOSE_SECONDS = 5.0
"""Longest wait, under a shield, for a request body's generator to close."""


@final
@attrs.frozen(kw_only=True)
class Body:
    """A request body that is too large to hold in memory, such as a file.

    Attributes:
        length: In bytes; sent as Content-Length, and `open` has to yield exactly as many.
        open: Returns the chunks from the beginning each time it is called, because a retry sends the body again. They
            are an iterable or an async iterable; a generator is closed when sending ends early.
        on_trio: An async iterable is for Trio; else it is the user's, who may be on another event loop.
    """

    length: int
    open: Callable[[], Iterable[bytes] | AsyncIterable[bytes]] = attrs.field(repr=False)
    on_trio: bool = False


@final
@attrs.define(eq=False)
class BodyReader:
    """One pass over a body, as an async iterator.

    It is a class because an async generator whose reader is cancelled is left to the garbage collector, which warns
    under Trio.
    """

    _body: bytes | Body
    _sync: Iterator[bytes] | None = attrs.field(default=None, init=False)
    _async: AsyncIterator[bytes] | None = attrs.field(default=None, init=False)
    _size: int = attrs.field(default=0, init=False)  # bytes read so far

    def __aiter__(self) -> BodyReader:
        self._size = 0
        chunks = (self._body,) if isinstance(self._body, bytes) else self._body.open()
        if isinstance(chunks, AsyncIterable):
            self._async = aiter(chunks) if getattr(self._body, "on_trio", False) else items_of_user(chunks)
        else:
            self._sync = iter(chunks)
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._async, None) if self._async is not None else next(self._sync or iter(()), None)
        self._size += len(chunk or b"")
        if isinstance(self._body, Body):
            self._check(self._body.length, ended=chunk is None)
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    def _check(self, length: int, *, ended: bool) -> None:
        # Checked here, because the HTTP library would notice late and raise an error of its own.
        if self._size > length or (ended and self._size < length):
            what = f"the body has {self._size} bytes{'' if ended else ' or more'}, but its length is {length}"
            raise AdapterError(what, reason="invalid_request")

    async def aclose(self) -> None:
        """Close the iterator that `open` returned, if it can be closed."""
        source: Any = self._async or self._sync
        self._async = self._sync = None
        if hasattr(source, "aclose"):
            with trio.move_on_after(CLOSE_SECONDS, shield=True):
                await source.aclose()
        elif hasattr(source, "close"):
            source.close()


@functools.cache
def sent_body(library: ModuleType) -> Any:
    """A request body as the library takes it, made of a `BodyReader`."""

    class Stream(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, reader: BodyReader) -> None:
            self._reader = reader

        def __aiter__(self) -> BodyReader:
            return aiter(self._reader)

    return Stream


async def whole(body: bytes | Body) -> bytes:
    """Read all of a body into memory."""
    reader = BodyReader(body)
    try:
        pieces = [piece async for piece in reader]
    finally:
        await reader.aclose()  # noqa: ASYNC102  (shielded, with a deadline)
    return b"".join(pieces)


# --- what the HTTP library raises ------------------------------------------------------------------------------------


def without_frames(error: BaseException | None, outside: BaseException | None) -> None:
    """Forget the frames of an error and of its causes, whose variables a report of it may show.

    Args:
        outside: What the caller was handling when it called (`sys.exception()`): its own error, which stays as it is.
    """
    while error is not None and error is not outside:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__


def unconnected(error: Exception) -> AdapterError:
    """The error of a connection that failed in a way that the HTTP library does not expect.

    A resolver that answers nothing ends in an error of the code that would have used its answer; that of a host name
    which cannot be encoded comes before anything is asked, and comes again.
    """
    what = (
        f"the server cannot be reached ({type(error).__name__}: {error}): the resolver has no usable address for its "
        "name, or for that of the proxy"
    )
    return AdapterError(what, reason="network_error", retryable=not isinstance(error, UnicodeError))


_Kinds = Mapping[str, tuple[type[Exception], ...]]


@functools.cache
def _failures(library: ModuleType) -> _Kinds:
    """What a library raises, by itself or from the package that it makes connections with."""
    below = core(library.__name__)

    def both(*names: str) -> tuple[type[Exception], ...]:
        return tuple(getattr(module, name) for module in (library, below) for name in names)

    transport = both("TimeoutException", "NetworkError", "ProtocolError", "ProxyError", "UnsupportedProtocol")
    return {
        "url": (library.InvalidURL,),
        "body": (library.DecodingError,),
        "reading": (library.StreamError,),
        "transport": (library.TransportError, *transport),
        "timeout": both("TimeoutException"),
        "request": both("UnsupportedProtocol", "LocalProtocolError"),
        "remote": both("RemoteProtocolError"),
        "proxy": both("ProxyError"),
    }


def is_known(library: ModuleType, error: BaseException) -> bool:
    """Whether the error is one of the library's own about the network, for which `mapped` has words."""
    return isinstance(error, _failures(library)["transport"])


class mapped:  # noqa: N801  (a `with` block, not a thing)
    """The HTTP library's exceptions as `AdapterError`."""

    __slots__ = ("_library", "_outside", "_reading")

    def __init__(self, library: ModuleType, *, reading: bool) -> None:
        self._library = library
        self._reading = reading

    def __enter__(self) -> None:
        self._outside = sys.exception()

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is None:
            return
        kinds = _failures(self._library)
        if isinstance(error, kinds["url"] + kinds["body"] + kinds["reading"] + kinds["transport"]):
            without_frames(error, self._outside)  # the library's have the bytes that it sends, and with them the key
        if isinstance(error, kinds["url"]):
            raise AdapterError(f"the URL is not usable: {error}", reason="invalid_request", retryable=False) from error
        if isinstance(error, kinds["body"]):
            what = f"the body is not in the encoding that its headers name ({error})"
            raise AdapterError(what, reason="malformed_response") from error
        if isinstance(error, kinds["reading"]):  # a hook, or the transport, of the user's client
            what = f"the body of the answer was read or closed before ({error}); await response.aread() keeps it"
            raise AdapterError(what, reason="malformed_response") from error
        if not isinstance(error, kinds["transport"]):
            return
        what = _words_of(error)
        if isinstance(error, kinds["timeout"]):
            raise AdapterError(f"the connection timed out ({what})", reason="timeout") from error
        if isinstance(error, kinds["request"]):
            raise AdapterError(f"the request cannot be sent ({what})", reason="invalid_request") from error
        if self._reading and isinstance(error, kinds["remote"]):
            what = f"the connection ended before the answer did ({what})"
            raise AdapterError(what, reason="stream_truncated") from error
        what = f"the server cannot be reached ({what})"
        raise AdapterError(what, reason="network_error", retryable=not _is_lasting(kinds, error)) from error


_REFUSED_BY_PROXY = re.compile(r"(?!408|425|429)4\d\d\b|.*(username|password|authenticat)", re.IGNORECASE)


def _is_lasting(kinds: _Kinds, error: BaseException | None) -> bool:
    """Whether the same request meets the same trouble: a proxy that refuses it, a certificate that does not verify."""
    if isinstance(error, kinds["proxy"]):
        return _REFUSED_BY_PROXY.match(str(error)) is not None
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return True
        if isinstance(cause, ssl.SSLError) and _REFUSED_CERTIFICATE.search(cause.reason or ""):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


_REFUSED_CERTIFICATE = re.compile(r"ALERT_.*(CERTIFICATE|UNKNOWN_CA)")
"""The server does not take the client's certificate, or wants one."""


def _words_of(error: BaseException | None) -> str:
    """Its type, and what it says, or what its causes say: of TLS, the library's own exceptions say nothing."""
    cause = error
    while cause is not None and not str(cause):
        cause = cause.__cause__ or cause.__context__
    return f"{type(error).__name__}: {cause}" if cause is not None else type(error).__name__
