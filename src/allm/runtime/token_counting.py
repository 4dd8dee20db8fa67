"""Counting the tokens of a prompt: at the provider, or by the estimate."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from allm.data.attrs_classes import frozen
from allm.data.errors import AdapterError
from allm.data.json.text import as_count, dumps
from allm.data.request import Request
from allm.data.token_count import TokenCount, estimated_tokens
from allm.http.call import HttpCall
from allm.http.errors import malformed
from allm.http.json_call import JsonResponse, post_json
from allm.runtime.adapters import AdapterOptions

__all__ = ["CountCall", "Estimate", "post_count"]

_NO_SUCH_ENDPOINT = frozenset({404, 405, 501})
_NO_SUCH_MODEL = frozenset({"not_found_error", "model_not_found", "NOT_FOUND"})
"""Codes with which the vendors answer to a model that they do not know."""


def _always_counted(_error: AdapterError) -> bool:
    return False


@frozen
class CountCall:
    """A call for a count.

    Attributes:
        call: The HTTP call.
        field: Where the count is in the answer.
        request: What is counted.
        elsewhere: It goes to another address than the vendor's own, where the endpoint may be missing.
        not_counted: Whether an error says that the vendor does not count what this model reads.
    """

    call: HttpCall
    field: str
    request: Request
    elsewhere: bool
    not_counted: Callable[[AdapterError], bool] = attrs.field(default=_always_counted, eq=False)


async def post_count(prepared: CountCall | Request) -> TokenCount:
    """Make the call; a request is estimated, and so is what a server does not count.

    Raises:
        AdapterError: The call failed.
    """
    if isinstance(prepared, Request):
        return await Estimate("").send(prepared)

    def decode(answer: JsonResponse) -> TokenCount:
        tokens = as_count(answer.document.get(prepared.field))
        if tokens is None:
            raise malformed(prepared.call.provider, f"expected a number as {prepared.field}", dumps(answer.document))
        return TokenCount(tokens, exact=True, request_id=answer.request_id)

    try:
        return await post_json(prepared.call, decode)
    except AdapterError as error:
        known = error.provider_code in _NO_SUCH_MODEL
        missing = prepared.elsewhere and not known and error.status in _NO_SUCH_ENDPOINT
        if not missing and not prepared.not_counted(error):
            raise
        return TokenCount(estimated_tokens(prepared.request), exact=False)


class Estimate:
    """Counts for a provider that does not."""

    requires_model = False

    def __init__(self, provider: str) -> None:
        self.provider = provider

    def prepare(self, request: Request, _options: AdapterOptions) -> Request:
        """The request as it is."""
        return request

    async def send(self, prepared: Request) -> TokenCount:
        """The estimate."""
        await trio.lowlevel.checkpoint()
        return TokenCount(estimated_tokens(prepared), exact=False)
