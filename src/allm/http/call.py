"""One HTTP call to a provider: its URL, the checked request, and the one place that sends it and opens its response.

`open_call` adds the key, checks the status and turns every failure into an `AdapterError` that names the provider and
masks the key. `stream_call` and `json_call` read the body of a successful response.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Any, cast, final
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

import attrs
import trio

from allm.data.attrs_classes import define, frozen
from allm.data.errors import AdapterError, EngineError, Problem, ValidationError
from allm.data.json.text import dumps
from allm.http.errors import Classify, annotate_error, error_from_response, request_id_of
from allm.http.headers import HeaderValue, is_secret, sealed_headers, secrets_in
from allm.http.inline_base64 import streamed
from allm.http.keys import Credential, KeyFunction, KeySource, Secret
from allm.http.private_url import PrivateUrl, as_url, secrets_in_url
from allm.http.response import Body, HttpResponse, shown_headers
from allm.http.transport import open_response

__all__ = [
    "HttpCall",
    "OpenCall",
    "answer_headers",
    "as_key",
    "drain",
    "join_url",
    "json_body",
    "json_content",
    "no_address",
    "open_call",
    "parts_of",
    "with_query",
]

REDIRECT = 300
"""From here on a status is a failure: no provider's API redirects, and a redirect would take the key elsewhere."""
UNAUTHORIZED = 401

answer_headers: ContextVar[Callable[[Mapping[str, str]], None] | None] = ContextVar("allm_answer_headers", default=None)
"""Is told the headers of each answer that arrives in one context, of errors too: a limiter learns from them."""


def _has_secrets(headers: Mapping[str, HeaderValue]) -> bool:
    return any(map(is_secret, headers))


def _sealed(headers: Mapping[str, str | Secret]) -> Mapping[str, str | Secret]:
    return sealed_headers(headers) if _has_secrets(headers) else dict(headers)


def _private(url: str) -> PrivateUrl:
    return url if type(url) is PrivateUrl else PrivateUrl(url)


@frozen(kw_only=True)
class HttpCall:
    """A prepared call, which may be made several times: each attempt sends it anew.

    Attributes:
        provider: The provider's short name, for errors.
        url: The complete URL; its `repr` hides what may be secret in it.
        headers: Names in lower case, without the key; a value is a `Secret` where its name says so.
        body: In the format that the header `content-type` names; a `Body` is read while it is sent.
        classify: Turns an error response into an `AdapterError`.
        credential: The key; None to send none.
        sign: Returns headers that are made from the whole request, such as a signature, just before each attempt.
        client: The user's HTTP client, or the `Route` of a shared one; None: its route is found when it is sent.
        method: The HTTP method.
    """

    provider: str
    url: str = attrs.field(converter=_private)
    # Hidden from the repr, because users put keys of their own into headers.
    headers: Mapping[str, str | Secret] = attrs.field(repr=False, hash=False, converter=_sealed)
    body: bytes | Body = attrs.field(default=b"", repr=False)
    classify: Classify = attrs.field(repr=False)
    credential: Credential | None = None
    sign: Callable[[HttpCall], Awaitable[Mapping[str, Secret]]] | None = attrs.field(default=None, repr=False)
    client: Any = attrs.field(default=None, repr=False)
    method: str = "POST"


