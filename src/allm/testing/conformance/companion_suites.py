"""The conformance suites for what a chat adapter has beside chat: counts of tokens and lists of models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast, get_args

from allm.data.errors import AdapterError
from allm.data.json.codec import from_json, to_json
from allm.data.message import system, user
from allm.data.request import Request
from allm.data.token_count import TokenCount
from allm.execution.services.model_list import list_models
from allm.execution.services.tokens import count_tokens
from allm.runtime.adapters import Companion
from allm.runtime.catalog import ModelInfo
from allm.runtime.engine import Engine
from allm.runtime.http_adapter import as_adapter
from allm.runtime.pages import PageRequest
from allm.runtime.retry import RetryPolicy
from allm.testing.conformance.checks import holds, same
from allm.testing.conformance.samples import two_tools
from allm.testing.conformance.unary_cases import ServiceCapability, UnaryCases, UnaryStage, unary_case
from allm.testing.replies import Reply

__all__ = ["CompanionCases", "ModelListConformance", "TokenCountConformance"]

TOKENS = 4321
PROMPT = "a conformance prompt 7f3a"
RULE = "a conformance rule 81c0"
IDS = ("conformance-model-a", "conformance-model-b", "conformance-model-c")


class CompanionCases(UnaryCases):
    """Cases for a service of the chat adapter's provider; `make_adapter` makes the chat adapter."""

    _capabilities: ClassVar[Sequence[str]] = get_args(ServiceCapability)[:2]

    def _engine(self, adapter: Any, retry: RetryPolicy | None) -> Engine:
        return Engine(adapter=adapter, model=self.model, retry=retry)

    def _adapter(self, stage: UnaryStage) -> Any:
        found = as_adapter(cast("Any", stage.engine.adapter)).companion(cast("Companion", self._slot))
        holds(found is not None, f"companion({self._slot!r}) of the adapter gives None")
        return found


class TokenCountConformance(CompanionCases):
    """Cases for a chat adapter whose provider counts tokens. Define `make_adapter` and `make_reply`, and run pytest.

    Attributes:
        model: A model id for the requests.
        lacks: Capabilities that the adapter lacks (`http`, `api_key`), each with the reason that is shown for the
            skipped cases.
    """

    _slot = "token_counter"

    def make_reply(self, tokens: int) -> Reply:
        """An answer with this count, as the provider would send it."""
        raise NotImplementedError(self._undefined("make_reply(self, tokens)"))

    def _request(self) -> Request:
        return Request([system(RULE), user(PROMPT)], model=self.model, tools=two_tools())

    async def _ask(self, engine: Engine, **options: Any) -> TokenCount:
        return await count_tokens(engine, self._request(), **options)

    def _sample(self) -> Reply:
        return Reply() if "http" in self.lacks else self.make_reply(TOKENS)

    @unary_case()
    async def test_everything_that_would_be_sent_is_counted(self) -> None:
        """The instructions and the tools too; the count survives JSON."""
        async with self._playing(self._sample()) as stage:
            counted = await self._ask(stage.engine)
            holds(counted.tokens > 0, f"the prompt has {counted.tokens} tokens")
            same(from_json(to_json(counted)), counted, "the count against itself after JSON")
            if "http" not in self.lacks:
                same((counted.tokens, counted.exact), (TOKENS, True), "the count, and that it is exact")
                [request] = stage.server.requests
                for part in (PROMPT, RULE, *(tool.name for tool in two_tools())):
                    holds(part.encode() in request.body, f"{part!r} is not in the request")


class ModelListConformance(CompanionCases):
    """Cases for a chat adapter whose provider lists its models. Define `make_adapter` and `make_reply`, and run pytest.

    Attributes:
        lacks: Capabilities that the adapter lacks, each with the reason that is shown for the skipped cases:

            - `http`: it uses HTTP, at `setup.base_url`
            - `api_key`: it sends `setup.api_key` in a header
            - `pages`: the list may come in several pages
    """

    _slot = "model_list"
    _capabilities = ("http", "api_key", "pages")
    _unusable = (b"", b"<html>", b"null", b"[]")  # an object without a list is an empty list for some

    def make_reply(self, ids: Sequence[str], *, more: bool) -> Reply:
        """A page with these models, as the provider would send it; with `more`, there is another page after it."""
        raise NotImplementedError(self._undefined("make_reply(self, ids, *, more)"))

    def _request(self) -> PageRequest:
        return PageRequest()

    async def _ask(self, engine: Engine, **options: Any) -> tuple[ModelInfo, ...]:
        return await list_models(engine, **options)

    def _sample(self) -> Reply:
        return self._reply(IDS)

    def _saved(self, response: Any) -> str:
        return repr(response)

    def _reply(self, ids: Sequence[str], *, more: bool = False) -> Reply:
        return Reply() if "http" in self.lacks else self.make_reply(ids, more=more)

    @unary_case()
    async def test_the_models_are_in_order(self) -> None:
        """Each has its id and the provider's name; nothing is sent with the question."""
        async with self._playing(self._sample()) as stage:
            models = await self._ask(stage.engine)
            holds(models, "the list is empty")
            same({model.provider for model in models}, {self._adapter(stage).provider}, "the provider of the models")
            if "http" not in self.lacks:
                same([model.id for model in models], list(IDS), "the ids, in their order")
                [request] = stage.server.requests
                same((request.method, request.body), ("GET", b""), "method and body of the request")

    @unary_case("http", "pages")
    async def test_every_page_is_read(self) -> None:
        """And none twice."""
        async with self._playing(self._reply(IDS[:2], more=True), self._reply(IDS[2:])) as stage:
            models = await self._ask(stage.engine)
            same([model.id for model in models], list(IDS), "the ids of both pages, in their order")
            paths = [request.path for request in stage.server.requests]
            same(len(set(paths)), 2, f"different requests for two pages: {paths}")

    @unary_case("http", "pages")
    async def test_a_list_that_goes_in_circles_is_an_error(self) -> None:
        """It would never end."""
        async with self._playing(*[self._reply(IDS[:2], more=True)] * 3) as stage:
            error = await self._failure_of(stage, AdapterError)
            same(error.reason, "malformed_response", "the reason")
