"""`encode_script`: write a whole script as one HTTP response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, get_args

import attrs

from allm.data.errors import AllmError
from allm.data.response import FinishReason, Usage
from allm.data.script import (
    Delay,
    ErrorItem,
    Finish,
    PreflightError,
    ScriptItem,
    ToolCallDeltaItem,
    ToolCallItem,
    UsageItem,
)
from allm.testing.wire_formats.anthropic import Anthropic
from allm.testing.wire_formats.bedrock import Bedrock
from allm.testing.wire_formats.cohere import Cohere
from allm.testing.wire_formats.encoder import Encoder
from allm.testing.wire_formats.errors import Provider, check_provider, encode_error, vendor_error
from allm.testing.wire_formats.gemini import Gemini
from allm.testing.wire_formats.openai_chat import OpenAIChat
from allm.testing.wire_formats.openai_responses import OpenAIResponses

__all__ = ["EncodedScript", "encode_script"]

ENCODERS: Mapping[Provider, type[Encoder]] = {
    "openai": OpenAIChat,
    "openai_responses": OpenAIResponses,
    "anthropic": Anthropic,
    "gemini": Gemini,
    "bedrock": Bedrock,
    "cohere": Cohere,
}
ITEMS = get_args(ScriptItem)
TRANSPORT_FAILURES = frozenset({"network_error", "timeout", "stream_truncated"})


@attrs.frozen(kw_only=True)
class EncodedScript:
    """An encoded script.

    Attributes:
        body: An SSE body, or a value for JSON if `status` is an error.
        first_delay: Seconds before the status line.
        pauses: Pauses in seconds by body offset.
        failure: The reason, if the script ends with a failure of the connection instead of a provider's error.
        refused: The failure is before the status line.
    """

    status: int = 200
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str])
    body: bytes | Mapping[str, Any] = b""
    first_delay: float = 0.0
    pauses: Mapping[int, float] = attrs.field(factory=dict[int, float])
    failure: str | None = None
    refused: bool = False


def encode_script(
    provider: Provider, items: Iterable[ScriptItem], *, model: str | None = None, id: str | None = None
) -> EncodedScript:
    """Encode the response that `items` describe, as `provider` sends it.

    Raises:
        ValueError: The vendor's format cannot express the script.
    """
    check_provider(provider)
    played: list[ScriptItem] = []
    for item in items:
        if not isinstance(item, ITEMS):
            # A ValueError, as for any other script that cannot be encoded.
            raise ValueError(f"{item!r} cannot stand here: a script has items made with allm.fake")  # noqa: TRY004
        if isinstance(item, ErrorItem | PreflightError):
            first = all(isinstance(before, Delay) for before in played)
            status = getattr(item.error, "status", None)
            if isinstance(item, PreflightError) and not first:
                raise ValueError("a PreflightError has to be the first item of a script")
            if first and (isinstance(item, PreflightError) or (status or 0) >= HTTPStatus.BAD_REQUEST):
                delay = sum(before.seconds for before in played if isinstance(before, Delay))
                return _refusal(provider, item.error, delay)
            return _stream(provider, played, item.error, model, id)
        played.append(item)
    return _stream(provider, played, None, model, id)


def _refusal(provider: Provider, error: AllmError, delay: float) -> EncodedScript:
    if error.reason in TRANSPORT_FAILURES and getattr(error, "status", None) is None:
        return EncodedScript(first_delay=delay, failure=error.reason, refused=True)
    vendor = vendor_error(provider, error)
    encoded = encode_error(provider, vendor, retry_after=getattr(error, "retry_after", None))
    return EncodedScript(
        status=vendor.status, headers=encoded.headers, body=encoded.body, first_delay=delay, refused=True
    )


def _stream(
    provider: Provider, items: Sequence[ScriptItem], error: AllmError | None, model: str | None, id: str | None
) -> EncodedScript:
    cls = ENCODERS[provider]
    encoder = cls(
        model=model or cls.default_model, id=id or cls.default_id, usage=_usage(items), finish_reason=_finish(items)
    )
    encoder.play(items, fails=error is not None)
    failure = None
    if error is None:
        encoder.end()
    elif error.reason in TRANSPORT_FAILURES:
        failure = error.reason
    elif error.reason == "malformed_response":
        encoder.malformed()
    else:
        encoder.fail(vendor_error(provider, error))
    return EncodedScript(headers=cls.headers, body=encoder.body, pauses=encoder.pauses, failure=failure)


def _usage(items: Sequence[ScriptItem]) -> Usage | None:
    """All counts of the script, merged; vendors send them first, last or both, independent of their place in it."""
    usage: Usage | None = None
    for item in items:
        if isinstance(item, UsageItem):
            usage = item.usage if usage is None else usage.merge(item.usage)
    return usage


def _finish(items: Sequence[ScriptItem]) -> FinishReason:
    called = any(isinstance(item, ToolCallItem | ToolCallDeltaItem) for item in items)
    reason: FinishReason = "tool_calls" if called else "stop"
    for item in items:
        if isinstance(item, Finish):
            reason = item.reason
    if reason == "error":
        raise ValueError("no vendor has a finish reason 'error': end the script with an ErrorItem")
    return reason
