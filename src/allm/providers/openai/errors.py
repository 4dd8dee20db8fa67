"""OpenAI-family error answers, over HTTP and inside a stream, as `AdapterError`.

Facts: https://platform.openai.com/docs/guides/error-codes, and recorded answers: a 429 means "wait", "too large for
any limit" (only the message tells) or "no quota left" (never retried); an unknown model is 404 on Chat Completions and
400 on Responses, with the same code; Groq reports a bad tool call as `tool_use_failed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allm.adapters import CONTEXT_OVERFLOW, RETRYABLE_STATUS, ErrorBody, read_error_body, reason_for_status, status_in
from allm.data.errors import AdapterError, AdapterReason

__all__ = ["classify", "stream_error"]

_BY_WORD: dict[str, AdapterReason] = {
    "insufficient_quota": "quota_exhausted",
    "billing_hard_limit_reached": "quota_exhausted",
    "billing_not_active": "quota_exhausted",
    "model_not_found": "not_found",
    "context_length_exceeded": "context_length_exceeded",
    "exceed_context_size_error": "context_length_exceeded",  # llama.cpp
    "content_filter": "content_filter",  # Azure: the prompt was filtered
    "content_policy_violation": "content_filter",
    "image_content_policy_violation": "content_filter",
    "bio_policy": "content_filter",
    "misalignment_policy_violation": "content_filter",
    "tool_use_failed": "malformed_tool_call",  # Groq
    "invalid_api_key": "authentication_failed",
    "authentication_error": "authentication_failed",
    "rate_limit_exceeded": "rate_limited",
    "rate_limit_error": "rate_limited",
    "overloaded_error": "overloaded",
    "server_error": "provider_unavailable",
    "server_overloaded": "overloaded",
    "server_is_overloaded": "overloaded",
    "slow_down": "overloaded",
    "api_error": "provider_unavailable",
    "internal_server_error": "provider_unavailable",
    "vector_store_timeout": "provider_unavailable",
    "invalid_request_error": "invalid_request",
    "invalid_prompt": "invalid_request",
    "not_found_error": "not_found",
}
# `response.error.code` of the Responses API, which has neither a status nor a type: what is wrong with an image.
_BY_WORD.update(
    dict.fromkeys(
        (
            "empty_image_file",
            "failed_to_download_image",
            "image_file_not_found",
            "image_file_too_large",
            "image_parse_error",
            "image_too_large",
            "image_too_small",
            "invalid_base64_image",
            "invalid_image",
            "invalid_image_format",
            "invalid_image_mode",
            "invalid_image_url",
            "unsupported_image_media_type",
        ),
        "invalid_request",
    )
)
_NEVER_FITS = "request too large"  # OpenAI 429: the request alone exceeds the limit of tokens per minute


def classify(provider: str, status: int, _headers: Mapping[str, str], body: Any) -> AdapterError:
    """The error of an HTTP answer with an error status."""
    return _build(provider, read_error_body(body), status)


def stream_error(provider: str, body: Any) -> AdapterError:
    """The error of an event inside a 200 stream; its status, if any, is a field of the event."""
    envelope = read_error_body(body)
    return _build(provider, envelope, status_in(envelope))


def _build(provider: str, envelope: ErrorBody, status: int | None) -> AdapterError:
    reason, retryable = _reason(envelope, status)
    return AdapterError(
        envelope.message,
        reason=reason,
        provider=provider,
        status=status,
        retryable=retryable,
        provider_code=envelope.code or envelope.type,
    )


def _reason(envelope: ErrorBody, status: int | None) -> tuple[AdapterReason, bool | None]:
    by_code = _BY_WORD.get(envelope.code or "")
    by_type = _BY_WORD.get(envelope.type or "")
    by_status = reason_for_status(status) if status is not None else None
    # A generic word ("invalid_request_error" on a 401) says less than the status; a specific one says more.
    words: list[AdapterReason] = [word for word in (by_code, by_type) if word is not None]
    specific: AdapterReason | None = next((word for word in words if word != "invalid_request"), None)
    generic: AdapterReason = "invalid_request" if words else "unknown"
    reason: AdapterReason = specific or by_status or generic
    if reason == "invalid_request" and CONTEXT_OVERFLOW.search(envelope.message):
        return "context_length_exceeded", False
    if reason == "rate_limited" and _NEVER_FITS in envelope.message.lower():
        return reason, False
    if status is not None and reason == by_status:
        return reason, status in RETRYABLE_STATUS
    return reason, None
