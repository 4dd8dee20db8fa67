"""Prices of what is not the token of a text: searches, hours of sound, characters that are said, images.

They are in `unit_prices.json` beside this file, written by `scripts/update_unit_prices.py`, and read at the first
question. What is not there has no price: None, and never 0.
"""

from __future__ import annotations

import functools
import pkgutil
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from allm.data.json.text import loads
from allm.runtime.catalog import Prices, without_snapshot

__all__ = ["sound_cost", "token_prices", "unit_price"]

_SHORTEST = {"groq": 10}
"""Seconds that a recording is charged for at least: https://console.groq.com/docs/speech-to-text."""


@functools.cache
def _rows(provider: str) -> dict[str, Mapping[str, Any]]:
    data = pkgutil.get_data("allm.runtime", "unit_prices.json") or b""
    return {row["id"].lower(): row for row in loads(data)["models"] if row["provider"] == provider}


def _row(provider: str, model: str) -> Mapping[str, Any]:
    rows, name = _rows(provider), model.strip().lower().removeprefix("models/")
    return rows.get(name) or rows.get(without_snapshot(name)) or {}


def unit_price(provider: str, model: str, unit: str) -> Decimal | None:
    """US dollars for a unit: a thousand of `web_search` and `file_search`, an `audio_hour`, a million `characters`.

    Args:
        provider: Whose price.
        model: Which model's.
        unit: One of these, or `image`, for one.
    """
    price = _row(provider, model).get(unit)
    return None if price is None else Decimal(repr(price))


def token_prices(provider: str, model: str) -> Prices | None:
    """The prices for tokens of a model for images or sound, which the catalog has not."""
    row = _row(provider, model)
    if not {"input", "output"} <= row.keys():
        return None
    names = ("input", "output", "input_image", "output_image", "input_audio", "output_audio")
    return Prices(**{name: row[name] for name in names if name in row})


def sound_cost(provider: str, model: str, *, seconds: float | None, characters: int | None) -> Decimal | None:
    """The cost of sound that was heard, by its length, or of a text that was said."""
    if seconds is not None and (by_hour := unit_price(provider, model, "audio_hour")) is not None:
        return by_hour * Decimal(repr(max(seconds, _SHORTEST.get(provider, 0)))) / 3600
    if characters is not None and (by_million := unit_price(provider, model, "characters")) is not None:
        return by_million * characters / 1_000_000
    return None
