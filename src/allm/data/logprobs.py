"""Log probabilities of the tokens of a response."""

from __future__ import annotations

import attrs

from allm.data.attrs_classes import frozen

__all__ = ["TokenLogprob"]


@frozen
class TokenLogprob:
    """A token of the response, with its log probability.

    Attributes:
        token: The text of the token. If it ends inside a character, this has a replacement character or a text of the
            provider's own; `token_bytes` is exact.
        logprob: The natural logarithm of its probability; 0 is certain. OpenAI sends -9999.0 for very unlikely tokens.
        token_bytes: Its UTF-8 bytes, or None if the provider does not send them (Gemini).
        alternatives: The most likely tokens at this position, the most likely first, if they were asked for; the token
            itself may be one of them.
    """

    token: str
    logprob: float
    token_bytes: bytes | None = attrs.field(default=None, kw_only=True)
    alternatives: tuple[TokenLogprob, ...] = attrs.field(default=(), kw_only=True)
