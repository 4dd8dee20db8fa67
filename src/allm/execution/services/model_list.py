"""`list_models`: the models that a provider has."""

from __future__ import annotations

from typing import Any, Unpack

import attrs

from allm.execution.services.companions import CompanionService, all_pages
from allm.execution.services.service import UnaryOptions
from allm.execution.services.unary import resolve_unary
from allm.runtime import catalog
from allm.runtime.catalog import ModelInfo
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal
from allm.runtime.pages import Page, PageRequest

__all__ = ["list_models"]

_MODELS: CompanionService[PageRequest, Page[ModelInfo]] = CompanionService(
    name="model_list", noun="list of models", span="list_models", request_type=PageRequest
)


async def list_models(engine: Engine, **options: Unpack[UnaryOptions]) -> tuple[ModelInfo, ...]:
    """List the models that the engine's provider has for this key, in its order.

        for model in await allm.list_models(engine): print(model.id, model.context_window)

    What the provider says of a model is joined with what the catalog knows (`allm.models.lookup`); where both say
    something, the provider is right, but for models that you `put` in.

    Args:
        engine: An engine with the provider's adapter; it needs no model.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed, or could not be reached in time; `unsupported_feature`: it has no list.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    call = resolve_unary(_MODELS, engine, options)
    found = {model.id: model for model in await all_pages(call, PageRequest)}
    return tuple(map(_joined, found.values()))


def _joined(listed: ModelInfo) -> ModelInfo:
    known = catalog.lookup(listed.provider, listed.id)
    if known is None:
        return listed
    first, second = (known, listed) if catalog.own(listed.provider, listed.id) else (listed, known)
    fields = {field.name: getattr(first, field.name) for field in attrs.fields(ModelInfo)}
    said: dict[str, Any] = {name: value for name, value in fields.items() if value is not None and value != ()}
    return attrs.evolve(second, **said | {"id": listed.id})
