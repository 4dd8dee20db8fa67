"""One HTTP call to a provider: its URL, the checked request, and the one place that sends it and opens its response.

`open_call` adds the key, checks the status and turns every failure into an `AdapterError` that names the provider and
masks the key. `stream_call` and `json_call` read the body of a successful response.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, final
from urllib.parse import SplitResult, urlsplit, urlunsplit

import attrs

from allm.data.errors import AdapterError, EngineError, Problem, ValidationError
from allm.data.json.text import dumps
from allm.http.errors import Classify, annotate_error, error_from_response, request_id_of
from allm.http.keys import Credential, KeyFunction, KeySource, Secret
from allm.http.response import Body, HttpResponse, shown_headers
from allm.http.transport import open_response

__all__ = [
    "HttpCall",
    "OpenCall",
    "as_key",
    "join_url",
    "json_body",
    "lower_headers",
    "open_call",
    "parts_of",
]

REDIRECT = 300
"""From here on a status is a failure: no provider's API redirects, and a redirect would take the key elsewhere."""
UNAUTHORIZED = 401


@attrs.frozen(kw_only=True)
class HttpCall:
    """A prepared call, which may be made several times: each attempt sends it anew.

    Attributes:
        provider: The provider's short name, for errors.
        url: The complete URL, without secrets.
        headers: Names in lower case, without the key.
        body: In the format that the header `content-type` names; a `Body` is read while it is sent.
        classify: Turns an error response into an `AdapterError`.
        credential: The key; None to send none.
        client: The user's HTTP client; None: the shared one.
        method: The HTTP method.
    """

    provider: str
    url: str
    # Hidden from the repr, because users put keys of their own into headers.
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    body: bytes | Body = attrs.field(default=b"", repr=False)
    classify: Classify = attrs.field(repr=False)
    credential: Credential | None = None
    client: Any = attrs.field(default=None, repr=False)
    method: str = "POST"


@final
@attrs.define(eq=False)
class OpenCall:
    """A call that has been sent, and its response.

    Attributes:
        response: A successful response whose body has not been read.
    """

    call: HttpCall
    response: HttpResponse = attrs.field(init=False)
    _sent: list[Secret] = attrs.field(factory=list[Secret], init=False)  # every key sent, to be masked in errors

    @property
    def request_id(self) -> str | None:
        """The provider's id of the request."""
        return request_id_of(self.response.headers)

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response that may be shown to the user."""
        return shown_headers(self.response.headers, self._sent)

    def annotate(self, error: AdapterError) -> AdapterError:
        """Add the provider's name and the request's id to `error`, and mask the keys that were sent."""
        if hasattr(self, "response"):  # missing where the connection failed
            error.request_id = error.request_id or self.request_id
            error.headers = error.headers or self.headers
        return annotate_error(error, self.call.provider, self._sent)

    async def _open(self, stack: AsyncExitStack) -> None:
        call, key = self.call, await self._key()
        await self._send(stack, key)
        if self.response.status == UNAUTHORIZED and key is not None:
            error = await error_from_response(call.provider, call.classify, self.response)
            await stack.aclose()  # frees the connection before the key function runs, which may take long
            fresh = await self._key(rejected=key)
            if fresh == key:  # the same key would be refused again
                raise error
            await self._send(stack, fresh)
        if self.response.status >= REDIRECT:
            raise await error_from_response(call.provider, call.classify, self.response)

    async def _key(self, rejected: Secret | None = None) -> Secret | None:
        credential = self.call.credential
        if credential is None:
            return None
        key = await credential.key(rejected)
        if key not in self._sent:
            self._sent.append(key)
        return key

    async def _send(self, stack: AsyncExitStack, key: Secret | None) -> None:
        call = self.call
        headers = dict(call.headers)
        if call.credential is not None and key is not None:
            headers |= call.credential.in_header(key)
        self.response = await stack.enter_async_context(
            open_response(call.method, call.url, headers=headers, content=call.body, client=call.client)
        )


@asynccontextmanager
async def open_call(call: HttpCall) -> AsyncGenerator[OpenCall]:
    """Make the call and yield it with its successful response, which is closed on every way out.

    After a 401, a key that comes from a function is requested once more, and the request repeated if the key changed.

    Raises:
        AdapterError: The call failed, before or inside the block; with the provider's name, and the key masked.
    """
    opened = OpenCall(call)
    try:
        async with AsyncExitStack() as stack:
            await opened._open(stack)
            yield opened
    except AdapterError as error:
        raise opened.annotate(error) from error.__cause__


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: a token
_HEADER_VALUE = re.compile(r"[\t -~]*")


def is_header_value(text: str) -> bool:
    """Whether a header can carry the text unchanged."""
    return bool(_HEADER_VALUE.fullmatch(text)) and text == text.strip()


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


def lower_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Check the user's headers and return them with their names in lower case.

    Raises:
        EngineError: `invalid_engine`: not a mapping of strings, or a header that cannot be sent. The message never
            shows a value, since it may be a key.
    """
    if not isinstance(headers, Mapping):
        what = f"headers is {type(headers).__name__}; expected a mapping of names to strings"
        raise EngineError(what, reason="invalid_engine")
    for name, value in headers.items():
        if not (isinstance(name, str) and _HEADER_NAME.fullmatch(name)):
            raise EngineError(f"headers: {name!r:.60} is not a valid header name", reason="invalid_engine")
        if not isinstance(value, str):
            what = f"headers[{name!r}] is {type(value).__name__}; expected str"
            raise EngineError(what, reason="invalid_engine")
        if not is_header_value(value.strip(" \t")):
            what = f"headers[{name!r}] has a line break or a character outside ASCII, which a header cannot carry"
            raise EngineError(what, reason="invalid_engine")
    # White space around a value is not part of it (RFC 9110, 5.5), and the HTTP library refuses it.
    return {name.lower(): value.strip(" \t") for name, value in headers.items()}


def json_body(body: Any) -> bytes:
    """Encode the body of a request as JSON.

    Raises:
        ValidationError: A value in it has no JSON form or contains itself.
    """
    try:
        return dumps(body)
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
    parts = parts_of(base_url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, parts.query, ""))


def parts_of(base_url: str) -> SplitResult:
    """Return the parts of a base URL.

    Raises:
        EngineError: `invalid_base_url`: not an http(s) URL with a host.
    """
    parts = _split(base_url)
    if parts is None:
        raise EngineError(
            f"base_url {base_url!r} is not usable: expected an http or https URL with a host, such as "
            "https://api.openai.com/v1",
            reason="invalid_base_url",
        )
    return parts


def _split(url: Any) -> SplitResult | None:
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        usable = usable and not set(parts.hostname) & _NOT_IN_A_HOST
        if usable and parts.hostname.isascii():
            parts.hostname.encode("idna")  # as the socket does; it fails for an empty or overlong label
    except (ValueError, AttributeError):
        return None
    return parts if usable else None
