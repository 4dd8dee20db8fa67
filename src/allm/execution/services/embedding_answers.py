"""What becomes of one answer: whether it fits its request, what it cost, and where its vectors belong."""

from __future__ import annotations

import attrs

from allm.data.embedding import Embedding, EmbeddingRequest, EmbeddingResponse
from allm.data.errors import AdapterError
from allm.runtime.batches import Batch
from allm.runtime.costs import embedding_usage

__all__ = ["AnswerCheck", "moved", "priced"]

BITS = 8
"""Numbers in a byte of a vector that is quantized to bits; services count `dimensions` before that."""

INDEXES_SHOWN = 10
"""Of an answer with wrong indexes, in the text of the error."""


@attrs.define(eq=False)
class AnswerCheck:
    """Refuses answers that do not fit their request, or the other answers of the same call."""

    provider: str
    dimensions: int | None
    _length: int = attrs.field(default=0, init=False)  # of every vector of the call, once there is one

    def check(self, response: EmbeddingResponse, count: int) -> None:
        """Refuse an answer without one vector for each input: a vector under another's index is worse than none.

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
                f"{self.provider} answered with a vector of {length} numbers where dimensions={wanted} was asked for: "
                "this model has no such length, or the server takes no notice of it; leave dimensions out",
                reason="unsupported_feature",
                provider=self.provider,
            )
        self._length = self._length or length
        if length != self._length:
            raise self._malformed(f"vectors of {self._length} and of {length} numbers in one call")

    def _malformed(self, what: str) -> AdapterError:
        message = f"{self.provider} answered with {what}"
        return AdapterError(message, reason="malformed_response", provider=self.provider)


def priced(response: EmbeddingResponse, request: EmbeddingRequest, batch: Batch, provider: str) -> EmbeddingResponse:
    """The answer with its costs; as it is where an image is among the inputs, which costs more than as much text."""
    if not all(isinstance(item, str) for item in batch):
        return response
    usage = embedding_usage(provider, response.model or request.model, response.usage)
    return attrs.evolve(response, usage=usage)


def moved(response: EmbeddingResponse, offset: int) -> EmbeddingResponse:
    """The answer with its indexes counted from the first input of the whole call."""
    if not offset:
        return response
    embeddings = [Embedding(embedding.index + offset, embedding._values) for embedding in response.embeddings]
    return attrs.evolve(response, embeddings=embeddings)
