"""One embedding response: check it against its request, add its costs, and shift its indexes."""

from __future__ import annotations

import attrs

from allm.data.attrs_classes import define
from allm.data.embedding import EmbeddingRequest, EmbeddingResponse, embedding_of
from allm.data.errors import AdapterError
from allm.runtime.batches import Batch
from allm.runtime.service_costs import embedding_usage

__all__ = ["ResponseCheck", "with_costs", "with_offset"]

BITS = 8
"""Numbers per byte in a vector quantized to bits; services count `dimensions` before packing."""

INDEXES_SHOWN = 10
"""How many wrong indexes the message of an error lists."""


@define(eq=False)
class ResponseCheck:
    """Rejects responses that do not match their request, or the other responses of the same call."""

    provider: str
    dimensions: int | None
    _length: int = attrs.field(default=0, init=False)  # of all vectors of the call, set by the first

    def check(self, response: EmbeddingResponse, count: int) -> None:
        """Reject a response without exactly one vector per input: a vector under a wrong index is worse than none.

        Raises:
            AdapterError: `malformed_response`, `unsupported_feature`.
        """
        indexes = [embedding.index for embedding in response.embeddings]
        if indexes != list(range(count)):
            shown = f"{len(indexes)} vectors" if len(indexes) != count else f"the indexes {indexes[:INDEXES_SHOWN]}"
            raise self._malformed(f"{shown} for {count} inputs; expected one for each, counted from 0")
        for embedding in response.embeddings:
            self._check_length(embedding.dimensions)

    def _check_length(self, length: int) -> None:
        wanted = self.dimensions
        if wanted is not None and wanted not in {length, length * BITS}:
            raise AdapterError(
                f"{self.provider} answered with a vector of {length} numbers where {wanted} were asked for: the model "
                "does not support this length, or the server ignores the field; leave the dimensions out",
                reason="unsupported_feature",
                provider=self.provider,
            )
        self._length = self._length or length
        if length != self._length:
            raise self._malformed(f"vectors of {self._length} and of {length} numbers in one call")

    def _malformed(self, what: str) -> AdapterError:
        message = f"{self.provider} answered with {what}"
        return AdapterError(message, reason="malformed_response", provider=self.provider)


def with_costs(
    response: EmbeddingResponse, request: EmbeddingRequest, batch: Batch, provider: str
) -> EmbeddingResponse:
    """The response with its costs; left out if an input has an image, since the price per text token does not apply."""
    if not all(isinstance(item, str) for item in batch):
        return response
    usage = embedding_usage(provider, response.model or request.model, response.usage)
    return attrs.evolve(response, usage=usage)


def with_offset(response: EmbeddingResponse, offset: int) -> EmbeddingResponse:
    """The response with its indexes counted from the first input of the whole call."""
    if not offset:
        return response
    embeddings = [embedding_of(embedding.index + offset, embedding._values) for embedding in response.embeddings]
    return attrs.evolve(response, embeddings=embeddings)
