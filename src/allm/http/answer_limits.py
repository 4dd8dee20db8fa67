"""How much one answer may hold. A model writes far less; a server that is broken or hostile could write for ever."""

from __future__ import annotations

from typing import Any

import attrs

from allm.data.attrs_classes import frozen
from allm.data.constructors import explains_arguments
from allm.data.errors import AdapterError
from allm.data.problems import wrong_field

__all__ = ["DEFAULT_ANSWER_LIMITS", "AnswerLimits"]

_MIB = 1024 * 1024


def _limit(default: int) -> Any:
    return attrs.field(default=default, validator=_check)


def _check(_limits: Any, attribute: Any, value: Any) -> None:
    if value is not None and (type(value) is not int or value < 1):
        expected = "a whole number from 1 on, or None for no limit"
        raise wrong_field("AnswerLimits", attribute.name, value, expected, tag="invalid_limit", reason="invalid_limits")


@explains_arguments()
@frozen(kw_only=True, cache_hash=True)  # each call asks for its hash
class AnswerLimits:
    """How much one answer of a model may hold; None: any amount. Lengths are in bytes of UTF-8.

    An answer that exceeds one ends in `Failed` with the reason `answer_too_large`. What came before is kept, and the
    call is not retried.

    Attributes:
        text_bytes: Visible text.
        reasoning_bytes: Readable reasoning.
        tool_calls: Tool calls.
        argument_bytes: Arguments of each call.
        parts: Parts of all kinds: texts, thoughts, calls, images and items that only the provider understands.
        values: Single values in arguments, in the provider's items and in metadata, all together.
        total_bytes: Everything together, with images, the provider's items and metadata; and as much again that has
            arrived but cannot be shown yet, such as the pieces of a call without a name.
    """

    # Today's largest answers are of some 128,000 tokens: half a megabyte, in at most some hundred parts.
    text_bytes: int | None = _limit(64 * _MIB)
    reasoning_bytes: int | None = _limit(64 * _MIB)
    tool_calls: int | None = _limit(4_096)
    argument_bytes: int | None = _limit(16 * _MIB)
    parts: int | None = _limit(16_384)
    values: int | None = _limit(500_000)  # half of what one document may hold, with the conversation around it
    total_bytes: int | None = _limit(256 * _MIB)  # a dozen generated images have some tens of megabytes

    def exceeded(self, name: str, provider: str | None = None) -> AdapterError:
        """The error for an answer that exceeds the limit of this name."""
        what = _WHAT[name].format(f"{getattr(self, name):,}")
        setting = f"Engine(answer_limits=AnswerLimits({name}=...))"
        message = f"{what}, the limit of this engine; what came before it is kept"
        error = AdapterError(message, reason="answer_too_large", provider=provider)
        return error.advised(f". To allow more, set {setting}")


DEFAULT_ANSWER_LIMITS = AnswerLimits()
"""The limits of an engine that sets none."""

_WHAT = {
    "text_bytes": "the answer has more than {} bytes of text",
    "reasoning_bytes": "the answer has more than {} bytes of reasoning",
    "tool_calls": "the answer has more than {} tool calls",
    "argument_bytes": "the arguments of a tool call are longer than {} bytes",
    "parts": "the answer has more than {} parts",
    "values": "the arguments and the data of the answer hold more than {} values",
    "total_bytes": "the answer has more than {} bytes in all",
}
