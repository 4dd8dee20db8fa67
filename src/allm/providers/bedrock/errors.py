"""Bedrock's errors as `AdapterError`: over HTTP, and as exceptions inside a stream.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html#API_runtime_ConverseStream_Errors.
Over HTTP the name of the exception is in the header x-amzn-errortype, up to a colon, and the body has a message. What a
model says itself comes as a `ValidationException` with its words in the message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from allm.adapters import CONTEXT_OVERFLOW, RETRYABLE_STATUS, as_text, read_error_body, reason_for_status
from allm.data.errors import AdapterError, AdapterReason
from allm.providers.bedrock.names import PROVIDER

__all__ = ["classify", "stream_error"]

_BY_NAME: dict[str, tuple[AdapterReason, bool]] = {
    "accessdeniedexception": ("authentication_failed", False),
    "expiredtokenexception": ("authentication_failed", False),
    "incompletesignatureexception": ("authentication_failed", False),
    "invalidsignatureexception": ("authentication_failed", False),
    "missingauthenticationtokenexception": ("authentication_failed", False),
    "unrecognizedclientexception": ("authentication_failed", False),
    "resourcenotfoundexception": ("not_found", False),
    "servicequotaexceededexception": ("quota_exhausted", False),
    "throttlingexception": ("rate_limited", True),
    "modelnotreadyexception": ("overloaded", True),
    "serviceunavailableexception": ("overloaded", True),
    "modeltimeoutexception": ("timeout", True),
    "modelerrorexception": ("provider_unavailable", True),
    "modelstreamerrorexception": ("provider_unavailable", True),
    "internalserverexception": ("provider_unavailable", True),
    "internalfailure": ("provider_unavailable", True),
    "validationexception": ("invalid_request", False),
}
"""Names of exceptions in lower case, as a stream begins them with a small letter; the reason, and whether to retry."""
_TOO_LONG = re.compile(r"input tokens exceeded|number of input tokens exceeds|input is too long", re.IGNORECASE)
_DAILY = re.compile(r"tokens per day", re.IGNORECASE)


def classify(status: int, headers: Mapping[str, str], body: Any) -> AdapterError:
    """The error of an HTTP answer with an error status."""
    envelope = read_error_body(body)
    name = headers.get("x-amzn-errortype", "").partition(":")[0] or envelope.type
    return _build(name, envelope.message, status)


def stream_error(report: Any) -> AdapterError:
    """The error of an exception inside a stream; `FrameDecoder` puts its name into the report."""
    envelope = read_error_body(report)
    return _build(envelope.code, envelope.message, None)


def _build(name: str | None, message: str, status: int | None) -> AdapterError:
    reason, retryable = _reason(name, message, status)
    return AdapterError(
        message, reason=reason, provider=PROVIDER, status=status, retryable=retryable, provider_code=as_text(name)
    )


def _reason(name: str | None, message: str, status: int | None) -> tuple[AdapterReason, bool | None]:
    known = _BY_NAME.get((name or "").rpartition("#")[2].lower())
    if known is None and status is None:
        return "unknown", None
    reason, retryable = known or (reason_for_status(status or 0), status in RETRYABLE_STATUS)
    if reason == "invalid_request" and (_TOO_LONG.search(message) or CONTEXT_OVERFLOW.search(message)):
        return "context_length_exceeded", False
    if reason == "rate_limited" and _DAILY.search(message):
        return "quota_exhausted", False
    return reason, retryable
