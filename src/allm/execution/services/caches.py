"""`allm.caches`: prompts that a provider keeps under a name, for calls that go on from them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any, Unpack

import attrs

from allm.data.attrs_classes import frozen
from allm.data.cache import Cache
from allm.data.errors import AdapterError, EngineError, Problem
from allm.data.problems import refuse, shown, unknown_option, wrong_type
from allm.data.request import Request, ToolChoice
from allm.data.response import Usage
from allm.data.tool import Tool
from allm.data.toolset import Toolset
from allm.execution.options import Input, engine_for_chat, prepare_call, resolve
from allm.execution.services.companions import CompanionService, all_pages, beside, deleted
from allm.execution.services.service import UnaryOptions
from allm.execution.services.unary import UnaryCall, resolve_unary
from allm.runtime.adapters import AdapterOptions
from allm.runtime.cache_store import CacheCreate, CacheDelete, CacheGet, CacheRequest, CacheUpdate, Lifetime
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal
from allm.runtime.pages import PageRequest
from allm.runtime.service_costs import saved_by_cache

__all__ = ["CacheOptions", "create", "delete", "get", "list", "saved", "update"]

_CACHES: CompanionService[Any, Any] = CompanionService(
    name="caches",
    noun="caches",
    span="caches",
    request_type=CacheCreate,
    arguments=frozenset({"display_name", "expires_at", "expires_in"}),
)


class CacheOptions(UnaryOptions, total=False):
    """Options of `allm.caches.create`: those of `UnaryOptions`, and what of a prompt can be kept beside messages.

    Attributes:
        tools: The tools that the model is told of, in place of telling it in each call; added to the engine's.
        tool_choice: As in `CallOptions`.
    """

    tools: Iterable[Tool | Toolset]
    tool_choice: ToolChoice | None


_OPTIONS = frozenset(CacheOptions.__annotations__) | frozenset(UnaryOptions.__annotations__)


@frozen
class _Creating:
    """Prepares a request as the prompt of a cache."""

    caches: Any
    lifetime: Lifetime
    display_name: str | None

    def prepare(self, request: Request, options: AdapterOptions) -> Any:
        return self.caches.prepare(CacheCreate(request, self.lifetime, self.display_name), options)


async def create(
    engine: Engine,
    messages: Input,
    *,
    expires_in: float | None = None,
    expires_at: float | None = None,
    display_name: str | None = None,
    **options: Unpack[CacheOptions],
) -> Cache:
    """Let the engine's provider keep the beginning of a prompt, with the system messages and tools that belong to it.

        cache = await allm.caches.create(engine, [allm.system(rules), allm.user(book)], expires_in=3600)
        answer = await allm.generate(engine, "Who is the murderer?", cached_content=cache)

    Google charges for each hour that it keeps them.

    Args:
        engine: An engine with the provider's adapter; the cache is for its model.
        messages: What comes first in each call: a text, a message, messages, a `Thread` or a `Request`.
        expires_in: After how many seconds the provider deletes it; default: as the provider does, an hour.
        expires_at: When it deletes it, in seconds since 1970 as `time.time()` counts them; not with `expires_in`.
        display_name: A name for people, in lists.
        options: See `CacheOptions`.

    Raises:
        AdapterError: The provider failed, could not be reached in time, or does not keep so short a prompt. If it may
            have made the cache all the same, it is not asked again.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    for name in options:
        if name not in _OPTIONS:
            raise unknown_option(name, _OPTIONS | _CACHES.arguments)
    if display_name is not None and not isinstance(display_name, str):
        refuse([wrong_type(("display_name",), display_name, "str")], reason="invalid_options")
    lifetime = _lifetime(expires_in, expires_at)
    call = resolve(engine_for_chat(engine), messages, options)
    # One that the engine's params have would be for calls that go on from it, and this one begins.
    call = attrs.evolve(call, adapter_options=attrs.evolve(call.adapter_options, cached_content=None))
    if call.loads_tools:
        from allm.execution.tool_sets import with_loaded_tools

        call = await with_loaded_tools(call)
    caches = _CACHES.adapter_of(call.engine)
    prepared = prepare_call(call, _Creating(caches, lifetime, display_name))
    unary = beside(_CACHES, call, caches)

    async def send() -> Cache:
        try:
            cache: Cache = await caches.send(prepared)
        except AdapterError as error:
            if error.status is None and error.retryable:  # a second one would be charged for as well
                error.retryable = False
                error.advised("; the cache may have been made all the same: allm.caches.list tells")
            raise
        return cache

    with unary.running(operation="create", model=call.request.model) as span:
        created: Cache = await unary.attempt(send, span)
        span.attributes.update(tokens=created.tokens)
        return created


