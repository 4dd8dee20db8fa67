"""One provider call whose response is one JSON document: images, embeddings, moderation, transcription."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import AdapterError
from allm.data.json.text import JsonTextError, loads_lenient
from allm.http.call import HttpCall, OpenCall, open_call
from allm.http.errors import malformed

__all__ = ["JsonResponse", "post_json", "without_body"]

T = TypeVar("T")

ERROR_STATUS = range(400, 600)
MAX_RESPONSE_BYTES = 256 * 1024 * 1024
"""Largest response, in bytes: ten images of 4096 x 4096 pixels take about 200 MB in base64."""


@frozen(kw_only=True)
class JsonResponse:
    """A successful JSON response.

    Attributes:
        document: The parsed JSON object.
        status: HTTP status, below 300.
        request_id: The provider's id of the request.
        headers: HTTP headers, names in lower case.
    """

    document: dict[str, Any] = attrs.field(repr=False)
    status: int
    request_id: str | None
    headers: Mapping[str, str] = attrs.field(hash=False, repr=False)


def without_body(call: HttpCall, method: str = "GET") -> HttpCall:
    """The call without a body, as `GET` and `DELETE` have none."""
    headers = {name: value for name, value in call.headers.items() if name != "content-type"}
    return attrs.evolve(call, method=method, body=b"", headers=headers)


async def post_json(call: HttpCall, decode: Callable[[JsonResponse], T]) -> T:
    """Make the call and decode its JSON response.

    Args:
        call: The call that `prepare` built.
        decode: A pure function; it may raise an `AdapterError`, which gets the provider's name and the request's id. If
            the response is an error report under a successful status, as some gateways send it, that error is raised.

    Raises:
        AdapterError: The call failed; with the provider's name, and the key masked.
    """
    async with open_call(call) as opened:
        response = await _read(opened)
        try:
            return decode(response)
        except AdapterError as error:
            # Only after decoding has failed, so that a usable response is not refused for an `error` field in it.
            raise _reported_error(call, response) or error from error.__cause__


async def _read(opened: OpenCall) -> JsonResponse:
    response, provider = opened.response, opened.call.provider
    body = await response.read(MAX_RESPONSE_BYTES + 1)
    if len(body) > MAX_RESPONSE_BYTES:
        raise malformed(provider, f"the response is longer than {MAX_RESPONSE_BYTES} bytes", body[:1000])
    try:
        document = loads_lenient(body)
    except JsonTextError as error:
        kind = response.headers.get("content-type", "no content type")
        raise malformed(provider, f"expected JSON, got {kind} ({error})", body) from error
    if not isinstance(document, dict):
        raise malformed(provider, "expected a JSON object", body)
    return JsonResponse(document=document, status=response.status, request_id=opened.request_id, headers=opened.headers)


def _reported_error(call: HttpCall, response: JsonResponse) -> AdapterError | None:
    """Return the error that the response reports despite its successful status, if any."""
    content = response.document.get("error")
    if not content or not isinstance(content, dict | str):
        return None
    code: Any = cast("dict[str, Any]", content).get("code") if isinstance(content, dict) else None
    status = code if type(code) is int and code in ERROR_STATUS else None
    error = call.classify(status or response.status, response.headers, response.document)
    error.status = status  # a status of 200 would say nothing about the failure
    return error
