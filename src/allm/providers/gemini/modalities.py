"""Tokens by what they stand for: `promptTokensDetails` and its like, as far as a kind of token has prices of its own.

https://ai.google.dev/gemini-api/docs/pricing: sound in a prompt, and sound and images in an answer. Images and films
in a prompt cost what its text costs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from allm.adapters import as_count, as_objects, as_text

__all__ = ["modality_counts"]

_PLACES = {
    ("promptTokensDetails", "AUDIO"): "input_audio_tokens",
    ("toolUsePromptTokensDetails", "AUDIO"): "input_audio_tokens",
    ("cacheTokensDetails", "AUDIO"): "cache_audio_read_tokens",
    ("candidatesTokensDetails", "AUDIO"): "output_audio_tokens",
    ("candidatesTokensDetails", "IMAGE"): "output_image_tokens",
}


def modality_counts(counts: Mapping[str, Any]) -> dict[str, int]:
    """The counts under the names that they have in every `Usage.extra`.

    One is 0 only where the list that had it is empty: its value was reported before, and does not hold any more.
    """
    found: Counter[str] = Counter()
    for (place, modality), name in _PLACES.items():
        if counts.get(place) == []:
            found[name] += 0
        for entry in as_objects(counts.get(place)):
            if as_text(entry.get("modality")) == modality:
                found[name] += as_count(entry.get("tokenCount")) or 0
    return dict(found)
