"""Read error answers: what all vendors' envelopes have in common.

Seen on the wire: `{"error": {...}}` (OpenAI, Gemini), `{"type": "error", "error": {...}}` (Anthropic),
`{"detail": "..."}` (Voyage, Mistral), `{"error": {"code": 429}}` with an integer (OpenRouter, Gemini),
`{"code": "...", "error": "text"}` (xAI), `{"message": "..."}`, `{"message": {"detail": [{"msg": "..."}]}}` (Mistral),
`{"errors": [{"message": "..."}]}` (Cloudflare), one envelope in another (gateways), and plain text from a proxy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import AdapterError, AdapterReason
from allm.data.json.text import JsonTextError, as_list, as_object, as_objects, loads

__all__ = [
    "CONTEXT_OVERFLOW",
    "RETRYABLE_STATUS",
    "ErrorBody",
    "classify_error",
    "is_cut_report",
    "read_error_body",
    "reason_for_status",
    "reported_error",
    "status_in",
    "stray_error",
    "words_in",
]

RETRYABLE_STATUS = frozenset({408, 409, 425, 429, 498, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""498 is Groq's flex tier without room, 520 to 524 are Cloudflare's, which could not reach the server behind it."""

CONTEXT_OVERFLOW = re.compile(
    r"(prompt|input|request) (is )?too long|(max(imum)?|model's) (context|prompt|input) (length|limit|size|window)"
    r"|longer than the model's context length|context (length|limit|size|window) (of the model )?(is |was )?exceeded"
    r"|exceed(s|ed|ing)? (the |this |its )?(model'?s? |available |max(imum)? |allowed )*(context|token|input|max)"
    r"[ _-](length|limit|size|window|tokens)"
    r"|context window (limit )?exceed|exceeds? max length|total length of (all )?messages is too long"
    r"|inputs. tokens \+ .max_new_tokens. must be|too many tokens: |reduce the length of (the |your )?(messages|prompt)"
    r"|greater than the context length|context the overflows",
    re.IGNORECASE,
)
"""What a request that does not fit is answered with by services that have no code for it: Ollama, Perplexity,
Fireworks, Mistral, xAI, Cohere, Cerebras, Moonshot, Z.ai, LM Studio, text-generation-inference, Bedrock."""

_REASONS: dict[int, AdapterReason] = {
    401: "authentication_failed",
    402: "quota_exhausted",
    403: "authentication_failed",
    407: "network_error",  # of a proxy on the way, which nothing but other settings will change
    404: "not_found",
    408: "timeout",
    409: "provider_unavailable",
    425: "provider_unavailable",
    429: "rate_limited",
    498: "overloaded",
    529: "overloaded",
}
_SERVER_ERROR = 500
_CLIENT_ERROR = 400
_MAX_TEXT = 500  # characters of a non-JSON answer that go into the message
_MAX_DEPTH = 4  # of envelopes in envelopes
_MESSAGES = ("message", "msg", "detail", "error", "errors")
_STATUS_FIELDS = ("status_code", "status", "code")
_STATUS_DIGITS = 3
_STATUS_RANGE = range(400, 600)


@frozen
class ErrorBody:
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


def reported_error(provider: str, report: Any) -> AdapterError:
    """The error that a report inside an answer stands for, as its envelope and the status in it tell."""
    envelope = read_error_body(report)
    status = status_in(envelope)
    return AdapterError(
        envelope.message,
        reason="unknown" if status is None else reason_for_status(status),
        provider=provider,
        status=status,
        retryable=None if status is None else status in RETRYABLE_STATUS,
        provider_code=envelope.code or envelope.type,
    )


def classify_error(provider: str, status: int, _headers: Mapping[str, str], body: Any) -> AdapterError:
    """The error of an answer whose vendor has no codes of its own: what its status and the usual envelopes say."""
    envelope, reason = read_error_body(body), reason_for_status(status)
    too_long = reason == "invalid_request" and CONTEXT_OVERFLOW.search(envelope.message)
    return AdapterError(
        envelope.message,
        reason="context_length_exceeded" if too_long else reason,
        provider=provider,
        status=status,
        retryable=status in RETRYABLE_STATUS,
        provider_code=envelope.code or envelope.type,
    )


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def read_error_body(body: Any) -> ErrorBody:
    """The error in `body`, whichever envelope it comes in."""
    if isinstance(body, list) and body:  # Gemini wraps the object in an array when it answers a stream without SSE
        body = body[0]
    if not isinstance(body, dict):
        text = body if isinstance(body, str) else repr(body)
        return ErrorBody(text.strip()[:_MAX_TEXT] or "(empty answer)")
    fields: Mapping[str, Any] = body
    for _ in range(_MAX_DEPTH):
        inner = fields.get("error") or fields.get("errors")
        inner = as_objects(inner)[0] if as_objects(inner) else inner
        if not isinstance(inner, dict):
            break
        fields = as_object(inner)
    said = words_in(fields, _MAX_DEPTH) or words_in(body, 1) or _text(fields.get("type")) or repr(body)[:_MAX_TEXT]
    cause = _cause(fields)
    return ErrorBody(
        said if cause is None or cause in said else f"{said}: {cause}",
        _text(fields.get("code")),
        _text(fields.get("type")),
        fields,
    )


def _cause(fields: Mapping[str, Any]) -> str | None:
    """What the vendor behind a gateway said (OpenRouter `metadata.raw`: a text, or the JSON of another envelope)."""
    metadata = as_object(fields.get("metadata"))
    raw = metadata.get("raw")
    if not raw:
        return None
    if isinstance(raw, str):
        with suppress(JsonTextError):
            raw = loads(raw)
    vendor = _text(metadata.get("provider_name"))
    said = read_error_body(raw).message
    return f"{said} (from {vendor})" if vendor else said


def stray_error(stray: str) -> Any:
    """The error that stands between the events of a stream as bare JSON (Vertex AI, gateways), or None."""
    if '"error"' not in stray:
        return None
    try:
        value = loads(stray)
    except JsonTextError:
        return None
    return value if any(as_object(item).get("error") for item in as_list(value) or [value]) else None


def is_cut_report(stray: str) -> bool:
    """Whether text outside any SSE field is the beginning of an error report, or one that cannot be read."""
    text = stray.strip()
    return text[:1] in {"{", "["} and ('"error"' in text or text[-1] not in "}]")


def status_in(envelope: ErrorBody) -> int | None:
    """The HTTP status that an error inside a 200 answer would have had, if it says so."""
    for name in _STATUS_FIELDS:
        value = envelope.fields.get(name)
        if isinstance(value, str) and len(value) == _STATUS_DIGITS and value.isascii() and value.isdigit():
            value = int(value)
        if type(value) is int and value in _STATUS_RANGE:
            return value
    return None


def words_in(value: Any, depth: int = 2) -> str | None:
    """The sentence in `value`: itself, or what stands under the usual names, at most `depth` levels down."""
    text = _text(value)
    if text is not None or depth < 0:
        return text
    if isinstance(value, list):  # FastAPI's validation errors
        return "; ".join(words_in(item, depth - 1) or str(item) for item in as_list(value)) or None
    fields = as_object(value)
    return next((words for name in _MESSAGES if (words := words_in(fields.get(name), depth - 1))), None)
