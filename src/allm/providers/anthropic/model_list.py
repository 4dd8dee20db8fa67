"""The list of models (https://platform.claude.com/docs/en/api/models-list)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
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
    as_object,
    as_objects,
    as_text,
    dumps,
    malformed,
    post_json,
    with_query,
    without_body,
)
from allm.models import ModelInfo
from allm.providers.anthropic import adapter as messages

if TYPE_CHECKING:
    from allm.providers.anthropic.adapter import Anthropic

__all__ = ["ModelList"]

_MOST = 1000
_UNKNOWN = date(1970, 1, 1)
"""The API's word for a day that it does not know."""


@final
@attrs.frozen(eq=False)
class ModelList(UnaryAdapter[PageRequest, Page[ModelInfo]]):
    """The models of Anthropic."""

    adapter: Anthropic

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def prepare(self, request: PageRequest, options: AdapterOptions) -> HttpCall:
        """The call.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
        """
        url = messages.address(self.adapter.find_base_url(options), "/models")
        return without_body(self.adapter.call(with_query(url, limit=_MOST, after_id=request.cursor), b"", options))

    async def send(self, prepared: HttpCall) -> Page[ModelInfo]:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await post_json(prepared, self._page)

    def _page(self, answer: JsonResponse) -> Page[ModelInfo]:
        document = answer.document
        if not isinstance(document.get("data"), list):
            raise malformed(self.provider, "expected a list of models as data", dumps(document))
        models = tuple(_model(self.provider, item) for item in as_objects(document["data"]) if as_text(item.get("id")))
        return Page(models, as_text(document.get("last_id")) if document.get("has_more") is True else None)


def _model(provider: str, item: Mapping[str, Any]) -> ModelInfo:
    able = as_object(item.get("capabilities"))
    created = _day(item.get("created_at"))
    return ModelInfo(
        provider=provider,
        id=item["id"],
        json_schema=_supported(able, "structured_outputs"),
        vision=_supported(able, "image_input"),
        reasoning=_supported(able, "thinking"),
        context_window=as_count(item.get("max_input_tokens")),
        output_limit=as_count(item.get("max_tokens")),
        shutdown=_day(item.get("retires_at")),
        name=as_text(item.get("display_name")),
        created=None if created == _UNKNOWN else created,
    )


def _supported(able: Mapping[str, Any], name: str) -> bool | None:
    said = as_object(able.get(name)).get("supported")
    return said if isinstance(said, bool) else None


def _day(value: Any) -> date | None:
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
