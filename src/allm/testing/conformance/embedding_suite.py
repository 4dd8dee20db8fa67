"""The conformance suite for embedding adapters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

from allm.data.embedding import EmbeddingAdapterError, EmbeddingRequest, EmbeddingResponse
from allm.data.json.codec import from_json, to_json
from allm.data.json.text import dumps
from allm.execution.services.embeddings import embed
from allm.runtime.engine import Engine
from allm.testing.conformance.checks import holds, same
from allm.testing.conformance.unary_cases import UnaryCases, unary_case
from allm.testing.replies import Reply

__all__ = ["EmbeddingAdapterConformance", "EmbeddingCapability"]

EmbeddingCapability = Literal["http", "api_key"]
"""Capabilities that an embedding adapter may lack; see `EmbeddingAdapterConformance.lacks`."""

TEXTS = ("a conformance text 7f3a", "\u00e4 second \U0001f98a 81c0", "a third 'text' \\ 52de")
# Numbers that 32-bit floats represent exactly.
VECTORS = ((1.0, -0.5, 0.25), (0.125, 2.0, -4.0), (0.0, 0.75, 1.5))


class EmbeddingAdapterConformance(UnaryCases):
    """Cases for embedding adapters. Subclass it, define `make_adapter` and `make_reply`, and run pytest.

    Attributes:
        model: A model id for the requests.
        lacks: Capabilities that the adapter lacks, each with the reason that is shown for the skipped cases:

            - `http`: it uses HTTP, at `setup.base_url`
            - `api_key`: it sends `setup.api_key` in a header
    """

    lacks: ClassVar[Mapping[EmbeddingCapability, str]] = {}
    _slot = "embedding"
    _capabilities = get_args(EmbeddingCapability)
    _error_type = EmbeddingAdapterError

    # --- for authors ---

    def make_reply(self, vectors: Sequence[Sequence[float]]) -> Reply:
        """A response with these vectors, in the order of the inputs, as the provider would send it."""
        raise NotImplementedError(
            f"{type(self).__name__} has to define make_reply(self, vectors), or declare lacks = {{'http': 'reason'}}"
        )

    def _request(self) -> EmbeddingRequest:
        return EmbeddingRequest(TEXTS[:1], model=self.model)

    async def _ask(self, engine: Engine, **options: Any) -> EmbeddingResponse:
        return await embed(engine, TEXTS[0], **options)

    def _sample(self) -> Reply:
        return self._reply(VECTORS[:1])

    def _reply(self, vectors: Sequence[Sequence[float]]) -> Reply:
        return Reply() if "http" in self.lacks else self.make_reply(vectors)

    # --- the cases ---

    @unary_case()
    async def test_each_text_has_its_vector(self) -> None:
        """The vectors are in the order of the texts, exact, and survive JSON."""
        async with self._playing(self._reply(VECTORS)) as stage:
            response = await embed(stage.engine, TEXTS)
            same(len(response.vectors), len(TEXTS), "the number of vectors")
            holds(all(response.vectors), "a vector is empty")
            same(from_json(to_json(response)), response, "the response against itself after JSON")
            if "http" not in self.lacks:
                same(response.vectors, VECTORS, "the vectors that were sent")
                [request] = stage.server.requests
                sent = dumps(request.json())
                holds(all(dumps(text)[1:-1] in sent for text in TEXTS), "a text is not in the request")

    @unary_case()
    async def test_a_list_is_split_into_requests(self) -> None:
        """A batch size of 1 makes one request per text, with the vectors in order."""
        replies = [self._reply([vector]) for vector in VECTORS]
        async with self._playing(*replies) as stage:
            response = await embed(stage.engine, iter(TEXTS), batch_size=1, max_concurrency=1)
            same([embedding.index for embedding in response.embeddings], [0, 1, 2], "the indexes")
            if "http" not in self.lacks:
                same(response.vectors, VECTORS, "the vectors that were sent")
                same(len(stage.server.requests), len(TEXTS), "requests for a batch size of 1")

    @unary_case("http")
    async def test_wrong_number_of_vectors_is_an_error(self) -> None:
        """A vector under a wrong index is worse than none; the error has the finished embeddings."""
        for wrong in (VECTORS[:1], VECTORS):
            async with self._playing(self._reply(VECTORS[:2]), self._reply(wrong)) as stage:
                try:
                    await embed(stage.engine, [*TEXTS, "a fourth"], batch_size=2, max_concurrency=1)
                except EmbeddingAdapterError as error:
                    same(error.reason, "malformed_response", "the reason")
                    same(error.completed_inputs, 2, "finished inputs")
                else:
                    raise AssertionError(f"{len(wrong)} vectors were accepted for 2 texts")
