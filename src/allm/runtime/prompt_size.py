"""Prompts that are known not to fit their model: by what they have at least, or as their provider has counted them.

An estimate may be wrong, and must not refuse a prompt that fits. What is counted here is a bound from below: the text
alone, as if every token were longer than those of any tokenizer that is known. The tokens of OpenAI's, Llama's, Qwen's,
Mistral's and Gemma's hold one word at most, and 128 bytes, which are a run of spaces.
"""

from __future__ import annotations

from typing import Any

from allm.data.attrs_classes import frozen
from allm.data.content import TextPart
from allm.data.errors import AdapterError
from allm.data.message import Message
from allm.data.request import Request
from allm.runtime.catalog import lookup
from allm.runtime.fitting import too_long

__all__ = ["check_size", "remember_count"]

_WORDS_OF_A_TOKEN = 4
"""No tokenizer averages more words to a token over a whole prompt; those that are known have one at most."""
_LONGEST = 256
"""Bytes of a token without words in it, such as spaces."""

# Bytes of a word are letters, digits, and all of what is not ASCII.
_IN_WORDS = bytes(ord("a") if not chr(byte).isascii() or chr(byte).isalnum() else ord(" ") for byte in range(256))

# What lets a provider take a longer prompt: it shortens it, or has a larger window on request.
_SHORTENED = frozenset({"truncation", "transforms", "context_management", "plugins", "anthropic_beta", "betas"})


@frozen
class _Counted:
    """A prompt that its provider has counted."""

    provider: str
    request: Request
    tokens: int

    def is_of(self, provider: str, request: Request) -> bool:
        """Whether a request has this prompt. Messages that are the same objects are not looked into."""
        mine = self.request
        return (
            (provider, request.model) == (self.provider, mine.model)
            and len(request.messages) == len(mine.messages)
            and request.messages == mine.messages
            and (request.tools, request.response_format) == (mine.tools, mine.response_format)
        )


_MOST_KEPT = 4
"""So many of them are kept, as they keep their messages in memory."""


def remember_count(provider: str, request: Request, tokens: int) -> None:
    """Remember what a provider has counted, if it does not fit the model."""
    info = lookup(provider, request.model) if request.model else None
    if info is not None and info.context_window is not None and tokens > info.context_window:
        too_long.append(_Counted(provider, request, tokens))
        del too_long[:-_MOST_KEPT]


def check_size(provider: str, request: Request, sent: Any, window: int, *, may_be: bool) -> None:
    """Refuse a prompt that is known not to fit its model.

    Args:
        provider: Whose model.
        request: The prompt.
        sent: The call that the adapter made of it, which may ask for a larger window.
        window: How many tokens the model takes.
        may_be: Whether its size allows for so many words.

    Raises:
        AdapterError: `context_length_exceeded`.
    """
    if _may_take_more(request, sent):
        return
    known, tokens = "has at least", 0
    if may_be:
        tokens = sum(map(_of_message, request.messages))
    for count in too_long:
        if count.tokens > tokens and count.is_of(provider, request):
            known, tokens = "was counted by its provider and has", count.tokens
    if tokens > window:
        what = f"the prompt {known} {tokens:,} tokens, and model {request.model!r} takes {window:,}; nothing was sent"
        raise AdapterError(what, reason="context_length_exceeded", provider=provider)


def _may_take_more(request: Request, sent: Any) -> bool:
    """Whether a longer prompt may be taken as well: because it is shortened, or with a larger window."""
    beta = (getattr(sent, "headers", None) or {}).get("anthropic-beta")
    return not _SHORTENED.isdisjoint(request.options) or (isinstance(beta, str) and "context" in beta)


def _of_message(message: Message) -> int:
    content = message.content
    if isinstance(content, str):
        return _of_text(content)
    return sum(_of_text(part.text) for part in content if isinstance(part, TextPart))


def _of_text(text: str) -> int:
    data = text.encode("utf-8", "replace")
    words = (b" " + data.translate(_IN_WORDS)).count(b" a")
    return max(words // _WORDS_OF_A_TOKEN, len(data) // _LONGEST)
