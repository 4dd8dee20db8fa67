"""Counts of tokens (https://platform.claude.com/docs/en/api/messages-count-tokens)."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from allm.adapters import AdapterOptions, CountCall, UnaryAdapter, post_count
from allm.data.request import Request
from allm.data.token_count import TokenCount
from allm.providers.anthropic import adapter as messages

if TYPE_CHECKING:
    from allm.providers.anthropic.adapter import Anthropic

__all__ = ["TokenCounter"]

# MessageCountTokensParams of Anthropic's own SDK, 2.11, and of its betas.
_COUNTED = frozenset(
    {"cache_control", "context_management", "mcp_servers", "messages", "model", "output_config", "output_format"}
    | {"prefill", "speed", "system", "thinking", "tool_choice", "tools"}
)


@final
@attrs.frozen(eq=False)
class TokenCounter(UnaryAdapter[Request, TokenCount]):
    """Counts what `adapter` would send."""

    adapter: Anthropic

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def prepare(self, request: Request, options: AdapterOptions) -> CountCall:
        """The call.

        Raises:
            EngineError, ValidationError: As `Anthropic.prepare`.
        """
        adapter = self.adapter
        base_url = adapter.find_base_url(options)
        origin = adapter.origin(base_url)
        body = adapter.body(request, options, origin)
        counted = {name: value for name, value in body.items() if name in _COUNTED}
        call = adapter.call(messages.address(base_url, "/messages/count_tokens"), counted, options)
        return CountCall(call, "input_tokens", request, elsewhere=origin.place is not None)

    async def send(self, prepared: CountCall) -> TokenCount:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await post_count(prepared)
