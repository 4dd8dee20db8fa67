"""How likely the model found the tokens that it wrote."""

from __future__ import annotations

import attrs

__all__ = ["TokenLogprob"]


@attrs.frozen
class TokenLogprob:
    """A token of the answer, and how likely the model found it where it stands.

    Attributes:
        token: Its text. A token that holds a part of a character has a replacement sign there, or a text of the
            provider's making; `token_bytes` is exact.
        logprob: The natural logarithm of its probability: 0 is certain. OpenAI has -9999.0 for what is hardly possible.
        token_bytes: Its UTF-8 bytes, or None where the provider does not tell (Gemini).
        alternatives: The likeliest tokens in its place, the likeliest first, if they were asked for; the token itself
            may be one of them.
    """

    token: str
    logprob: float
    token_bytes: bytes | None = attrs.field(default=None, kw_only=True)
    alternatives: tuple[TokenLogprob, ...] = attrs.field(default=(), kw_only=True)
