"""Counts of tokens (https://ai.google.dev/api/tokens)."""

from __future__ import annotations

from typing import TYPE_CHECKING, final
from urllib.parse import unquote

import attrs

from allm.adapters import AdapterOptions, CountCall, UnaryAdapter, post_count
from allm.data.request import Request
from allm.data.token_count import TokenCount
from allm.providers.gemini import adapter as connection

if TYPE_CHECKING:
    from allm.providers.gemini.adapter import Gemini

__all__ = ["TokenCounter"]

_ON_VERTEX = frozenset({"contents", "generationConfig", "systemInstruction", "tools"})
"""https://cloud.google.com/vertex-ai/docs/reference/rest/v1/projects.locations.publishers.models/countTokens."""


@final
@attrs.frozen(eq=False)
class TokenCounter(UnaryAdapter[Request, TokenCount]):
    """Counts what `adapter` would send."""

    adapter: Gemini

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def prepare(self, request: Request, options: AdapterOptions) -> CountCall:
        """The call.

        Raises:
            EngineError, ValidationError: As `Gemini.prepare`.
        """
        adapter, model = self.adapter, request.model or ""
        origin = adapter.origin(adapter.find_base_url(options))
        body = connection.body_of(request, options, origin)
        if adapter.project is None:  # beside `contents` alone, the API only takes a whole request
            body = {"generateContentRequest": {"model": unquote(connection.resource_name(model)), **body}}
        else:
            body = {name: value for name, value in body.items() if name in _ON_VERTEX}
        call = adapter.post(model, "countTokens", body, options)
        return CountCall(call, "totalTokens", request, elsewhere=origin.place is not None)

    async def send(self, prepared: CountCall) -> TokenCount:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await post_count(prepared)
