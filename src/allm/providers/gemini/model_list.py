"""The list of models (https://ai.google.dev/api/models)."""

from __future__ import annotations

from collections.abc import Mapping
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
    as_objects,
    as_text,
    post_json,
    with_query,
    without_body,
)
from allm.models import ModelInfo

if TYPE_CHECKING:
    from allm.providers.gemini.adapter import Gemini

__all__ = ["ModelList"]

_MOST = 1000


@final
@attrs.frozen(eq=False)
class ModelList(UnaryAdapter[PageRequest, Page[ModelInfo]]):
    """The models of Google."""

    adapter: Gemini

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def prepare(self, request: PageRequest, options: AdapterOptions) -> HttpCall:
        """The call.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
        """
        url = with_query(self.adapter.url("/models", options), pageSize=_MOST, pageToken=request.cursor)
        return without_body(self.adapter.call(url, b"", options))

    async def send(self, prepared: HttpCall) -> Page[ModelInfo]:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await post_json(prepared, self._page)

    def _page(self, answer: JsonResponse) -> Page[ModelInfo]:
        listed = as_objects(answer.document.get("models"))  # without any, the field is missing
        models = tuple(_model(self.provider, item) for item in listed if as_text(item.get("name")))
        return Page(models, as_text(answer.document.get("nextPageToken")) or None)


def _model(provider: str, item: Mapping[str, Any]) -> ModelInfo:
    thinking = item.get("thinking")
    return ModelInfo(
        provider=provider,
        id=item["name"].removeprefix("models/"),
        reasoning=thinking if isinstance(thinking, bool) else None,
        context_window=as_count(item.get("inputTokenLimit")),
        output_limit=as_count(item.get("outputTokenLimit")),
        name=as_text(item.get("displayName")),
    )
