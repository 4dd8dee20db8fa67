"""What calls beside chat cost: embeddings, speech, transcriptions, images; and what a cache saved."""

from __future__ import annotations

import attrs

from allm.data.image_request import ImageUsage
from allm.data.response import Usage
from allm.runtime.costs import Pricing
from allm.runtime.unit_prices import sound_cost, token_prices, unit_price

__all__ = ["audio_usage", "embedding_usage", "image_cost", "saved_by_cache"]


def embedding_usage(provider: str, model: str | None, usage: Usage) -> Usage:
    """The usage of embedded texts with its costs, where the model's prices are known: all tokens are input."""
    tokens = usage.input_tokens if usage.input_tokens is not None else usage.total_tokens
    if model is None or tokens is None or usage.total_cost is not None:
        return usage
    counts = Usage(input_tokens=tokens, output_tokens=0)
    cost, _ = Pricing(provider, model)._input_and_output(counts, model)
    return usage if cost is None else attrs.evolve(usage, input_cost=float(cost), total_cost=float(cost))


def audio_usage(
    provider: str, model: str | None, usage: Usage, *, seconds: float | None = None, characters: int | None = None
) -> Usage:
    """The usage of speech or a transcription with its costs, where the prices are known.

    Args:
        provider: Who was asked.
        model: Which model.
        usage: As the provider reports it.
        seconds: How long the sound is that was heard.
        characters: How long the text is that was said.
    """
    if model is None or usage.total_cost is not None:
        return usage
    if usage.input_tokens is not None and usage.output_tokens is not None:
        usage = _priced_units(provider, model, usage)
        if usage.total_cost is not None:
            return usage
    cost = sound_cost(provider, model, seconds=seconds, characters=characters)
    return usage if cost is None else attrs.evolve(usage, total_cost=float(cost))


def saved_by_cache(provider: str, model: str, usage: Usage) -> float | None:
    """US dollars that the same prompt would have cost more without a cache; less than 0 where it was only written."""
    cached, written = usage.cached_input_tokens, usage.cache_write_input_tokens
    if cached is None and written is None:
        return None
    pricing = Pricing(provider, model)
    extra = {name: count for name, count in usage.extra.items() if name != "cache_audio_read_tokens"}
    plain = attrs.evolve(usage, cached_input_tokens=0, cache_write_input_tokens=0, extra=extra)
    without, with_cache = (pricing._input_and_output(counts, model)[0] for counts in (plain, usage))
    return None if without is None or with_cache is None else float(without - with_cache)


def image_cost(provider: str, model: str | None, usage: ImageUsage, *, edits: bool) -> float | None:
    """US dollars for images, by the token or by the image; None where the prices are not known.

    Args:
        provider: Who was asked.
        model: Which model.
        usage: As the provider reports it.
        edits: Images were sent too, which may have a price of their own.
    """
    if model is None:
        return None
    prices = token_prices(provider, model)
    if prices is None:
        by_image = None if edits else unit_price(provider, model, "image")
        return None if by_image is None else float(by_image * usage.images)
    drawn = usage.output_image_tokens
    if prices.output_image is not None and drawn is None:  # it also writes, at another price
        return None
    extra = {"input_image_tokens": usage.input_image_tokens}
    extra |= {} if prices.output_image is None else {"output_image_tokens": drawn}
    counts = Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens, extra=extra)
    return _priced_units(provider, model, counts).total_cost


def _priced_units(provider: str, model: str, usage: Usage) -> Usage:
    pricing = Pricing(provider, model)
    pricing._count(usage)
    return attrs.evolve(usage, **pricing._costs())
