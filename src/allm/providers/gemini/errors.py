"""Google's error answers, over HTTP and inside a stream, as `AdapterError`.

The envelope is `google.rpc.Status` as JSON: `{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": ...,
"details": [...]}}` (https://cloud.google.com/apis/design/errors), in an array when the answer would have been one.
Recorded answers add: a bad key is a 400 whose details say API_KEY_INVALID; the wait of a 429 stands in the body only
(`RetryInfo.retryDelay`), never in a header; whether a quota is one per minute or per day, in `QuotaFailure.quotaId`; a
context overflow and an overload, in the message alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from allm.adapters import (
    RETRYABLE_STATUS,
    ErrorBody,
    as_list,
    as_object,
    as_text,
    read_error_body,
    reason_for_status,
    status_in,
)
from allm.data.errors import AdapterError, AdapterReason

__all__ = ["classify", "is_withheld", "stream_error"]

# https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto, the HTTP mapping of each code.
_HTTP_STATUS = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_CLIENT_CLOSED = 499
_TOO_MANY = 429
_UNAVAILABLE = 503

_TOO_LONG = re.compile(r"input token count.*exceeds the maximum", re.IGNORECASE | re.DOTALL)
_OVERLOADED = re.compile(r"overloaded|high demand", re.IGNORECASE)
# A quota of a day or more, or one of zero (a model that the plan does not include): waiting does not help.
_LONG_QUOTA = re.compile(r"per[_ ]?(day|week|month)", re.IGNORECASE)
_ZERO_QUOTA = re.compile(r"limit: 0\b")
_WITHHELD = ("SAFETY", "PROHIBITED", "BLOCKLIST", "SPII", "RECITATION")
_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")


def classify(provider: str, status: int, _headers: Mapping[str, str], body: Any) -> AdapterError:
    """The error of an HTTP answer with an error status."""
    return _build(provider, read_error_body(body), status)


def is_withheld(finish_reason: str | None) -> bool:
    """Whether an answer without content has none because a filter took it."""
    return any(word in (finish_reason or "") for word in _WITHHELD)


def stream_error(provider: str, body: Any) -> AdapterError:
    """The error of an envelope inside a 200 answer; the status that it would have had is a field of it."""
    envelope = read_error_body(body)
    status = status_in(envelope) or _HTTP_STATUS.get(str(envelope.fields.get("status")))
    return _build(provider, envelope, status)


def _build(provider: str, envelope: ErrorBody, status: int | None) -> AdapterError:
    details = [as_object(detail) for detail in as_list(envelope.fields.get("details"))]
    reason, retryable = _reason(envelope, status, details)
    return AdapterError(
        envelope.message,
        reason=reason,
        provider=provider,
        status=status,
        retry_after=next((wait for detail in details if (wait := _wait(detail)) is not None), None),
        retryable=retryable,
        provider_code=as_text(envelope.fields.get("status")) or envelope.code,
    )


def _wait(detail: dict[str, Any]) -> float | None:
    """`RetryInfo.retryDelay` in seconds: a protobuf duration as JSON, such as "48s" or "34.4s"."""
    delay = detail.get("retryDelay")
    found = _DELAY.fullmatch(delay) if isinstance(delay, str) else None
    return float(found[1]) if found else None


def _reason(
    envelope: ErrorBody, status: int | None, details: list[dict[str, Any]]
) -> tuple[AdapterReason, bool | None]:
    if any(str(detail.get("reason")).startswith("API_KEY_") for detail in details):
        return "authentication_failed", False
    if status is None or status == _CLIENT_CLOSED:
        return "unknown", None
    if _TOO_LONG.search(envelope.message):
        return "context_length_exceeded", False
    if status == _TOO_MANY and _is_used_up(envelope, details):
        return "quota_exhausted", False
    if status == _UNAVAILABLE and _OVERLOADED.search(envelope.message):
        return "overloaded", True
    return reason_for_status(status), status in RETRYABLE_STATUS


def _is_used_up(envelope: ErrorBody, details: list[dict[str, Any]]) -> bool:
    for violation in (as_object(item) for detail in details for item in as_list(detail.get("violations"))):
        names = f"{violation.get('quotaId')} {violation.get('quotaMetric')}"
        if _LONG_QUOTA.search(names) or str(violation.get("quotaValue")) == "0":
            return True
    return bool(_LONG_QUOTA.search(envelope.message) or _ZERO_QUOTA.search(envelope.message))
