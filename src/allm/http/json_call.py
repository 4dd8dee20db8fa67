"""One provider call that answers in one piece: post, look at the status, read. The same for every vendor.

What streams is `allm.http.stream_call`'s; this is for images, embeddings, moderation and speech.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import attrs

from allm.data.errors import AdapterError
from allm.data.json.text import JsonTextError, loads
from allm.data.secret import Secret
from allm.http.errors import HTTP_REDIRECT, Classify, annotate_error, error_from_response, malformed, request_id_of
from allm.http.response import HttpResponse
from allm.http.transport import open_response

__all__ = ["MAX_ANSWER_BYTES", "HttpPost", "JsonResponse", "ask", "open_answer", "post"]

T = TypeVar("T")

ERROR_STATUS = range(400, 600)
MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""Largest answer, in bytes: ten images of 4096 x 4096 pixels in base64 have about 200 MB."""


@attrs.frozen(kw_only=True)
class HttpPost:
    """A prepared call.

    Attributes:
        url: Without secrets.
        headers: Hidden from `repr`, as one of them carries the key.
        body: JSON or multipart bytes, whichever the header `content-type` says.
    """

    provider: str
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    body: bytes = attrs.field(repr=False)
    classify: Classify = attrs.field(repr=False)
    secret: Secret | None = None
    client: Any = attrs.field(default=None, repr=False)


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


async def post(call: HttpPost) -> JsonResponse:
    """Make the call and read its JSON answer.

    Raises:
        AdapterError: Whatever went wrong, with the provider's name filled in and the key masked.
    """
    async with open_answer(call) as response:
        body = await response.read(MAX_ANSWER_BYTES + 1)
        if len(body) > MAX_ANSWER_BYTES:
            raise malformed(call.provider, f"the answer is longer than {MAX_ANSWER_BYTES} bytes", body[:1000])
        try:
            document = loads(body)
        except JsonTextError as error:
            kind = response.headers.get("content-type", "no content type")
            raise malformed(call.provider, f"expected JSON, got {kind} ({error})", body) from error
        if not isinstance(document, dict):
            raise malformed(call.provider, "expected a JSON object", body)
        return JsonResponse(
            document=document,
            status=response.status,
            request_id=request_id_of(response.headers),
            headers=response.headers,
        )


async def ask(call: HttpPost, decode: Callable[[JsonResponse], T]) -> T:
    """Make the call and decode its JSON answer.

    Raises:
        AdapterError: As `post`; what `decode` raises gets the provider's name and request id as well. Where the answer
            is an error under a good status, as gateways send it, that is what is raised.
    """
    answer = await post(call)
    try:
        return decode(answer)
    except AdapterError as error:
        said = _said(call, answer) or error
        said.request_id = said.request_id or answer.request_id
        raise annotate_error(said, call) from error.__cause__


def _said(call: HttpPost, answer: JsonResponse) -> AdapterError | None:
    content = answer.document.get("error")
    if not content or not isinstance(content, dict | str):
        return None
    code: Any = cast("dict[str, Any]", content).get("code") if isinstance(content, dict) else None
    status = code if type(code) is int and code in ERROR_STATUS else None
    error = call.classify(status or answer.status, answer.headers, answer.document)
    error.status = status
    return error


@asynccontextmanager
async def open_answer(call: HttpPost) -> AsyncGenerator[HttpResponse]:
    """Make the call and yield its answer, once that has a good status: for answers that are no JSON.

    Raises:
        AdapterError: As `post`.
    """
    try:
        async with open_response(
            "POST", call.url, headers=call.headers, content=call.body, client=call.client
        ) as response:
            if response.status >= HTTP_REDIRECT:
                raise await error_from_response(call, response)
            yield response
    except AdapterError as error:
        raise annotate_error(error, call) from error.__cause__
