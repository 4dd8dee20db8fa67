"""OpenAI-family error answers, over HTTP and inside a stream, as `AdapterError`.

Facts: https://platform.openai.com/docs/guides/error-codes, and recorded answers: a 429 means "wait", "too large for
any limit" (only the message tells) or "no quota left" (never retried); an unknown model is 404 on Chat Completions and
400 on Responses, with the same code; Groq reports a bad tool call as `tool_use_failed`. Ollama's type is `api_error`
whatever went wrong, so that a status of the client's says more than a word for the server's failures. xAI answers a bad
key and an unknown model with 400 and one code for both, and DeepSeek and OpenRouter have none: the message tells.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from allm.adapters import CONTEXT_OVERFLOW, RETRYABLE_STATUS, ErrorBody, read_error_body, reason_for_status, status_in
from allm.data.errors import AdapterError, AdapterReason

__all__ = ["classify", "stream_error"]

_BY_WORD: dict[str, AdapterReason] = {
    "insufficient_quota": "quota_exhausted",
    "billing_hard_limit_reached": "quota_exhausted",
    "billing_not_active": "quota_exhausted",
    "exceeded_current_quota_error": "quota_exhausted",  # Moonshot
    "insufficient_user_quota": "quota_exhausted",
    "model_not_found": "not_found",
    "model_decommissioned": "not_found",  # Groq
    "model_not_available": "not_found",  # Together
    "invalid_model": "not_found",  # Mistral, Perplexity
    "resource_not_found_error": "not_found",  # Moonshot
    "invalid_authentication_error": "authentication_failed",  # Moonshot
    "wrong_api_key": "authentication_failed",  # Cerebras
    "rate_limit_reached_error": "rate_limited",  # Moonshot
    "engine_overloaded_error": "overloaded",  # Moonshot
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
_WRONG_KEY = re.compile(r"(incorrect|invalid|wrong|malformed|missing) api[ _-]?key|no api[ _-]?key", re.IGNORECASE)
_NO_SUCH_MODEL = re.compile(
    r"model not (found|exist)|(unknown|invalid|no such) model\b|is not a valid model"
    r"|model:? [`'\"]?[\w./:@-]+[`'\"]? (does not exist|(is )?not found|has been (decommissioned|deprecated|retired))",
    re.IGNORECASE,
)
_BY_MESSAGE: tuple[tuple[re.Pattern[str], AdapterReason], ...] = (
    (CONTEXT_OVERFLOW, "context_length_exceeded"),
    (_WRONG_KEY, "authentication_failed"),
    (_NO_SUCH_MODEL, "not_found"),
)
"""What a 400 without a code of its own is about."""
_BY_NUMBER: dict[tuple[str, str], AdapterReason] = {
    # https://docs.z.ai/api-reference/api-code
    ("zai", "1113"): "quota_exhausted",
    ("zai", "1211"): "not_found",
    ("zai", "1261"): "context_length_exceeded",
    ("zai", "1301"): "content_filter",
}

_VAGUE = frozenset({"invalid_request"})
_SERVER = frozenset({"provider_unavailable"})
_CLIENT_STATUS = range(400, 500)

_REFUSED = re.compile(
    r"unsupported|not supported|unknown|unrecognized|unexpected|not permitted|not allowed|forbidden|extra (input|field)"
    r"|invalid (field|parameter|argument)|additional propert|missing|required",
    re.IGNORECASE,
)
_OF_PRESETS = {
    "stream_options": "stream_usage=False",
    "max_completion_tokens": 'max_tokens_field="max_tokens"',
    "max_tokens": 'max_tokens_field="max_completion_tokens"',
    "encoding_format": "base64_embeddings=False",
    "reasoning_content": 'reasoning_field="reasoning_content", reasoning_always=True, or replays=False',
    "reasoning": "replays=False",
    "reasoning_details": "replays=False",
    "extra_content": "replays=False",
    "provider_specific_fields": "replays=False",
    "thinking_blocks": "replays=False",
}
"""Fields that are sent unasked, and what a `Preset` can say of them."""

_NEVER_FITS = "request too large"  # OpenAI 429: the request alone exceeds the limit of tokens per minute


def classify(
    provider: str, status: int, _headers: Mapping[str, str], body: Any, *, unknown_server: bool = False
) -> AdapterError:
    """The error of an HTTP answer with an error status.

    Args:
        provider: The service's short name.
        status: Of HTTP.
        body: Parsed JSON, or text.
        unknown_server: What it takes was a guess: where that may be the reason, the message says what to change.
    """
    error = _build(provider, read_error_body(body), status)
    if unknown_server and error.reason == "invalid_request":
        _explain(error)
    return error


def _explain(error: AdapterError) -> None:
    """Name the setting for a field that the server has complained about."""
    if not _REFUSED.search(error.message):
        return
    for field, setting in _OF_PRESETS.items():
        if re.search(rf"\b{field}\b", error.message):
            error.advised(f" (what this server takes is for a preset to say: OpenAI(preset=Preset(..., {setting})))")
            return


def stream_error(provider: str, body: Any) -> AdapterError:
    """The error of an event inside a 200 stream; its status, if any, is a field of the event."""
    envelope = read_error_body(body)
    return _build(provider, envelope, status_in(envelope))


def _build(provider: str, envelope: ErrorBody, status: int | None) -> AdapterError:
    by_number = _BY_NUMBER.get((provider, envelope.code or ""))
    reason, retryable = (by_number, None) if by_number is not None else _reason(envelope, status)
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
    vague = _VAGUE | _SERVER if status in _CLIENT_STATUS else _VAGUE
    specific: AdapterReason | None = next((word for word in words if word not in vague), None)
    generic: AdapterReason = "invalid_request" if words else "unknown"
    reason: AdapterReason = specific or by_status or generic
    if reason == "invalid_request":
        for pattern, meant in _BY_MESSAGE:
            if pattern.search(envelope.message):
                return meant, False
    if reason == "rate_limited" and _NEVER_FITS in envelope.message.lower():
        return reason, False
    if status is not None and reason == by_status:
        return reason, status in RETRYABLE_STATUS
    return reason, None
