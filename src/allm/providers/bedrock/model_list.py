"""The list of models: those of the region, and then the profiles that newer ones are called through.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_ListFoundationModels.html and the same of
`ListInferenceProfiles`. Another service of AWS has them than the one that runs models, at an address of its own.
"""

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
    as_list,
    as_object,
    as_objects,
    as_text,
    join_url,
    post_json,
    with_query,
)
from allm.models import ModelInfo

if TYPE_CHECKING:
    from allm.providers.bedrock.adapter import Bedrock

__all__ = ["ModelList"]

_MOST = 1000
_PROFILES = "profiles"
"""The cursor of the first page of profiles; on the others a token of the service is behind it."""


@attrs.frozen
class _Prepared:
    call: HttpCall
    of_profiles: bool


@final
@attrs.frozen(eq=False)
class ModelList(UnaryAdapter[PageRequest, Page[ModelInfo]]):
    """The models of a region, and the profiles."""

    adapter: Bedrock

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def prepare(self, request: PageRequest, options: AdapterOptions) -> _Prepared:
        """The call.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
        """
        base_url = self.adapter.find_control_url(options)
        if request.cursor is None:
            return _Prepared(self.adapter.get(join_url(base_url, "/foundation-models"), options), of_profiles=False)
        token = request.cursor.removeprefix(_PROFILES) or None
        url = with_query(join_url(base_url, "/inference-profiles"), maxResults=_MOST, nextToken=token)
        return _Prepared(self.adapter.get(url, options), of_profiles=True)

    async def send(self, prepared: _Prepared) -> Page[ModelInfo]:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await post_json(prepared.call, self._profiles if prepared.of_profiles else self._models)

    def _models(self, answer: JsonResponse) -> Page[ModelInfo]:
        listed = as_objects(answer.document.get("modelSummaries"))
        return Page(tuple(_model(self.provider, item) for item in listed if as_text(item.get("modelId"))), _PROFILES)

    def _profiles(self, answer: JsonResponse) -> Page[ModelInfo]:
        profiles = tuple(
            ModelInfo(provider=self.provider, id=identifier, name=as_text(item.get("inferenceProfileName")))
            for item in as_objects(answer.document.get("inferenceProfileSummaries"))
            if (identifier := as_text(item.get("inferenceProfileId")))
        )
        token = as_text(answer.document.get("nextToken"))
        return Page(profiles, _PROFILES + token if token else None)


def _model(provider: str, item: Mapping[str, Any]) -> ModelInfo:
    read = as_list(item.get("inputModalities"))
    return ModelInfo(
        provider=provider,
        id=item["modelId"],
        vision="IMAGE" in read if read else None,
        name=as_text(item.get("modelName")),
        shutdown=_day(as_object(item.get("modelLifecycle")).get("endOfLifeTime")),
    )


def _day(value: Any) -> date | None:
    text = as_text(value)
    try:
        return None if text is None else date.fromisoformat(text[:10])
    except ValueError:
        return None
