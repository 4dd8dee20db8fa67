"""`moderate`: check texts and images against a provider's content rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from allm.data.errors import AdapterError
from allm.data.moderation import ModerationInput, ModerationRequest, ModerationResponse
from allm.execution.services.service import Service, UnaryOptions
from allm.execution.services.unary import ask, resolve_unary
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal

__all__ = ["moderate"]


def _check_response(request: ModerationRequest, response: ModerationResponse, provider: str) -> None:
    """Reject a response with a wrong number of results: a verdict on the wrong text is worse than none."""
    expected = 1 if request.has_images else len(request.inputs)
    if len(response.results) != expected:
        raise AdapterError(
            f"{provider} answered with {len(response.results)} results; expected {expected}",
            reason="malformed_response",
            provider=provider,
        )


MODERATION: Service[ModerationRequest, ModerationResponse] = Service(
    name="moderation",
    noun="moderation",
    span="moderation",
    request_type=ModerationRequest,
    check_response=_check_response,
    facts=lambda request, response: {"inputs": len(request.inputs), "response_model": response.model},
)


async def moderate(
    engine: Engine,
    inputs: ModerationInput | Iterable[ModerationInput] | ModerationRequest,
    **options: Unpack[UnaryOptions],
) -> ModerationResponse:
    """Check whether texts and images break a provider's content rules.

        response = await allm.moderate(engine, ["first text", "second text"])
        if response.flagged: ...

    Texts alone get one result each, in order. Texts and images together get a single result.

    Args:
        engine: The engine, with a `moderation_adapter` and a `moderation_model`.
        inputs: A text, an `Image`, several of them, or a `ModerationRequest`. They are sent in one request.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed, or could not be reached in time.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    call = resolve_unary(MODERATION, engine, options)
    return await ask(call, call.request_for(MODERATION.request_of(inputs)))
