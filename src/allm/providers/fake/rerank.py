"""Reranking without a provider, for tests and demonstrations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import final

from allm.adapters import AdapterOptions
from allm.data.rerank import RerankRequest, RerankResponse, RerankResult
from allm.data.script import Trouble
from allm.providers.fake.scripted_failures import Troubles

__all__ = ["FakeRerank"]


@final
class FakeRerank:
    """Ranks documents by how many of the query's words are in them.

        found = await allm.rerank(allm.Engine(rerank_adapter=FakeRerank()), "a fox", ["a cow", "a fox"])

    Args:
        script: As in `FakeEmbeddings`.

    Attributes:
        requests: What was asked, in order.
    """

    provider = "fake"
    requires_model = False

    def __init__(self, *, script: Iterable[Sequence[Trouble]] = ()) -> None:
        self.requests: list[RerankRequest] = []
        self._troubles = Troubles(script)

    def prepare(self, request: RerankRequest, _options: AdapterOptions) -> RerankRequest:
        """Record the request.

        Raises:
            AllmError: The script has it next.
        """
        self.requests.append(request)
        self._troubles.check()
        return request

    async def send(self, prepared: RerankRequest) -> RerankResponse:
        """Play the script for this request, then answer.

        Raises:
            AllmError: The script has it.
        """
        await self._troubles.play()
        wanted = _words(prepared.query)
        results = [
            RerankResult(index=index, score=len(wanted & _words(document)) / max(1, len(wanted)))
            for index, document in enumerate(prepared.documents)
        ]
        best = RerankResponse(results=results).results[: prepared.top_n]
        return RerankResponse(results=best, model=prepared.model or "fake", id="fake")


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))
