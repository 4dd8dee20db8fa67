"""Counts of tokens: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import attrs

from allm.adapters import AdapterOptions, CountCall, UnaryAdapter, post_count
from allm.data.request import Request
from allm.data.token_count import TokenCount
from allm.providers.bedrock.encode import encode
from allm.providers.bedrock.names import of_family

if TYPE_CHECKING:
    from allm.providers.bedrock.adapter import Bedrock

__all__ = ["TokenCounter"]

_COUNTED = ("messages", "system", "toolConfig", "additionalModelRequestFields")
"""https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseTokensRequest.html."""


@final
@attrs.frozen(eq=False)
class TokenCounter(UnaryAdapter[Request, TokenCount]):
    """Counts what `adapter` would send; for a model that the service does not count it is an estimate."""

    adapter: Bedrock

    @property
    def provider(self) -> str:
        """That of the adapter."""
        return self.adapter.provider

    def prepare(self, request: Request, options: AdapterOptions) -> CountCall:
        """The call.

        Raises:
            EngineError, ValidationError: As `Bedrock.prepare`.
        """
        origin = of_family(self.adapter.origin(self.adapter.find_base_url(options)), request.model)
        body = encode(request, options, origin)
        counted = {name: body[name] for name in _COUNTED if name in body}
        return self.adapter.count(request, {"converse": counted}, options)

    async def send(self, prepared: CountCall) -> TokenCount:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return await post_count(prepared)
