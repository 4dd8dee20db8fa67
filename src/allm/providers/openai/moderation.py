"""The adapter for moderation: OpenAI's, and Mistral's, which speaks the same wire format."""

from __future__ import annotations

from typing import final

import attrs

from allm.adapters import AdapterOptions, HttpCall, JsonResponse, UnaryAdapter, explains_settings, post_json
from allm.data.moderation import ModerationRequest, ModerationResponse
from allm.providers.openai.connection import Connection
from allm.providers.openai.moderation_wire import MAX_INPUTS, moderation_body, moderation_response

__all__ = ["OpenAIModeration"]


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class OpenAIModeration(Connection, UnaryAdapter[ModerationRequest, ModerationResponse]):
    """Moderation by OpenAI: `Engine(moderation_adapter=OpenAIModeration())`; `preset="mistral"` asks Mistral.

    The arguments are those of `OpenAI`, without the endpoint.

    Args:
        max_inputs: Most texts in a call; OpenAI takes 32. More are refused, as a verdict may be needed on all of them.
    """

    max_inputs: int = MAX_INPUTS

    @property
    def requires_model(self) -> bool:
        """OpenAI has a model for requests that name none."""
        return self.provider != "openai"

    def prepare(self, request: ModerationRequest, options: AdapterOptions) -> HttpCall:
        """The call.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: More than fits into one request, an image that the model does not see.
        """
        body = moderation_body(request, provider=self.provider, max_inputs=self.max_inputs)
        return self.post("/moderations", body, options, model=request.model)

    async def send(self, prepared: HttpCall) -> ModerationResponse:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await post_json(prepared, _decode)


def _decode(answer: JsonResponse) -> ModerationResponse:
    return attrs.evolve(moderation_response(answer.document), request_id=answer.request_id)
