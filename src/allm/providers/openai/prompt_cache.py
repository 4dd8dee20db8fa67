"""How OpenAI is told what to keep of a prompt (https://developers.openai.com/api/docs/guides/prompt-caching).

Every model keeps prompts of 1,024 tokens and more without being asked to, at no price for older ones and for minutes.
From gpt-5.6 on writing has a price, so that it can be turned off, and the time can be chosen: 30 minutes or 12 hours.
"""

from __future__ import annotations

import functools
import logging
import re
from typing import Any

from allm.adapters import AdapterOptions
from allm.providers.openai.presets import Preset

__all__ = ["cache_fields"]

logger: logging.Logger = logging.getLogger("allm")

_WITH_SETTINGS = re.compile(r"(ft:)?gpt-(5\.([6-9]|\d\d)|[6-9]|\d\d)(?!\d)")


def cache_fields(options: AdapterOptions, preset: Preset, model: str | None) -> dict[str, Any]:
    """The fields of a body, for either API."""
    fields: dict[str, Any] = {}
    if preset.takes_cache_key and options.prompt_cache_key is not None:
        fields["prompt_cache_key"] = options.prompt_cache_key
    asked = options.prompt_cache
    if not preset.takes_cache_key or asked is None or asked in {True, "5m"}:  # which is what happens unasked
        return fields
    if _WITH_SETTINGS.match(model or ""):
        off = asked is False  # explicit, and without a mark where to
        fields["prompt_cache_options"] = {"mode": "explicit"} if off else {"mode": "implicit", "ttl": "12h"}
    elif asked == "1h":
        _warn(preset.name, model)
    return fields


@functools.lru_cache(maxsize=256)  # once for each model
def _warn(provider: str, model: str | None) -> None:
    logger.warning(
        "prompt_cache='1h' has no counterpart for %r of %s, which keeps prompts for minutes", model, provider
    )
