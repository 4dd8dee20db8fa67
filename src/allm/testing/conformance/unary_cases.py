"""Cases shared by all unary adapters. Each case starts Trio itself."""

from __future__ import annotations

import copy
import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal, TypeVar

import attrs

from allm.data.errors import AdapterError, AdapterReason, AllmError, EngineError
from allm.data.json.codec import to_json
from allm.runtime.adapters import AdapterOptions
from allm.runtime.engine import Engine
from allm.runtime.retry import RetryPolicy
from allm.testing.cancelling import CancelTrial, cancel_everywhere
from allm.testing.conformance.checks import hides, holds, same
from allm.testing.conformance.lifetime_cases import settled
from allm.testing.conformance.setup import KEY, NO_SERVER, AdapterSetup, run
from allm.testing.faults import Cut, Stall
from allm.testing.replies import Reply
from allm.testing.wire_server import WireServer

__all__ = ["ServiceCapability", "UnaryCases", "UnaryStage", "unary_case"]

ServiceCapability = Literal["http", "api_key", "streaming", "pages", "download"]
"""Capabilities that an adapter of a service beside chat may lack; each suite says which of them it knows."""

ErrorT = TypeVar("ErrorT", bound=AllmError)

AT_ONCE = RetryPolicy(max_attempts=2, base_delay=0, jitter=0)
REASONS: dict[int, AdapterReason] = {
    400: "invalid_request",
    401: "authentication_failed",
    429: "rate_limited",
    500: "provider_unavailable",
}


@attrs.frozen(eq=False)
class UnaryStage:
    """A server with scripted replies, and an engine with an adapter that uses it."""

    engine: Engine
    server: WireServer


def unary_case(*needs: str) -> Callable[[Callable[[Any], Awaitable[None]]], Callable[[Any], None]]:
    """Make a synchronous test of an async case, skipped if the adapter lacks a capability."""

    def decorate(function: Callable[[Any], Awaitable[None]]) -> Callable[[Any], None]:
        @functools.wraps(function)
        def test(self: UnaryCases) -> None:
            for capability in needs:
                if capability in self.lacks:
                    import pytest  # imported here, so that this module works without pytest

                    pytest.skip(f"lacks {capability}: {self.lacks[capability]}")
            run(function, self)

        return test

    return decorate


