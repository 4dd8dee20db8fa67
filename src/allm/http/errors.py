"""Turn HTTP errors, redirects and unreadable bodies into `AdapterError`."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from allm.data.errors import AdapterError
from allm.data.json.text import JsonTextError, loads_lenient
from allm.http.keys import Secret
from allm.http.private_url import PrivateUrl
from allm.http.response import HttpResponse, shown_headers, without_frames
from allm.http.retry_after import parse_retry_after

__all__ = ["Classify", "annotate_error", "error_from_response", "malformed", "request_id_of"]

MAX_ERROR_BYTES = 256 * 1024
SNIPPET = 200  # characters of a strange answer that an error message quotes

HTTP_ERROR = 400
_DEPTH = 6  # levels of an answer that are searched for the key; an echo stands near the top

Classify = Callable[[int, Mapping[str, str], Any], AdapterError]
"""`(status, headers, body)` of an error answer; the body is parsed JSON, or text where it is not JSON."""


def malformed(provider: str, what: str, data: bytes | str) -> AdapterError:
    """A `malformed_response` error that quotes the start of what came."""
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    snippet = text[:SNIPPET] + ("..." if len(text) > SNIPPET else "")
    return AdapterError(f"{what}; the data begins with {snippet!r}", reason="malformed_response", provider=provider)


def annotate_error(
    error: AdapterError, provider: str, secrets: Iterable[Secret], outside: BaseException | None = None
) -> AdapterError:
    """The error with the provider's name, and with every secret masked that the provider echoed, in whatever place.

    Args:
        outside: As for `without_frames`.
    """
    error.provider = error.provider or provider
    told: str | None = error.message
    for secret in secrets:
        for name in ("message", "request_id", "provider_code"):
            text = getattr(error, name)
            setattr(error, name, text and secret.redact(text))
        error.headers = {name: secret.redact(value) for name, value in error.headers.items()}
        error.args = (error.message,)
        if _tells(error, secret):
            error.__cause__ = error.__context__ = None
            told = None
        elif _is_in_frames(error, secret, outside):
            told = None
    if error.message != told:
        without_frames(error, outside)  # those that read the answer have it in their variables
    return error


def _tells(error: BaseException, secret: Secret) -> bool:
    """Whether the key is in a cause of the error, which a traceback shows with it."""
    cause = error.__cause__ or error.__context__
    while cause is not None:
        text = str(cause)
        if secret.redact(text) != text:
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _is_in_frames(error: BaseException, secret: Secret, outside: BaseException | None) -> bool:
    """Whether a variable of a frame has the key in it, which came with the answer."""
    one: BaseException | None = error
    while one is not None and one is not outside:
        for frame, _ in traceback.walk_tb(one.__traceback__):
            if any(_has(value, secret.reveal(), _DEPTH) for value in frame.f_locals.values()):
                return True
        one = one.__cause__ or one.__context__
    return False


def _has(value: Any, text: str, depth: int) -> bool:
    if isinstance(value, str):
        return text in value and not isinstance(value, PrivateUrl)
    if isinstance(value, bytes):
        return text.encode() in value
    if isinstance(value, dict):
        value = [*value, *value.values()]
    return isinstance(value, list | tuple) and depth > 0 and any(_has(item, text, depth - 1) for item in value)


_REQUEST_IDS = (
    "x-request-id",  # OpenAI, Groq, xAI, Azure
    "request-id",  # Anthropic
    "apim-request-id",  # Azure
    "x-amzn-requestid",
    "mistral-correlation-id",
    "x-ds-trace-id",  # DeepSeek
    "x-debug-trace-id",  # Cohere
    "x-generation-id",  # OpenRouter
)


def request_id_of(headers: Mapping[str, str]) -> str | None:
    """The provider's id of the request, which its support asks for."""
    return next((headers[name] for name in _REQUEST_IDS if headers.get(name)), None)


async def error_from_response(provider: str, classify: Classify, response: HttpResponse) -> AdapterError:
    """The error that an answer with an error status, or a redirect, stands for."""
    body = await response.read(MAX_ERROR_BYTES, cut=True)
    if response.status < HTTP_ERROR:
        place = response.headers.get("location", "elsewhere")
        return AdapterError(
            f"{provider} answered HTTP {response.status}, a redirect to {place}; redirects are not followed, as "
            "they would carry the key along",
            reason="invalid_request",
            status=response.status,
            headers=shown_headers(response.headers),
        ).advised(": check base_url")
    try:
        content: Any = loads_lenient(body)
    except JsonTextError:
        content = body.decode("utf-8", "replace")
    error = classify(response.status, response.headers, content)
    error.status = response.status
    error.headers = shown_headers(response.headers)
    error.request_id = error.request_id or request_id_of(response.headers)
    if error.retry_after is None:
        error.retry_after = parse_retry_after(response.headers)
    # The one header that is made for this decision wins over every other sign (Anthropic, OpenAI).
    wish = response.headers.get("x-should-retry")
    if wish in {"true", "false"}:
        error.retryable = wish == "true"
    return error
