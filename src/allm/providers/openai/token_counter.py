"""Counts of tokens by the Responses API (https://platform.openai.com/docs/api-reference/responses/input-tokens)."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from allm.adapters import AdapterOptions, CountCall, UnaryAdapter, join_url, post_count
from allm.data.request import Request
from allm.data.token_count import TokenCount
from allm.providers.openai import responses_encode
from allm.providers.openai.connection import is_openai, row_at

if TYPE_CHECKING:
    from allm.providers.openai.adapter import OpenAI

__all__ = ["TokenCounter"]

# InputTokenCountParams of OpenAI's own SDK, 3.57.
_COUNTED = frozenset(
    {"conversation", "input", "instructions", "model", "parallel_tool_calls", "personality", "previous_response_id"}
    | {"reasoning", "text", "tool_choice", "tools", "truncation"}
)


@final
@attrs.frozen(eq=False)
class TokenCounter(UnaryAdapter[Request, TokenCount]):
    """Counts what `adapter` would send, where it goes to the Responses API; Chat Completions has no such endpoint."""

    adapter: OpenAI

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def prepare(self, request: Request, options: AdapterOptions) -> CountCall | Request:
        """The call, or the request itself, which is then estimated.

        Raises:
            EngineError, ValidationError: As `OpenAI.prepare`.
        """
        adapter = self.adapter
        request = adapter.with_deployment(request)
        if not adapter.row.counts_tokens or adapter.endpoint_of(request, options) != "responses":
            return request
        base_url = adapter.find_base_url(options, "responses", request.model)
        body = responses_encode.encode(request, options, row_at(adapter.row, base_url), adapter.origin(base_url))
        counted = {name: value for name, value in body.items() if name in _COUNTED}
        call = adapter.call(join_url(base_url, "/responses/input_tokens"), counted, options)
        return CountCall(call, "input_tokens", request, elsewhere=not is_openai(base_url))

    async def send(self, prepared: CountCall | Request) -> TokenCount:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await post_count(prepared)
