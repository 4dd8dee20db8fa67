"""Reading error answers: what all vendors' envelopes have in common.

Seen on the wire: `{"error": {...}}` (OpenAI, Gemini), `{"type": "error", "error": {...}}` (Anthropic),
`{"detail": "..."}` (Voyage, Mistral), `{"error": {"code": 429}}` with an integer (OpenRouter, Gemini),
`{"code": "...", "error": "text"}` (xAI), `{"message": "..."}`, and plain text from a proxy in front.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.errors import AdapterReason

__all__ = ["RETRYABLE_STATUS", "Envelope", "read_envelope", "reason_for_status"]

RETRYABLE_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})

_REASONS: dict[int, AdapterReason] = {
    401: "authentication_failed",
    403: "authentication_failed",
    404: "not_found",
    408: "timeout",
    409: "provider_unavailable",
    425: "provider_unavailable",
    429: "rate_limited",
    529: "overloaded",
}
_SERVER_ERROR = 500
_CLIENT_ERROR = 400
_MAX_TEXT = 500  # characters of a non-JSON answer that go into the message


@attrs.frozen
class Envelope:
    """The parts of an error answer, each as far as it is there; `fields` is the innermost object."""

    message: str
    code: str | None = None
    type: str | None = None
    fields: Mapping[str, Any] = attrs.field(factory=dict)


def reason_for_status(status: int) -> AdapterReason:
    """What the HTTP status alone says."""
    if status in _REASONS:
        return _REASONS[status]
    if status >= _SERVER_ERROR:
        return "provider_unavailable"
    return "invalid_request" if status >= _CLIENT_ERROR else "unknown"


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def read_envelope(body: Any) -> Envelope:
    """The error in `body`, whichever envelope it comes in."""
    if isinstance(body, list) and body:  # Gemini wraps the object in an array when it answers a stream without SSE
        body = body[0]
    if not isinstance(body, dict):
        text = body if isinstance(body, str) else repr(body)
        return Envelope(text.strip()[:_MAX_TEXT] or "(empty answer)")
    inner = body.get("error")
    fields: Mapping[str, Any] = inner if isinstance(inner, dict) else body
    message = _text(fields.get("message")) or _text(inner) or _detail(body.get("detail"))
    return Envelope(
        message or _text(fields.get("type")) or repr(body)[:_MAX_TEXT],
        _text(fields.get("code")),
        _text(fields.get("type")),
        fields,
    )


def _detail(detail: Any) -> str | None:
    if isinstance(detail, list):  # FastAPI's validation errors
        return "; ".join(str(item.get("msg", item)) if isinstance(item, dict) else str(item) for item in detail)
    return _text(detail)
