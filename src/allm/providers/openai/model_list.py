"""Lists of models: OpenAI's, and those of services that say more (https://openrouter.ai/docs/api-reference/models).

OpenAI gives names only; Mistral, Groq, Together and OpenRouter give limits and abilities, OpenRouter and Perplexity
prices.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, final

import attrs

from allm.adapters import (
    AdapterOptions,
    HttpCall,
    JsonResponse,
    Page,
    PageRequest,
    UnaryAdapter,
    as_count,
    as_list,
    as_object,
    as_objects,
    as_text,
    dumps,
    join_url,
    malformed,
    post_json,
    with_query,
    without_body,
)
from allm.models import ModelInfo, Prices

if TYPE_CHECKING:
    from allm.providers.openai.adapter import OpenAI

__all__ = ["ModelList"]

_MILLION = 1_000_000
_WINDOW = ("context_length", "context_window", "max_context_length", "max_model_len", "max_input_tokens")
"""OpenRouter, Together, Groq and vLLM have one name each for it."""


@final
@attrs.frozen(eq=False)
class ModelList(UnaryAdapter[PageRequest, Page[ModelInfo]]):
    """The models of a service."""

    adapter: OpenAI

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def prepare(self, request: PageRequest, options: AdapterOptions) -> HttpCall:
        """The call.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
        """
        adapter = self.adapter
        base_url, path = adapter.find_base_url(options, "responses"), adapter.row.models_path
        if base_url.partition("?")[0].rstrip("/").endswith("/v1"):
            path = path.removeprefix("/v1")
        url = with_query(join_url(base_url, path), after=request.cursor)
        return without_body(adapter.call(url, b"", options))

    async def send(self, prepared: HttpCall) -> Page[ModelInfo]:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await post_json(prepared, self._page)

    def _page(self, answer: JsonResponse) -> Page[ModelInfo]:
        listed = answer.document.get("data")
        if not isinstance(listed, list):
            raise malformed(self.provider, "expected a list of models as data", dumps(answer.document))
        models = tuple(_model(self.provider, item) for item in as_objects(listed) if as_text(item.get("id")))
        more = answer.document.get("has_more") is True and bool(models)
        return Page(models, models[-1].id if more else None)


def _model(provider: str, item: Mapping[str, Any]) -> ModelInfo:
    able = as_object(item.get("capabilities"))
    takes = as_list(item.get("supported_parameters"))
    seen = as_list(as_object(item.get("architecture")).get("input_modalities"))
    limit = as_count(as_object(item.get("top_provider")).get("max_completion_tokens"))
    return ModelInfo(
        provider=provider,
        id=item["id"],
        tools=_yes_or_no(able.get("function_calling"), "tools", takes),
        json_schema=_yes_or_no(None, "structured_outputs", takes),
        vision=_yes_or_no(able.get("vision"), "image", seen),
        reasoning=_yes_or_no(able.get("reasoning"), "reasoning", takes),
        context_window=next((count for name in _WINDOW if (count := as_count(item.get(name)))), None),
        output_limit=limit or as_count(item.get("max_completion_tokens")),
        prices=_prices(as_object(item.get("pricing"))),
        shutdown=_day(item.get("shutdown_date") or item.get("deprecation")),
        name=as_text(item.get("display_name")) or as_text(item.get("name")),
        created=_day(item.get("created")),
        aliases=[alias for alias in as_list(item.get("aliases")) if isinstance(alias, str)],
    )


def _yes_or_no(said: Any, word: str, words: list[Any]) -> bool | None:
    if isinstance(said, bool):
        return said
    return word in words if words else None


def _day(value: Any) -> date | None:
    """A day that is written as seconds since 1970, or as a date; 0 is none."""
    try:
        if isinstance(value, str):
            return date.fromisoformat(value[:10])
        return datetime.fromtimestamp(value, UTC).date() if value and type(value) in {int, float} else None
    except (ValueError, OverflowError, OSError):
        return None


def _prices(pricing: Mapping[str, Any]) -> tuple[Prices, ...]:
    by_million = pricing.get("unit") == "usd_per_1m_tokens"

    def dollars(*names: str) -> float | None:
        for name in names:
            try:
                price = float(pricing[name])
            except (KeyError, TypeError, ValueError):
                continue
            return round(price if by_million else price * _MILLION, 6)
        return None

    if not by_million and "prompt" not in pricing:  # of other units nothing is known
        return ()
    first, last = dollars("input", "prompt"), dollars("output", "completion")
    if first is None or last is None or min(first, last) < 0:  # -1: it depends on the model that is chosen
        return ()
    read, write = dollars("cache_read", "input_cache_read"), dollars("cache_write", "input_cache_write")
    return (Prices(input=first, output=last, cached_input=read, cache_write=write),)
