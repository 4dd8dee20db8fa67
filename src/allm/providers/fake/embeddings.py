"""Embeddings without a provider, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import final

from allm.adapters import AdapterOptions, BatchLimits, EmbeddingInput, text_size
from allm.data.embedding import Embedding, EmbeddingRequest, EmbeddingResponse
from allm.data.response import Usage
from allm.data.script import Trouble
from allm.providers.fake.scripted_failures import Troubles
from allm.providers.fake.vectors import made_vector

__all__ = ["FakeEmbeddings"]

BYTES_PER_TOKEN = 4
DIMENSIONS = 8


@final
class FakeEmbeddings:
    """Makes a vector of every text: the same text, the same vector.

        adapter = FakeEmbeddings(vectors={"red": [1, 0], "green": [0, 1]})
        response = await allm.embed(allm.Engine(embedding_adapter=adapter), ["red", "green"])

    Args:
        dimensions: Length of the vectors, where the request asks for none; 8, or that of your own vectors.
        vectors: Your own vectors for some texts.
        script: What becomes of the requests, one list of `fake.delay(...)` and `fake.error(...)` for each in the order
            they are sent; those after it succeed at once. `fake.preflight_error(...)` is raised before that.
        batch_limit: Most inputs in one request.

    Attributes:
        requests: What was asked, in order; each has the inputs of one batch.
    """

    provider = "fake"
    requires_model = False

    def __init__(
        self,
        dimensions: int | None = None,
        *,
        vectors: Mapping[str, Sequence[float]] | None = None,
        script: Iterable[Sequence[Trouble]] = (),
        batch_limit: int = 100,
    ) -> None:
        self.requests: list[EmbeddingRequest] = []
        self._vectors = dict(vectors or {})
        own = next(map(len, self._vectors.values()), DIMENSIONS)
        self.dimensions: int = own if dimensions is None else dimensions
        self._troubles = Troubles(script)
        self._limits = BatchLimits(batch_limit)

    def batch_limits(self, _model: str | None) -> BatchLimits:
        """What was given."""
        return self._limits

    def prepare(self, request: EmbeddingRequest, _options: AdapterOptions) -> EmbeddingRequest:
        """Record the request.

        Raises:
            AllmError: The script has it next.
        """
        self.requests.append(request)
        self._troubles.check()
        return request

    async def send(self, prepared: EmbeddingRequest) -> EmbeddingResponse:
        """Play the script for this request, then answer.

        Raises:
            AllmError: The script has it.
        """
        await self._troubles.play()
        dimensions = prepared.dimensions or self.dimensions
        tokens = sum(-(-text_size(item) // BYTES_PER_TOKEN) for item in prepared.inputs)
        return EmbeddingResponse(
            embeddings=(Embedding(index, self._vector(item, dimensions)) for index, item in enumerate(prepared.inputs)),
            usage=Usage(input_tokens=tokens, total_tokens=tokens),
            model=prepared.model or "fake",
        )

    def _vector(self, item: EmbeddingInput, dimensions: int) -> Sequence[float]:
        if isinstance(item, str):
            return self._vectors.get(item) or made_vector(item, dimensions)
        return made_vector(repr(item), dimensions)
