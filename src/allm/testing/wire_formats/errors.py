"""Error responses in each vendor's words and envelope.

Sources: https://platform.openai.com/docs/guides/error-codes, https://docs.claude.com/en/api/errors,
https://ai.google.dev/gemini-api/docs/troubleshooting, and recorded responses where they differ from the documentation
(Gemini's `details`, Anthropic's `x-should-retry`, OpenAI's `retry-after-ms`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Literal, get_args

import attrs

from allm.data.errors import AllmError

__all__ = ["EncodedError", "Provider", "VendorError", "by_status", "check_provider", "encode_error", "vendor_error"]

Provider = Literal["openai", "openai_responses", "anthropic", "gemini", "bedrock", "cohere"]


def check_provider(provider: str) -> None:
    """Refuse a name that has no wire format here.

    Raises:
        ValueError: It is another one.
    """
    if provider not in get_args(Provider):
        raise ValueError(f"there is no wire format of {provider!r}; expected one of: {', '.join(get_args(Provider))}")


RETRYABLE = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})
REQUEST_ID = "req_scripted0000000000000000"


@attrs.frozen
class VendorError:
    """One kind of failure in a vendor's terms.

    Attributes:
        type: OpenAI and Anthropic `error.type`; Gemini `error.status`.
        code: OpenAI `error.code`; Gemini `details[].reason`.
        worded: Only the message distinguishes this failure from others, so the message must be kept.
    """

    status: int
    type: str
    code: str | None
    message: str
    worded: bool = False


# By the library's reason. For a status without a reason, the first entry with that status is used.
OPENAI = {
    "rate_limited": VendorError(429, "requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    "quota_exhausted": VendorError(
        429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota, please check your plan."
    ),
    "invalid_request": VendorError(400, "invalid_request_error", None, "Invalid request."),
    "context_length_exceeded": VendorError(
        400, "invalid_request_error", "context_length_exceeded", "This model's maximum context length is exceeded."
    ),
    "content_filter": VendorError(
        400, "invalid_request_error", "content_policy_violation", "Your request was rejected by the safety system."
    ),
    "authentication_failed": VendorError(
        401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."
    ),
    "not_found": VendorError(404, "invalid_request_error", "model_not_found", "The model does not exist."),
    "provider_unavailable": VendorError(500, "server_error", "server_error", "The server had an error."),
    "overloaded": VendorError(503, "server_error", "server_is_overloaded", "The server is currently overloaded."),
}
ANTHROPIC = {
    "rate_limited": VendorError(429, "rate_limit_error", None, "This request would exceed your rate limit."),
    "invalid_request": VendorError(400, "invalid_request_error", None, "Invalid request."),
    "context_length_exceeded": VendorError(
        400, "invalid_request_error", None, "prompt is too long: 250000 tokens > 200000 maximum", worded=True
    ),
    "quota_exhausted": VendorError(
        400, "invalid_request_error", None, "Your credit balance is too low to access the Anthropic API.", worded=True
    ),
    "authentication_failed": VendorError(401, "authentication_error", None, "invalid x-api-key"),
    "not_found": VendorError(404, "not_found_error", None, "model: not found"),
    "provider_unavailable": VendorError(500, "api_error", None, "Internal server error"),
    "overloaded": VendorError(529, "overloaded_error", None, "Overloaded"),
}
GEMINI = {
    "rate_limited": VendorError(429, "RESOURCE_EXHAUSTED", None, "You exceeded your current quota."),
    "invalid_request": VendorError(400, "INVALID_ARGUMENT", None, "Request contains an invalid argument."),
    "context_length_exceeded": VendorError(
        400,
        "INVALID_ARGUMENT",
        None,
        "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).",
        worded=True,
    ),
    "authentication_failed": VendorError(
        400, "INVALID_ARGUMENT", "API_KEY_INVALID", "API key not valid. Please pass a valid API key."
    ),
    "not_found": VendorError(404, "NOT_FOUND", None, "models/unknown is not found for API version v1beta."),
    "provider_unavailable": VendorError(500, "INTERNAL", None, "An internal error has occurred."),
    "overloaded": VendorError(
        503, "UNAVAILABLE", None, "The model is overloaded. Please try again later.", worded=True
    ),
}
BEDROCK = {
    "rate_limited": VendorError(429, "ThrottlingException", None, "Too many requests, please wait."),
    "invalid_request": VendorError(400, "ValidationException", None, "The provided request is not valid."),
    "context_length_exceeded": VendorError(
        400,
        "ValidationException",
        None,
        "Input Tokens Exceeded: Number of input tokens exceeds maximum length.",
        worded=True,
    ),
    "authentication_failed": VendorError(
        403, "UnrecognizedClientException", None, "The security token included in the request is invalid."
    ),
    "quota_exhausted": VendorError(400, "ServiceQuotaExceededException", None, "You have reached a quota."),
    "not_found": VendorError(404, "ResourceNotFoundException", None, "The model was not found."),
    "provider_unavailable": VendorError(500, "InternalServerException", None, "An internal server error occurred."),
    "overloaded": VendorError(503, "ServiceUnavailableException", None, "The service is currently not available."),
}
COHERE = {
    "rate_limited": VendorError(429, "", None, "You are using a trial key, which is limited to 20 calls a minute."),
    "invalid_request": VendorError(400, "", None, "invalid request: the message list is empty."),
    "context_length_exceeded": VendorError(
        400, "", None, "too many tokens: the total number of tokens in the prompt exceeds the limit.", worded=True
    ),
    "authentication_failed": VendorError(401, "", None, "invalid api token"),
    "not_found": VendorError(404, "", None, "model 'unknown' not found, make sure the correct model ID was used."),
    "provider_unavailable": VendorError(500, "", None, "internal server error"),
    "overloaded": VendorError(503, "", None, "the service is overloaded, please try again later"),
}
VENDORS: Mapping[Provider, Mapping[str, VendorError]] = {
    "openai": OPENAI,
    "openai_responses": OPENAI,
    "anthropic": ANTHROPIC,
    "gemini": GEMINI,
    "bedrock": BEDROCK,
    "cohere": COHERE,
}


@attrs.frozen
class EncodedError:
    """The JSON body and the headers of an HTTP error."""

    body: Mapping[str, Any]
    headers: Mapping[str, str]


def by_status(provider: Provider, status: int) -> VendorError:
    """The vendor's usual error for a status."""
    check_provider(provider)
    errors = VENDORS[provider]
    for error in errors.values():
        if error.status == status:
            return error
    return attrs.evolve(
        errors["provider_unavailable" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request"],
        status=status,
    )


def vendor_error(provider: Provider, error: AllmError) -> VendorError:
    """The library's error in the vendor's terms, so that a correct adapter turns it back into the same error."""
    status: int | None = getattr(error, "status", None)
    known = VENDORS[provider].get(error.reason) or by_status(provider, status or 500)
    code: str | None = getattr(error, "provider_code", None)
    message = error.message or known.message
    if known.worded and known.message not in message:
        message = f"{known.message} ({message})"
    known = attrs.evolve(known, message=message, status=status or known.status)
    if code is None:
        return known
    return attrs.evolve(known, code=code) if provider.startswith("openai") else attrs.evolve(known, type=code)


def encode_error(provider: Provider, error: VendorError, *, retry_after: float | None = None) -> EncodedError:
    """Encode an error with the vendor's envelope and retry hints; `retry_after` is in seconds."""
    if provider == "gemini":
        return EncodedError(gemini_envelope(error, retry_after), {"content-type": "application/json; charset=UTF-8"})
    headers = {} if retry_after is None else {"retry-after": str(math.ceil(retry_after))}
    if provider == "cohere":
        return EncodedError({"id": REQUEST_ID, "message": error.message}, {**headers, "x-debug-trace-id": REQUEST_ID})
    if provider == "bedrock":
        named = {"x-amzn-errortype": f"{error.type}:http://internal.amazon.com/coral/", "x-amzn-requestid": REQUEST_ID}
        return EncodedError({"message": error.message}, {**headers, **named})
    if provider == "anthropic":
        retryable = error.status in RETRYABLE or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR
        headers |= {"request-id": REQUEST_ID, "x-should-retry": "true" if retryable else "false"}
        inner = {"type": error.type, "message": error.message}
        return EncodedError({"type": "error", "error": inner, "request_id": REQUEST_ID}, headers)
    if retry_after is not None:
        headers["retry-after-ms"] = str(round(retry_after * 1000))
    headers |= {"x-request-id": REQUEST_ID}
    return EncodedError(openai_envelope(error), headers)


def openai_envelope(error: VendorError) -> dict[str, Any]:
    """`{"error": {message, type, param, code}}`."""
    return {"error": {"message": error.message, "type": error.type, "param": None, "code": error.code}}


def gemini_envelope(error: VendorError, retry_after: float | None = None) -> dict[str, Any]:
    """Google's `{"error": {code, message, status, details}}`; the wait is only in `details`."""
    details: list[dict[str, Any]] = []
    if error.code is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": error.code})
    if retry_after is not None:
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{retry_after:g}s"})
    inner: dict[str, Any] = {"code": error.status, "message": error.message, "status": error.type}
    return {"error": {**inner, "details": details} if details else inner}