async def get(engine: Engine, cache: Cache | str, **options: Unpack[UnaryOptions]) -> Cache:
    """Ask what the provider knows of a cache.

    Args:
        engine: An engine with the adapter of the provider that keeps it.
        cache: The cache, or its name.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed; `not_found`: there is no such cache, or not any more.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    call = resolve_unary(_CACHES, engine, options)
    return await _asked(call, CacheGet(_name_of(call, cache)), cache)


async def list(engine: Engine, **options: Unpack[UnaryOptions]) -> tuple[Cache, ...]:  # noqa: A001  (allm.caches.list)
    """List the caches that the provider keeps for this key.

    Args:
        engine: An engine with the provider's adapter.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed, or could not be reached in time.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    return await all_pages(resolve_unary(_CACHES, engine, options), PageRequest)


async def update(
    engine: Engine,
    cache: Cache | str,
    *,
    expires_in: float | None = None,
    expires_at: float | None = None,
    **options: Unpack[UnaryOptions],
) -> Cache:
    """Let the provider keep a cache for longer, or not so long. Nothing else of it can be changed.

    Args:
        engine: An engine with the adapter of the provider that keeps it.
        cache: The cache, or its name.
        expires_in: After how many seconds from now the provider deletes it.
        expires_at: When it deletes it, in seconds since 1970; one of the two.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed; `not_found`: there is no such cache, or not any more.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    if expires_in is None and expires_at is None:
        problem = Problem(("expires_in",), "missing", "is missing", advice="; pass expires_in= or expires_at=")
        refuse([problem], reason="invalid_options")
    lifetime = _lifetime(expires_in, expires_at)
    call = resolve_unary(_CACHES, engine, options)
    return await _asked(call, CacheUpdate(_name_of(call, cache), lifetime), cache)


async def delete(engine: Engine, cache: Cache | str, **options: Unpack[UnaryOptions]) -> None:
    """Delete a cache at its provider, which charges for it no longer.

    Args:
        engine: An engine with the adapter of the provider that keeps it.
        cache: The cache, or its name.
        options: See `UnaryOptions`.

    Raises:
        AdapterError: The provider failed; `not_found`: there is no such cache.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    call = resolve_unary(_CACHES, engine, options)
    await deleted(call, CacheDelete(_name_of(call, cache)))


def saved(usage: Usage, model: str) -> float | None:
    """What a cache saved, in US dollars: what the same prompt would have cost without it, minus what it cost.

        allm.caches.saved(response.usage, "anthropic:claude-sonnet-4-6")

    Args:
        usage: Of one response: its prompt decides which prices apply.
        model: The provider and the model that answered.

    Returns:
        Less than 0 where more was written than read; None where the provider reports nothing of a cache, or the prices
        are not known. What is charged for keeping a prompt is not in it.

    Raises:
        EngineError: `invalid_engine`: the model is not named with its provider.
    """
    provider, colon, name = model.partition(":")
    if not (provider and colon and name):
        what = f"the model is {model!r}; expected it with its provider, such as 'anthropic:claude-sonnet-4-6'"
        raise EngineError(what, reason="invalid_engine")
    return saved_by_cache(provider, name, usage)


async def _asked(call: UnaryCall[Any, Any], request: CacheRequest, given: Cache | str) -> Cache:
    prepared = call.prepare(request)
    with call.running() as span:
        cache: Cache = await call.attempt(partial(call.adapter.send, prepared), span)
    return attrs.evolve(cache, contents=given.contents) if isinstance(given, Cache) else cache


def _name_of(call: UnaryCall[Any, Any], cache: Cache | str) -> str:
    """The name of a cache, which the provider has to know.

    Raises:
        ValidationError: `invalid_type`, `foreign_cache`.
    """
    if isinstance(cache, str):
        return cache
    provider = call.adapter.provider
    if not isinstance(cache, Cache):
        what = f"is {type(cache).__name__}; expected a Cache or the name of a cache"
        refuse([Problem(("cache",), "invalid_type", what)], reason="invalid_options")
    if cache.provider != provider:
        what = f"{cache.name!r} is kept by {cache.provider}, and {provider} does not know it"
        problem = Problem(("cache",), "foreign_cache", f"{what}; use an engine of its provider")
        refuse([problem], reason="invalid_options")
    return cache.name


def _lifetime(expires_in: float | None, expires_at: float | None) -> Lifetime:
    problems = [
        Problem((name,), "out_of_range", f"is {shown(value)}; expected {expected}")
        for name, value, least, expected in (
            ("expires_in", expires_in, 0, "a number of seconds greater than 0"),
            ("expires_at", expires_at, time.time(), "a moment to come, in seconds since 1970"),
        )
        if value is not None and not (_is_number(value) and least < value < _LATEST)
    ]
    if expires_in is not None and expires_at is not None:
        problems.append(Problem(("expires_at",), "conflict", "is given beside expires_in; pass one of the two"))
    refuse(problems, reason="invalid_options")
    return Lifetime(expires_in, expires_at)


_LATEST = 253_402_300_800
"""The year 10000, which no date reaches."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
