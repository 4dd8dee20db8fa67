"""The conformance suites for adapters that judge texts: reranking and moderation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, get_args

from allm.data.errors import AdapterError
from allm.data.json.codec import from_json, to_json
from allm.data.json.text import dumps
from allm.data.moderation import ModerationRequest, ModerationResponse
from allm.data.rerank import RerankRequest, RerankResponse
from allm.execution.services.moderation import moderate
from allm.execution.services.reranking import rerank
from allm.runtime.engine import Engine
from allm.testing.conformance.checks import holds, same
from allm.testing.conformance.unary_cases import ServiceCapability, UnaryCases, unary_case
from allm.testing.replies import Reply

__all__ = ["ModerationAdapterConformance", "RerankAdapterConformance"]

QUERY = "which one is it 5a1c"
TEXTS = ("a conformance text 7f3a", "\u00e4 second \U0001f98a 81c0", "a third 'text' \\ 52de")
SCORES = (0.25, 0.75, 0.5)
FLAGS = (False, True, False)


def _all_are_sent(body: bytes, texts: Sequence[str]) -> None:
    for text in texts:
        # Whether an adapter writes characters beyond ASCII as they are is its own affair.
        holds(dumps(text)[1:-1] in body or ascii(text)[1:-1].encode() in body, f"{text!r} is not in the request")


class RerankAdapterConformance(UnaryCases):
    """Cases for adapters that rerank. Subclass it, define `make_adapter` and `make_reply`, and run pytest.

    Attributes:
        model: A model id for the requests.
        lacks: Capabilities that the adapter lacks (`http`, `api_key`), each with the reason that is shown for the
            skipped cases.
    """

    _slot = "rerank"
    _capabilities: ClassVar[Sequence[str]] = get_args(ServiceCapability)[:2]

    def make_reply(self, scores: Sequence[float]) -> Reply:
        """An answer with a score for each document, in the order of the documents, as the provider would send it."""
        raise NotImplementedError(self._undefined("make_reply(self, scores)"))

    def _request(self) -> RerankRequest:
        return RerankRequest(QUERY, TEXTS, model=self.model)

    async def _ask(self, engine: Engine, **options: Any) -> RerankResponse:
        return await rerank(engine, QUERY, TEXTS, **options)

    def _sample(self) -> Reply:
        return self._reply(SCORES)

    def _reply(self, scores: Sequence[float]) -> Reply:
        return Reply() if "http" in self.lacks else self.make_reply(scores)

    @unary_case()
    async def test_the_best_document_is_first(self) -> None:
        """Each result has its document and its score, and the response survives JSON."""
        async with self._playing(self._sample()) as stage:
            response = await rerank(stage.engine, QUERY, TEXTS)
            same(sorted(result.index for result in response.results), [0, 1, 2], "the places of the documents")
            scores = [result.score for result in response.results]
            same(scores, sorted(scores, reverse=True), "the scores, the best first")
            same([TEXTS[result.index] for result in response.results], list(response.documents), "the documents")
            same(from_json(to_json(response)), response, "the response against itself after JSON")
            if "http" not in self.lacks:
                same({result.index: result.score for result in response.results}, dict(enumerate(SCORES)), "the scores")
                [request] = stage.server.requests
                _all_are_sent(request.body, [QUERY, *TEXTS])

    @unary_case()
    async def test_top_n_is_the_most_that_comes_back(self) -> None:
        """Also of a service that does not know the field."""
        async with self._playing(self._sample()) as stage:
            response = await rerank(stage.engine, QUERY, TEXTS, top_n=1)
            same(len(response.results), 1, "results for top_n=1")
            if "http" not in self.lacks:
                same(response.documents, (TEXTS[1],), "the best document")

    @unary_case("http")
    async def test_a_document_that_was_not_sent_is_an_error(self) -> None:
        """The caller would take a wrong one."""
        async with self._playing(self._reply((*SCORES, 1.0))) as stage:
            error = await self._failure_of(stage, AdapterError)
            same(error.reason, "malformed_response", "the reason")


class ModerationAdapterConformance(UnaryCases):
    """Cases for adapters that moderate. Subclass it, define `make_adapter` and `make_reply`, and run pytest.

    Attributes:
        model: A model id for the requests.
        lacks: Capabilities that the adapter lacks (`http`, `api_key`), each with the reason that is shown for the
            skipped cases.
    """

    _slot = "moderation"
    _capabilities: ClassVar[Sequence[str]] = get_args(ServiceCapability)[:2]

    def make_reply(self, flags: Sequence[bool]) -> Reply:
        """An answer with a verdict on each text, as the provider would send it: whether it breaks a rule."""
        raise NotImplementedError(self._undefined("make_reply(self, flags)"))

    def _request(self) -> ModerationRequest:
        return ModerationRequest(TEXTS, model=self.model)

    async def _ask(self, engine: Engine, **options: Any) -> ModerationResponse:
        return await moderate(engine, TEXTS, **options)

    def _sample(self) -> Reply:
        return self._reply(FLAGS)

    def _reply(self, flags: Sequence[bool]) -> Reply:
        return Reply() if "http" in self.lacks else self.make_reply(flags)

    @unary_case()
    async def test_each_text_has_its_verdict(self) -> None:
        """In the order of the texts, and the response survives JSON."""
        async with self._playing(self._sample()) as stage:
            response = await moderate(stage.engine, TEXTS)
            same(len(response.results), len(TEXTS), "the number of verdicts")
            holds(all(result.categories for result in response.results), "a verdict has no categories")
            same(from_json(to_json(response)), response, "the response against itself after JSON")
            if "http" not in self.lacks:
                same([result.flagged for result in response.results], list(FLAGS), "the verdicts, in their order")
                [request] = stage.server.requests
                _all_are_sent(request.body, TEXTS)

    @unary_case("http")
    async def test_wrong_number_of_verdicts_is_an_error(self) -> None:
        """A verdict on the wrong text is worse than none."""
        for flags in (FLAGS[:2], (*FLAGS, True)):
            async with self._playing(self._reply(flags)) as stage:
                error = await self._failure_of(stage, AdapterError)
                same(
                    error.reason, "malformed_response", f"the reason after {len(flags)} verdicts on {len(TEXTS)} texts"
                )
