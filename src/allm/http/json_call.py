"""One provider call that answers with one JSON document: images, embeddings, moderation, transcription."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import attrs

from allm.data.errors import AdapterError
from allm.data.json.text import JsonTextError, loads_lenient
from allm.http.call import HttpCall, OpenCall, open_call
from allm.http.errors import malformed

__all__ = ["JsonResponse", "post_json"]

T = TypeVar("T")

ERROR_STATUS = range(400, 600)
MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Largest answer, in bytes: ten images of 4096 x 4096 pixels in base64 have about 200 MB."""


@attrs.frozen(kw_only=True)
class JsonResponse:
    """A JSON answer.

    Attributes:
        document: The parsed JSON object.
        status: Of HTTP, a good one.
        request_id: The provider's id of the request.
    """

    document: dict[str, Any]
    status: int
    request_id: str | None
    headers: Mapping[str, str] = attrs.field(hash=False)


async def post_json(call: HttpCall, decode: Callable[[JsonResponse], T]) -> T:
    """Make the call and decode its JSON answer.

    Args:
        call: What `prepare` built.
        decode: Pure; may raise an `AdapterError`, which gets the provider's name and the request's id. Where the answer
            is an error under a good status, as gateways send it, that error is raised instead.

    Raises:
        AdapterError: Whatever went wrong, with the provider's name filled in and the key masked.
    """
    async with open_call(call) as opened:
        answer = await _read(opened)
        try:
            return decode(answer)
        except AdapterError as error:
            raise _said(call, answer) or error from error.__cause__


async def _read(opened: OpenCall) -> JsonResponse:
    response, provider = opened.response, opened.call.provider
    body = await response.read(MAX_ANSWER_BYTES + 1)
    if len(body) > MAX_ANSWER_BYTES:
        raise malformed(provider, f"the answer is longer than {MAX_ANSWER_BYTES} bytes", body[:1000])
    try:
        document = loads_lenient(body)
    except JsonTextError as error:
        kind = response.headers.get("content-type", "no content type")
        raise malformed(provider, f"expected JSON, got {kind} ({error})", body) from error
    if not isinstance(document, dict):
        raise malformed(provider, "expected a JSON object", body)
    return JsonResponse(
        document=document, status=response.status, request_id=opened.request_id, headers=response.headers
    )


def _said(call: HttpCall, answer: JsonResponse) -> AdapterError | None:
    """The error that the answer holds under its good status, if there is one."""
    content = answer.document.get("error")
    if not content or not isinstance(content, dict | str):
        return None
    code: Any = cast("dict[str, Any]", content).get("code") if isinstance(content, dict) else None
    status = code if type(code) is int and code in ERROR_STATUS else None
    error = call.classify(status or answer.status, answer.headers, answer.document)
    error.status = status
    return error
