"""Log probabilities of Chat Completions and Responses.

https://platform.openai.com/docs/api-reference/chat/object: `content` and `refusal` are arrays of
`{token, bytes, logprob, top_logprobs}`, and a part of a Responses answer has such an array itself. Services that grew
out of the older Completions API (Together, Fireworks) send `tokens` and `token_logprobs` side by side.
"""

from __future__ import annotations

from typing import Any

from allm.adapters import as_list, as_object, as_objects, as_text
from allm.data.logprobs import TokenLogprob

__all__ = ["read_chat_logprobs", "read_logprobs"]

_HARDLY = -9999.0
"""OpenAI's word for "hardly possible", and ours for what JSON has no number for: an infinity arrives as null."""


def read_logprobs(tokens: Any) -> list[TokenLogprob]:
    """The tokens of one array."""
    return [_token(token) for token in as_objects(tokens)]


def read_chat_logprobs(logprobs: Any) -> list[TokenLogprob]:
    """The tokens of a choice's `logprobs`; a refusal has its own array, and is part of the visible text."""
    fields = as_object(logprobs)
    if isinstance(fields.get("tokens"), list):
        return _side_by_side(fields)
    return [*read_logprobs(fields.get("content")), *read_logprobs(fields.get("refusal"))]


def _token(fields: dict[str, Any]) -> TokenLogprob:
    return TokenLogprob(
        as_text(fields.get("token")) or "",
        _number(fields.get("logprob")),
        token_bytes=_bytes(fields.get("bytes")),
        alternatives=tuple(_token(each) for each in as_objects(fields.get("top_logprobs"))),
    )


def _side_by_side(fields: dict[str, Any]) -> list[TokenLogprob]:
    numbers, tops = as_list(fields.get("token_logprobs")), as_list(fields.get("top_logprobs"))
    found: list[TokenLogprob] = []
    for index, token in enumerate(as_list(fields["tokens"])):
        top = as_object(tops[index]) if index < len(tops) else {}
        found.append(
            TokenLogprob(
                as_text(token) or "",
                _number(numbers[index] if index < len(numbers) else None),
                alternatives=tuple(TokenLogprob(text, _number(number)) for text, number in top.items()),
            )
        )
    return found


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else _HARDLY


def _bytes(value: Any) -> bytes | None:
    numbers = as_list(value)
    is_bytes = numbers and all(type(number) is int and 0 <= number < 256 for number in numbers)  # noqa: PLR2004
    return bytes(numbers) if is_bytes else None