@final
@define(eq=False)
class OpenCall:
    """A call that has been sent, and its response.

    Attributes:
        response: A successful response whose body has not been read.
    """

    call: HttpCall
    response: HttpResponse = attrs.field(init=False)
    _sent: list[Secret] = attrs.field(init=False)  # every secret sent, to be masked in errors

    _outside: BaseException | None = attrs.field(factory=sys.exception, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        # Most calls have no secrets but the key, which is added when it is sent.
        call = self.call
        self._sent = secrets_in(call.headers) if _has_secrets(call.headers) else []
        if "?" in call.url and not call.url.endswith("?alt=sse"):  # which Gemini's adapter adds
            self._sent += secrets_in_url(call.url)

    @property
    def request_id(self) -> str | None:
        """The provider's id of the request."""
        return request_id_of(self.headers)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response that may be shown to the user."""
        return shown_headers(self.response.headers, self._sent)

    def annotate(self, error: AdapterError) -> AdapterError:
        """Add the provider's name and the request's id to `error`, and mask the keys that were sent."""
        if hasattr(self, "response"):  # missing where the connection failed
            error.request_id = error.request_id or self.request_id
            error.headers = error.headers or self.headers
        error.host = error.host or urlsplit(self.call.url).netloc.rpartition("@")[2]  # without user and password
        return annotate_error(error, self.call.provider, self._sent, self._outside)

    async def _key(self, rejected: Secret | None = None) -> Secret | None:
        credential = self.call.credential
        if credential is None:
            return None
        key = await credential.key(rejected)
        if key not in self._sent:
            self._sent.append(key)
        return key

    async def _signed(self) -> Mapping[str, HeaderValue]:
        if self.call.sign is None:
            return {}
        headers = await self.call.sign(self.call)
        self._sent += headers.values()
        return headers

    def _send(self, key: Secret | None, signed: Mapping[str, HeaderValue]) -> AbstractAsyncContextManager[HttpResponse]:
        call = self.call
        headers: dict[str, HeaderValue] = {**call.headers, **signed}
        if call.credential is not None and key is not None:
            headers |= call.credential.in_header(key)
        return open_response(call.method, call.url, headers=headers, content=call.body, client=call.client)

    async def _check(self) -> None:
        if self.response.status >= REDIRECT:
            raise await error_from_response(self.call.provider, self.call.classify, self.response)


@final
class open_call:  # noqa: N801  (a `with` block, not a thing)
    """Make the call; `async with open_call(call) as opened` gives its successful response, and closes it at the end.

    After a 401, a key that comes from a function is requested once more, and the request repeated if the key changed.

    Raises:
        AdapterError: The call failed, before or inside the block; with the provider's name, and the key masked.
    """

    __slots__ = ("_opened", "_sent")

    def __init__(self, call: HttpCall) -> None:
        self._opened = OpenCall(call)
        self._sent: Any = None

    async def __aenter__(self) -> OpenCall:
        opened = self._opened
        try:
            key = await opened._key()
            refused = await self._send(key, may_be_refused=key is not None)
            if refused is not None:
                # The connection is free again before the key function runs, which may take long.
                fresh = await opened._key(rejected=key)
                if fresh == key:  # the same key would be refused again
                    raise refused
                await self._send(fresh)
        except AdapterError as error:
            raise opened.annotate(error) from error.__cause__
        return opened

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        opened = self._opened
        try:
            await self._sent.__aexit__(kind, error, traceback)  # noqa: ASYNC102  (shielded, with a deadline)
        except AdapterError as raised:
            raise opened.annotate(raised) from raised.__cause__
        if isinstance(error, AdapterError):
            opened.annotate(error).__suppress_context__ = True

    async def _send(self, key: Secret | None, *, may_be_refused: bool = False) -> AdapterError | None:
        """Send the request; returns the error of a key that was refused."""
        opened = self._opened
        sent = opened._send(key, await opened._signed())
        opened.response = await sent.__aenter__()
        if (told := answer_headers.get()) is not None:
            told(opened.headers)
        refused = None
        try:
            if may_be_refused and opened.response.status == UNAUTHORIZED:
                refused = await error_from_response(opened.call.provider, opened.call.classify, opened.response)
            else:
                await opened._check()
        except BaseException:
            await sent.__aexit__(*sys.exc_info())  # noqa: ASYNC102  (shielded, with a deadline)
            raise
        if refused is None:
            self._sent = sent
        else:
            await sent.__aexit__(None, None, None)
        return refused


def as_key(value: str | Secret | KeySource | KeyFunction | None) -> Secret | KeySource | None:
    """Convert an adapter's `api_key`: a string to a `Secret`, a function to a `KeySource`.

    Raises:
        EngineError: `invalid_key`: neither a string nor a function.
    """
    if value is None or isinstance(value, Secret | KeySource):
        return value
    if isinstance(value, str):
        return Secret(value)
    if callable(value):
        return KeySource(value)
    what = f"api_key is {type(value).__name__}; expected str, or a function without arguments that returns one"
    raise EngineError(what, reason="invalid_key")


def json_body(body: Any) -> bytes:
    """Encode the body of a request as JSON.

    Raises:
        ValidationError: A value in it has no JSON form or contains itself.
    """
    content = json_content(body)
    return content if isinstance(content, bytes) else b"".join(cast("Iterable[bytes]", content.open()))


def json_content(body: Any) -> bytes | Body:
    """Encode the body of a request as JSON; one with large images in it is encoded while it is sent.

    Raises:
        ValidationError: A value in it has no JSON form or contains itself.
    """
    try:
        try:
            return dumps(body)
        except TypeError:
            return streamed(body)
    except (TypeError, ValueError, RecursionError) as error:
        sentence = f"the request has no JSON form ({error}): check its options, tool schemas and response_format"
        raise ValidationError([Problem((), "not_json", sentence)], reason="invalid_request") from error


# --- URLs ------------------------------------------------------------------------------------------------------------

_NOT_IN_A_HOST = frozenset(' "<>\\^`{|}')


def join_url(base_url: str, path: str) -> str:
    """Return `path` under `base_url`; a query string of the base (Azure's `?api-version=`) is kept.

    Raises:
        EngineError: `invalid_base_url`: not an http(s) URL with a host.
    """
    return _joined(parts_of(base_url), path)


@functools.lru_cache(maxsize=256)  # each call asks, for one of few addresses
def _joined(parts: SplitResult, path: str) -> PrivateUrl:
    return PrivateUrl(urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, parts.query, "")))


def with_query(url: str, **fields: Any) -> str:
    """Return `url` with fields added to its query, those that are None left out."""
    added = urlencode({name: value for name, value in fields.items() if value is not None})
    return PrivateUrl(f"{url}{'&' if '?' in url else '?'}{added}" if added else url)


def parts_of(base_url: str) -> SplitResult:
    """Return the parts of a base URL.

    Raises:
        EngineError: `invalid_base_url`: not an http(s) URL with a host.
    """
    parts = _split(base_url) if isinstance(base_url, str) else None
    if parts is None:
        raise EngineError(
            f"the base URL {as_url(base_url)!r:.100} is not usable: expected an http or https URL with a host, such as "
            "https://api.openai.com/v1",
            reason="invalid_base_url",
        )
    return parts


def no_address(provider: str, variable: str | None) -> EngineError:
    """The error for a provider whose address has to be given, such as in an environment variable."""
    known = () if variable is None else (variable,)
    what = f"{provider} has no address of its own"
    error = EngineError(what, reason="invalid_base_url", provider=provider, variables=known)
    return error.advised(": pass base_url=")


@functools.lru_cache(maxsize=256)  # every call asks, for one of few addresses
def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname
        usable = parts.scheme in {"http", "https"} and host and parts.port != 0
        usable = usable and not set(host or "") & _NOT_IN_A_HOST
        if usable and host and host.isascii():
            host.encode("idna")  # as the socket does; it fails for an empty or overlong label
    except ValueError:
        return None
    return parts if usable else None


async def drain(chunks: AsyncIterator[bytes], seconds: float) -> None:
    """Read to the end of the HTTP body; the response is complete, so failures no longer matter."""
    with trio.move_on_after(seconds):
        try:
            async for _ in chunks:
                pass
        except Exception:  # noqa: S110  (the connection is then closed instead of reused)
            pass
