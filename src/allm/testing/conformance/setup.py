"""The hooks of the streaming suites, and the stage on which a case runs an adapter."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Literal, cast, get_args

import attrs
import trio

from allm.data.errors import AdapterReason
from allm.data.response import FinishReason
from allm.data.script import ScriptItem
from allm.http.call import HttpCall
from allm.runtime.adapters import StreamAdapter
from allm.runtime.engine import Engine
from allm.runtime.retry import RetryPolicy
from allm.testing.clock import loopback_clock
from allm.testing.replies import Reply
from allm.testing.wire_formats import Provider
from allm.testing.wire_server import ReplySource, WireServer

__all__ = [
    "CAPABILITIES",
    "KEY",
    "AdapterSetup",
    "Capability",
    "Script",
    "Setting",
    "Stage",
    "case",
    "run",
]

Script = tuple[ScriptItem, ...]

Capability = Literal[
    "http",
    "server_sent_events",
    "api_key",
    "pure_prepare",
    "tools",
    "invalid_arguments",
    "reasoning",
    "usage",
    "citations",
    "hosted_calls",
    "stream_errors",
    "connection_reuse",
]
"""Capabilities that an adapter may lack; see `AdapterConformance.lacks`."""

CAPABILITIES = frozenset(get_args(Capability))

KEY = "sk-conformance-canary-b1946ac92492d2347c6235b4d2611184"
HANG_SECONDS = 1e6
"""Virtual time limit of a case: if everything waits forever, the clock jumps here at once."""
NO_SERVER = "http://127.0.0.1:9"
"""A URL for cases that send nothing: the discard port, on which nothing listens."""


@attrs.frozen(kw_only=True)
class AdapterSetup:
    """The settings for an adapter under test.

    Attributes:
        base_url: `http://127.0.0.1:<port>` of a server that plays the responses, without a path.
        api_key: The key to send; None means that the key is missing, which the adapter must notice.
        scripts: The responses, one for each call, for an adapter without HTTP that plays them itself.
    """

    base_url: str
    api_key: str | None
    scripts: tuple[Script, ...] = ()


@attrs.frozen(eq=False)
class Stage:
    """An adapter with scripted responses.

    Attributes:
        server: The server that plays them, for adapters over HTTP.
    """

    adapter: StreamAdapter
    server: WireServer | None
    model: str

    def engine(self, *, retry: RetryPolicy | None = None) -> Engine:
        """An engine with the adapter; without a policy it never retries."""
        return Engine(adapter=self.adapter, model=self.model, retry=retry)

    @property
    def http(self) -> WireServer:
        """The server, in cases that need the capability `http`."""
        return cast("WireServer", self.server)


def run(main: Callable[..., Awaitable[Any]], *args: Any) -> None:
    """Run `main` in Trio with virtual time, so that a hang fails at once."""

    async def bounded() -> None:
        with trio.fail_after(HANG_SECONDS):
            await main(*args)

    trio.run(bounded, clock=loopback_clock())


def case(*needs: Capability) -> Callable[[Callable[..., Any]], Callable[..., None]]:
    """Decorate a case of the suite: it is skipped, with the author's reason, if the adapter lacks a capability."""

    def decorate(function: Callable[..., Any]) -> Callable[..., None]:
        @functools.wraps(function)
        def test(self: Setting) -> None:
            self.skip_without(*needs)
            if inspect.iscoroutinefunction(function):
                run(function, self)
            else:
                function(self)

        return test

    return decorate


