"""`moderate`: whether texts and images break a provider's rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

import attrs

from allm.data.errors import AdapterError, EngineError
from allm.data.moderation import ModerationInput, ModerationRequest, ModerationResponse, moderation_problems
from allm.data.problems import refuse
from allm.execution.services.unary import UnaryOptions, resolve_unary
from allm.runtime.adapters import as_adapter
from allm.runtime.engine import Engine

__all__ = ["moderate"]


async def moderate(
    engine: Engine,
    inputs: ModerationInput | Iterable[ModerationInput] | ModerationRequest,
    **options: Unpack[UnaryOptions],
) -> ModerationResponse:
    """Ask whether texts and images break a provider's rules.

        response = await allm.moderate(engine, ["first text", "second text"])
        if response.flagged: ...

    Texts alone have a result each, in their order. Texts and images together are judged as one thing, with one result.

    Args:
        engine: Who judges: its `moderation_adapter` and `moderation_model`.
        inputs: A text, an `Image`, several of them, or a `ModerationRequest`. They go into one request.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed, or could not be reached in time.
        EngineError, OptionError, ValidationError: What is wrong with the call; nothing has been sent.
    """
    call = resolve_unary(engine, "moderation", options)
    request = inputs if isinstance(inputs, ModerationRequest) else ModerationRequest(inputs)
    request = attrs.evolve(
        request,
        model=call.model or request.model or engine.moderation_model,
        options={**request.options, **call.body},
    )
    refuse(moderation_problems(request))
    if request.model is None and as_adapter(call.adapter).requires_model:
        raise EngineError(
            "no model for moderation is given: pass model=, set Engine(moderation_model=...), or use "
            "engine.with_services(moderation_model='provider:model')",
            reason="missing_model",
        )
    prepared = call.adapter.prepare(request, call.adapter_options)

    async def work() -> ModerationResponse:
        return _checked(await call.adapter.send(prepared), request, call.adapter.provider)

    with call.running(model=request.model) as span:
        response: ModerationResponse = await call.attempt(work, span)
        span.stop(inputs=len(request.inputs), response_model=response.model)
    return attrs.evolve(response, metadata={**request.metadata, **response.metadata})


def _checked(response: ModerationResponse, request: ModerationRequest, provider: str) -> ModerationResponse:
    """The answer, if it has the results it should: a verdict on another text would be worse than none."""
    expected = 1 if request.has_images else len(request.inputs)
    if len(response.results) != expected:
        raise AdapterError(
            f"{provider} answered with {len(response.results)} results; expected {expected}",
            reason="malformed_response",
            provider=provider,
        )
    return response
