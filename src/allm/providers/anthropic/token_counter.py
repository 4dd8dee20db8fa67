"""Counts of tokens (https://platform.claude.com/docs/en/api/messages-count-tokens).

On Vertex AI: https://cloud.google.com/vertex-ai/generative-ai/docs/partner-models/claude/count-tokens.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, final

import attrs

from allm.adapters import AdapterOptions, CountCall, UnaryAdapter, dumps, post_count
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
        adapter, via = self.adapter, self.adapter.via
        base_url = (adapter if via is None else via).find_base_url(options)
        origin = adapter.origin(base_url)
        body = adapter.body(request, options, origin)
        if via is not None:
            passed = base64.b64encode(dumps(adapter.passed_on(body))).decode()
            return via.count(request, {"invokeModel": {"body": passed}}, options)
        counted = {name: value for name, value in body.items() if name in _COUNTED}
        # On Vertex AI counting is a model; the one whose tokens are counted is in the body.
        url = adapter.vertex_url(base_url, "count-tokens", "rawPredict")
        if url is not None:
            counted.setdefault("anthropic_version", messages.VERTEX_VERSION)
        call = adapter.call(url or messages.address(base_url, "/messages/count_tokens"), counted, options)
        return CountCall(call, "input_tokens", request, elsewhere=origin.place is not None)

    async def send(self, prepared: CountCall) -> TokenCount:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await post_count(prepared)