class Setting:
    """The hooks of the suite: an author overrides `make_adapter` and, if the defaults do not fit, others.

    Attributes:
        wire_format: The vendor's format that the adapter uses, for `allm.testing.Reply.script`; for another format
            override `make_reply`.
        model: A model id for the requests.
        lacks: Capabilities that the adapter lacks, each with the reason that is shown for the skipped cases:

            - `http`: it uses HTTP, at `setup.base_url`
            - `server_sent_events`: its responses are streams of server-sent events
            - `api_key`: it sends `setup.api_key` in a header
            - `pure_prepare`: `prepare` returns the same for the same request
            - `tools`, `reasoning`, `usage`: the provider has tool calls, readable reasoning, token counts
            - `citations`: the provider names the sources of a text
            - `hosted_calls`: the provider tells what its own tools did
            - `invalid_arguments`: the provider sends the arguments of a call as text, which may be invalid JSON
            - `stream_errors`: the provider can report an error in the middle of a response
            - `connection_reuse`: a second call uses the connection of the first
        finish_reasons: The provider's finish reasons besides `tool_calls`.
        error_reasons: The reasons that the provider's errors distinguish.
    """

    wire_format: ClassVar[Provider | None] = None
    model: ClassVar[str] = "conformance-model"
    lacks: ClassVar[Mapping[Capability, str]] = {}
    finish_reasons: ClassVar[tuple[FinishReason, ...]] = ("stop", "length", "content_filter")
    error_reasons: ClassVar[tuple[AdapterReason, ...]] = (
        "rate_limited",
        "overloaded",
        "provider_unavailable",
        "authentication_failed",
        "invalid_request",
        "not_found",
        "context_length_exceeded",
    )

    # --- for authors ---

    def make_adapter(self, setup: AdapterSetup) -> StreamAdapter:
        """The adapter under test."""
        raise NotImplementedError(f"{type(self).__name__} has to define make_adapter(self, setup)")

    def make_reply(self, script: Script) -> Reply:
        """A script as the provider would send it."""
        if self.wire_format is None:
            raise NotImplementedError(
                f"{type(self).__name__} has to set wire_format, define make_reply(self, script), or declare "
                "lacks = {'http': 'the reason'}"
            )
        return Reply.script(self.wire_format, script)

    @asynccontextmanager
    async def running(self, setup: AdapterSetup) -> AsyncGenerator[StreamAdapter, None]:
        """The adapter with anything that must run beside it, such as a server of your own."""
        yield self.make_adapter(setup)

    def sent_by(self, prepared: Any) -> Any:
        """The part of a prepared call that reaches the provider, as a value that can be compared."""
        if isinstance(prepared, HttpCall):
            return prepared.url, dict(prepared.headers), prepared.body
        return prepared

    # --- for the cases ---

    def skip_without(self, *needs: Capability) -> None:
        """Skip the current case if the adapter lacks one of these capabilities."""
        for capability in needs:
            if capability in self.lacks:
                import pytest  # imported here, so that WireServer works without pytest

                pytest.skip(f"lacks {capability}: {self.lacks[capability]}")

    def has(self, capability: Capability) -> bool:
        """Whether the adapter has a capability."""
        return capability not in self.lacks

    @asynccontextmanager
    async def playing(
        self, *responses: Script | Reply, default: ReplySource | None = None, api_key: str | None = KEY
    ) -> AsyncGenerator[Stage, None]:
        """The adapter with `responses`, one for each call; over HTTP a response may be a `Reply`."""
        if not self.has("http"):
            scripts = tuple(response for response in responses if not isinstance(response, Reply))
            async with self.running(AdapterSetup(base_url=NO_SERVER, api_key=api_key, scripts=scripts)) as adapter:
                yield Stage(adapter, None, self.model)
            return
        async with WireServer(default) as server:
            server.add(*[item if isinstance(item, Reply) else self.make_reply(item) for item in responses])
            async with self.running(AdapterSetup(base_url=server.base_url, api_key=api_key)) as adapter:
                yield Stage(adapter, server, self.model)

    def offline_adapter(self, *, api_key: str | None = KEY, scripts: Iterable[Script] = ()) -> StreamAdapter:
        """An adapter for cases that prepare calls and send nothing."""
        return self.make_adapter(AdapterSetup(base_url=NO_SERVER, api_key=api_key, scripts=tuple(scripts)))
