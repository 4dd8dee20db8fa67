"""What the name of a model tells: through which API it is asked, and whether it thinks.

Facts: https://platform.openai.com/docs/models, and the model lists of OpenAI's own SDK. A name that no row knows is
asked through Chat Completions. `ft:` begins the name of a fine-tuned model.
"""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import urlsplit

__all__ = ["ENDPOINTS", "THINKING", "endpoint_for", "is_openai", "own_name"]

Endpoint = Literal["chat_completions", "responses"]
"""Which of the two APIs is called: both can do chat."""

ENDPOINTS: tuple[tuple[str, Endpoint], ...] = (
    (r".*-search-(api|preview)", "chat_completions"),  # search in one call; not part of Responses
    (r"(ft:)?o\d", "responses"),
    (r"(ft:)?gpt-([5-9]|\d\d)", "responses"),
    (r"codex-|computer-use-|gpt-daybreak-|gpt-rosalind-", "responses"),  # there is no other API for them
)
"""Regular expressions for the beginning of a name; the first that fits decides."""

THINKING = r"(ft:)?(o\d|gpt-(?!5-chat)([5-9]|\d\d)|codex)"
"""Models that think. The others answer 400 when they are asked for encrypted reasoning."""

_HOST = "api.openai.com"


def endpoint_for(model: str) -> Endpoint:
    """The API that fits `model` at OpenAI itself."""
    for pattern, endpoint in ENDPOINTS:
        if re.match(pattern, model):
            return endpoint
    return "chat_completions"


def own_name(model: str | None) -> str:
    """The name without the vendor that a gateway puts before it (`openai/gpt-image-2`); "" for None."""
    return (model or "").rpartition("/")[2]


def is_openai(base_url: str) -> bool:
    """Whether the URL is OpenAI's own, or that of one of its regions (`eu.api.openai.com`)."""
    try:
        host = urlsplit(base_url.strip()).hostname or ""
    except (ValueError, AttributeError):  # no URL, which is said where it is used
        return False
    return host == _HOST or str(host).endswith(f".{_HOST}")