class UnaryCases(ABC):
    """Cases shared by the suites of all unary services; a suite defines how its service is called."""

    model: ClassVar[str] = "conformance-model"
    lacks: ClassVar[Mapping[Any, str]] = {}
    _slot: ClassVar[str]  # prefix of the engine's fields, such as `image`
    _capabilities: ClassVar[Sequence[str]]
    _error_type: ClassVar[type[AdapterError]] = AdapterError
    _unusable: ClassVar[Sequence[bytes]] = (b"", b"<html>", b"null", b"[]", b"{}")  # bodies that are no answer
    _shows_its_end: ClassVar[bool] = True  # a shorter body in an intact HTTP message is no answer

    def make_adapter(self, setup: AdapterSetup) -> Any:
        """The adapter under test; one without HTTP must respond to every call by itself."""
        raise NotImplementedError(f"{type(self).__name__} has to define make_adapter(self, setup)")

    @abstractmethod
    def _request(self) -> Any: ...

    @abstractmethod
    async def _ask(self, engine: Engine, **options: Any) -> Any: ...

    @abstractmethod
    def _sample(self) -> Reply: ...

    # --- the cases ---

    def test_lacks_has_known_capabilities(self) -> None:
        """A misspelt capability would skip nothing."""
        known = sorted(self._capabilities)
        same(sorted(set(self.lacks) - {*known}), [], f"`lacks` has unknown capabilities; expected some of {known}")

    @unary_case()
    async def test_preparing_sends_nothing_and_is_repeatable(self) -> None:
        """`prepare` does not change the request."""
        async with self._playing() as stage:
            request = self._request()
            before = copy.deepcopy(request)
            for _ in range(2):
                self._adapter(stage).prepare(request, AdapterOptions())
            same(request, before, "the request after it was prepared")
            same(stage.server.requests, [], "requests sent by prepare")

    @unary_case("api_key")
    async def test_a_missing_key_is_an_error_before_anything_is_sent(self) -> None:
        """The error has the reason `missing_key`."""
        async with self._playing(api_key=None) as stage:
            error = await self._failure_of(stage, EngineError)
            same(error.reason, "missing_key", "the reason")
            same(stage.server.requests, [], "requests sent without a key")

    @unary_case("http", "api_key")
    async def test_the_key_is_in_a_header_only(self) -> None:
        """It is not in the URL, the body, a repr, the response, or an error that quotes it."""
        refusal = Reply.json({"error": {"message": f"the key {KEY} is not valid", "code": 401}}, status=401)
        async with self._playing(self._sample(), refusal) as stage:
            response = await self._ask(stage.engine)
            error = await self._failure_of(stage, self._error_type)
            request = stage.server.requests[0]
            holds(any(KEY in value for value in request.headers.values()), "the key is in no header")
            prepared = self._adapter(stage).prepare(self._request(), AdapterOptions())
            texts = {
                "the URL": request.path,
                "the body": request.body.decode("latin-1"),
                "repr(engine)": repr(stage.engine),
                "repr(prepared)": repr(prepared),
                "repr(response)": repr(response),
                "to_json(response)": self._saved(response),
                "str(error)": str(error),
                "repr(error)": repr(error),
                "to_json(error)": to_json(error),
            }
            hides(KEY, texts.items())

    @unary_case("http")
    async def test_errors_have_their_reason(self) -> None:
        """Each has its status, and only temporary ones are retried."""
        for status, reason in REASONS.items():
            refusal = Reply.json({"error": {"message": "no", "code": status}}, status=status)
            async with self._playing(refusal, refusal, retry=AT_ONCE) as stage:
                error = await self._failure_of(stage, self._error_type)
                same((error.reason, error.status), (reason, status), f"reason and status for HTTP {status}")
                tries = 2 if status in {429, 500} else 1
                same(len(stage.server.requests), tries, f"requests for HTTP {status}, with one retry allowed")

    @unary_case("http")
    async def test_a_retry_after_is_read(self) -> None:
        """The error has the seconds to wait."""
        refusal = Reply.json({"error": {"message": "no", "code": 429}}, status=429, headers={"retry-after": "7"})
        async with self._playing(refusal) as stage:
            error = await self._failure_of(stage, self._error_type)
            same(error.retry_after, 7.0, "seconds to wait")

    @unary_case("http")
    async def test_a_truncated_response_is_never_a_success(self) -> None:
        """Nor is one that is not JSON, or is empty."""
        reply = self._sample()
        cuts = sorted({0, 1, len(reply.body) // 2, len(reply.body) - 1})
        strange = [Reply(body=body, headers=reply.headers) for body in self._unusable]
        cut_off = [
            attrs.evolve(reply, fault=Cut(after, clean)) for after in cuts for clean in {False, self._shows_its_end}
        ]
        for bad in [*cut_off, *strange]:
            async with self._playing(bad) as stage:
                await self._failure_of(stage, self._error_type)

    @unary_case("http")
    async def test_silence_is_a_timeout(self) -> None:
        """Before the response, or in the middle of it."""
        reply = self._sample()
        for after in (0, len(reply.body) // 2):
            async with self._playing(attrs.evolve(reply, fault=Stall(after))) as stage:
                error = await self._failure_of(stage, self._error_type, first_event_timeout=20)
                same(error.reason, "timeout", f"the reason after silence at byte {after}")

    @unary_case()
    async def test_cancel_at_every_checkpoint(self) -> None:
        """No task is left, the connection is closed or idle, and the next call works."""

        async def call(stage: UnaryStage) -> Any:
            return await self._ask(stage.engine)

        async def check(trial: CancelTrial[Any]) -> None:
            await settled(trial.stage.server)
            holds(await self._ask(trial.stage.engine), "the next call")

        await cancel_everywhere(
            call,
            around=lambda: self._playing(self._sample(), self._sample()),
            check=check,
        )

    # --- for the cases ---

    @asynccontextmanager
    async def _playing(
        self, *replies: Reply, api_key: str | None = KEY, retry: RetryPolicy | None = None
    ) -> AsyncGenerator[UnaryStage]:
        async with WireServer() as server:
            over_http = "http" not in self.lacks
            if over_http:
                server.add(*(attrs.evolve(reply, framing="content-length") for reply in replies))
            setup = AdapterSetup(base_url=server.base_url if over_http else NO_SERVER, api_key=api_key)
            yield UnaryStage(self._engine(self.make_adapter(setup), retry), server)

    def _engine(self, adapter: Any, retry: RetryPolicy | None) -> Engine:
        service: Any = {f"{self._slot}_adapter": adapter, f"{self._slot}_model": self.model}
        return Engine(retry=retry, **service)

    def _undefined(self, hook: str, capability: str = "http") -> str:
        return f"{type(self).__name__} has to define {hook}, or declare lacks = {{{capability!r}: 'the reason'}}"

    def _saved(self, response: Any) -> str:
        return to_json(response)

    def _adapter(self, stage: UnaryStage) -> Any:
        return getattr(stage.engine, f"{self._slot}_adapter")

    async def _failure_of(self, stage: UnaryStage, kind: type[ErrorT], **options: Any) -> ErrorT:
        try:
            response = await self._ask(stage.engine, **options)
        except kind as error:
            return error
        raise AssertionError(f"expected {kind.__name__}, got {response!r}")
