"""One HTTP call to a provider: what is sent, checked, and the one place that opens its response.

`open_call` sends the key, looks at the status and turns every failure into an `AdapterError` that names the provider
and hides the key. How the body of a good answer is read is up to `stream_call` and `json_call`.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, final

import attrs

from allm.data.errors import AdapterError, EngineError, Problem, ValidationError
from allm.data.json.text import dumps
from allm.http.errors import Classify, annotate_error, error_from_response, request_id_of
from allm.http.keys import Credential, KeyFunction, KeySource, Secret
from allm.http.response import Body, HttpResponse
from allm.http.transport import open_response

__all__ = [
    "HttpCall",
    "OpenCall",
    "json_body",
    "key_of",
    "open_call",
    "own_headers",
]

REDIRECT = 300
UNAUTHORIZED = 401


@attrs.frozen(kw_only=True)
class HttpCall:
    """A prepared call. It may be made several times, as retries do.

    Attributes:
        provider: The provider's short name, for errors.
        url: Without secrets.
        headers: In lower case, without the key.
        body: As the header `content-type` says; `Body` for what is read while it is sent.
        classify: Turns an error answer into an `AdapterError`.
        credential: The key, or None where none is sent.
        client: The user's HTTP client; None: the shared one.
        method: Of HTTP.
    """

    provider: str
    url: str
    # Hidden, as users put keys of their own into headers.
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    body: bytes | Body = attrs.field(default=b"", repr=False)
    classify: Classify = attrs.field(repr=False)
    credential: Credential | None = None
    client: Any = attrs.field(default=None, repr=False)
    method: str = "POST"


@final
@attrs.define(eq=False)
class OpenCall:
    """A call that was sent, and its response.

    Attributes:
        response: With a good status, its body unread.
    """

    call: HttpCall
    response: HttpResponse = attrs.field(init=False)
    _sent: list[Secret] = attrs.field(factory=list[Secret], init=False)

    @property
    def request_id(self) -> str | None:
        """The provider's id of the request."""
        return request_id_of(self.response.headers)

    def annotate(self, error: AdapterError) -> AdapterError:
        """The error with the provider's name and the request's id, and without the keys that were sent."""
        if hasattr(self, "response"):
            error.request_id = error.request_id or self.request_id
        return annotate_error(error, self.call.provider, self._sent)

    async def _open(self, stack: AsyncExitStack) -> None:
        call, key = self.call, await self._key()
        await self._send(stack, key)
        if self.response.status == UNAUTHORIZED and key is not None:
            error = await error_from_response(call.provider, call.classify, self.response)
            await stack.aclose()
            fresh = await self._key(rejected=key)
            if fresh == key:
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
    """Make the call and yield it, once its response is there with a good status; closed on every way out.

    A key that a function gave is asked for once more after a 401, and the request repeated if the key is another one.

    Raises:
        AdapterError: Whatever went wrong, also inside the block, with the provider's name and without the key.
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
    """Whether a header can carry the text as it is."""
    return bool(_HEADER_VALUE.fullmatch(text)) and text == text.strip()


def key_of(value: str | Secret | KeySource | KeyFunction | None) -> Secret | KeySource | None:
    """The key of an adapter as it is kept: one that is a text as a `Secret`, a function as a `KeySource`.

    Raises:
        EngineError: `invalid_key`: neither a text nor a function.
    """
    if value is None or isinstance(value, Secret | KeySource):
        return value
    if isinstance(value, str):
        return Secret(value)
    if callable(value):
        return KeySource(value)
    what = f"api_key is {type(value).__name__}; expected str, or a function without arguments that returns one"
    raise EngineError(what, reason="invalid_key")


def own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The user's headers with their names in lower case.

    Raises:
        EngineError: `invalid_engine`: not a mapping of texts, or one that cannot be sent. The
            message shows no value, which may be a key.
    """
    if not isinstance(headers, Mapping):
        what = f"headers is {type(headers).__name__}; expected a mapping of names to texts"
        raise EngineError(what, reason="invalid_engine")
    for name, value in headers.items():
        if not (isinstance(name, str) and _HEADER_NAME.fullmatch(name)):
            raise EngineError(f"headers: {name!r:.60} cannot be the name of a header", reason="invalid_engine")
        if not isinstance(value, str):
            what = f"headers[{name!r}] is {type(value).__name__}; expected str"
            raise EngineError(what, reason="invalid_engine")
        if not is_header_value(value.strip(" \t")):
            what = f"headers[{name!r}] has a line break or a character outside ASCII, which a header cannot carry"
            raise EngineError(what, reason="invalid_engine")
    # White space around a value is no part of it (RFC 9110, 5.5), and refused where it is sent.
    return {name.lower(): value.strip(" \t") for name, value in headers.items()}


def json_body(body: Any) -> bytes:
    """The body of a request.

    Raises:
        ValidationError: Something in it has no JSON form, or holds itself.
    """
    try:
        return dumps(body)
    except (TypeError, ValueError, RecursionError) as error:
        sentence = f"the request has no JSON form ({error}): see its options, the schemas of its tools and its format"
        raise ValidationError([Problem((), "not_json", sentence)], reason="invalid_request") from error
