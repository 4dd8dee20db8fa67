"""Anthropic's error answers, over HTTP and inside a stream, as `AdapterError`.

Facts: https://platform.claude.com/docs/en/api/errors, and recorded answers: what is wrong with a request, a context
that overflows and a credit that is used up are all `invalid_request_error`, told apart by the message alone; an error
inside a 200 stream has the same envelope, and no status. Newer answers name the cause in `details.error_code`; a code
that is not known means what the type of the error says.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from allm.adapters import (
    CONTEXT_OVERFLOW,
    RETRYABLE_STATUS,
    ErrorBody,
    as_object,
    as_text,
    read_error_body,
    reason_for_status,
    status_in,
)
from allm.data.errors import AdapterError, AdapterReason

__all__ = ["classify", "stream_error"]

_BY_TYPE: dict[str, AdapterReason] = {
    "authentication_error": "authentication_failed",
    "permission_error": "authentication_failed",
    "billing_error": "quota_exhausted",
    "not_found_error": "not_found",
    "rate_limit_error": "rate_limited",
    "api_error": "provider_unavailable",
    "timeout_error": "timeout",
    "overloaded_error": "overloaded",
}
# The `error_code`s of anthropic 2.14.0 (types/shared/error_details.py) that mean something else than their type.
_BY_CODE: dict[str, AdapterReason] = {
    "contract_spend_limit_reached": "quota_exhausted",
    "enforced_spend_limit_reached": "quota_exhausted",
    "linked_organization_billing_unavailable": "quota_exhausted",
    "linked_organization_spend_limit_reached": "quota_exhausted",
    "user_profile_billing_not_authorized": "quota_exhausted",
    "user_profile_not_billable": "quota_exhausted",
    "storage_quota_exceeded": "quota_exhausted",
    "organization_on_hold": "authentication_failed",
    "file_expired": "not_found",
}
_INVALID = "invalid_request_error"
_SERVER_ERROR = 500
_BY_MESSAGE: tuple[tuple[re.Pattern[str], AdapterReason], ...] = (
    (CONTEXT_OVERFLOW, "context_length_exceeded"),
    (re.compile(r"credit balance is too low|API usage limits", re.IGNORECASE), "quota_exhausted"),
    (re.compile(r"blocked by content filtering", re.IGNORECASE), "content_filter"),
)


def classify(provider: str, status: int, _headers: Mapping[str, str], body: Any) -> AdapterError:
    """The error of an HTTP answer with an error status."""
    return _build(provider, body, read_error_body(body), status)


def stream_error(provider: str, body: Any) -> AdapterError:
    """The error of an `error` event."""
    envelope = read_error_body(body)
    return _build(provider, body, envelope, status_in(envelope))


def _build(provider: str, body: Any, envelope: ErrorBody, status: int | None) -> AdapterError:
    code = _error_code(body) or ""
    reason, retryable = (_BY_CODE[code], False) if code in _BY_CODE else _reason(envelope, status)
    return AdapterError(
        envelope.message,
        reason=reason,
        provider=provider,
        status=status,
        retryable=retryable,
        request_id=as_text(as_object(body).get("request_id")),
        provider_code=code or envelope.type,
    )


def _error_code(body: Any) -> str | None:
    return as_text(as_object(as_object(as_object(body).get("error")).get("details")).get("error_code"))


def _reason(envelope: ErrorBody, status: int | None) -> tuple[AdapterReason, bool | None]:
    kind = envelope.type
    by_status = reason_for_status(status) if status is not None else None
    # Servers that speak the format without all of it (Ollama) call every failure `api_error`.
    vague = kind == "api_error" and status is not None and status < _SERVER_ERROR
    if kind in _BY_TYPE and not vague:
        return _BY_TYPE[kind], None
    if kind == _INVALID or by_status == "invalid_request":
        for pattern, reason in _BY_MESSAGE:
            if pattern.search(envelope.message):
                return reason, False
    if by_status is None:
        return ("invalid_request" if kind == _INVALID else "unknown"), None
    return by_status, status in RETRYABLE_STATUS
