"""How OpenAI is told what to keep of a prompt (https://developers.openai.com/api/docs/guides/prompt-caching).

Every model keeps prompts of 1,024 tokens and more without being asked to, at no price for older ones and for minutes.
From gpt-5.6 on writing has a price, so that it can be turned off, and the time can be chosen: 30 minutes or 12 hours.
"""

from __future__ import annotations

import functools
import logging
from typing import Any

from allm.adapters import AdapterOptions, as_objects
from allm.data.content import CachePoint
from allm.data.request import Request
from allm.providers.openai.presets import TAKES_MARKS, Preset

__all__ = ["cache_fields", "mark_end", "takes_marks"]

logger: logging.Logger = logging.getLogger("allm")

_MARK = "prompt_cache_breakpoint"
_MOST_MARKS = 4


def takes_marks(preset: Preset, model: str | None) -> bool:
    """Whether parts of a prompt may be marked, and other settings given."""
    return preset.takes_cache_key and TAKES_MARKS.match(model or "") is not None


def mark_end(content: list[dict[str, Any]], point: CachePoint) -> None:
    """Mark the part before a cache point."""
    if content:
        ttl = {"ttl": "12h"} if point.ttl == "1h" else {}
        content[-1] = {**content[-1], _MARK: {"mode": "explicit", **ttl}}


def cache_fields(
    options: AdapterOptions, preset: Preset, request: Request, items: list[dict[str, Any]]
) -> dict[str, Any]:
    """The fields of a body, for either API.

    Args:
        options: Of the call.
        preset: What is known of the service.
        request: What is asked.
        items: Its messages as they are sent; of too many marks, the newest are left in them.
    """
    fields: dict[str, Any] = {}
    if preset.takes_cache_key and options.prompt_cache_key is not None:
        fields["prompt_cache_key"] = options.prompt_cache_key
    asked = options.prompt_cache
    if takes_marks(preset, request.model):
        marked = asked is not False and _keep_newest(items)
        if asked is False or (marked and asked is None):
            fields["prompt_cache_options"] = {"mode": "explicit"}  # without marks, nothing is kept
        elif asked == "1h":
            fields["prompt_cache_options"] = {"mode": "implicit", "ttl": "12h"}
    elif asked == "1h" and preset.takes_cache_key:
        _warn(preset.name, request.model)
    return fields


def _keep_newest(items: list[dict[str, Any]]) -> bool:
    """Leave as many marks as OpenAI takes, the newest; returns whether there are any."""
    left = _MOST_MARKS
    for index in range(len(items) - 1, -1, -1):
        content = items[index].get("content")
        if not isinstance(content, list) or not any(_MARK in part for part in as_objects(content)):
            continue
        kept: list[dict[str, Any]] = []
        for part in reversed(as_objects(content)):
            left -= _MARK in part
            kept.append(part if left >= 0 else {name: value for name, value in part.items() if name != _MARK})
        items[index] = {**items[index], "content": kept[::-1]}
    return left < _MOST_MARKS


@functools.lru_cache(maxsize=256)  # once for each model
def _warn(provider: str, model: str | None) -> None:
    logger.warning(
        "prompt_cache='1h' has no counterpart for %r of %s, which keeps prompts for minutes", model, provider
    )
