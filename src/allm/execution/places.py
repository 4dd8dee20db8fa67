"""The places of attempts at the engine's limiter: what it is told of each, and that each is given back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from math import inf
from typing import Any, TypeVar
from urllib.parse import urlsplit

from allm.data.errors import AdapterError
from allm.data.response import Usage
from allm.execution.event_changes import ChangedEvents
from allm.http.call import HttpCall, answer_headers
from allm.http.headers import is_secret
from allm.runtime.limiter import Limiter, LimiterPlace

__all__ = ["in_place", "limited_attempt", "place_of"]

T = TypeVar("T")


def place_of(provider: str, model: str | None, prepared: Any, deadline: float = inf) -> LimiterPlace:
    """The place for one attempt, not taken yet.

    Args:
        provider: The adapter's name.
        model: The request's.
        prepared: What the adapter made of the request; of one that uses the kit, an `HttpCall` or something with one.
        deadline: The end of the call on the Trio clock, where no surrounding scope has it.
    """
    if isinstance(prepared, ChangedEvents):
        prepared = prepared.prepared
    call = prepared if isinstance(prepared, HttpCall) else getattr(prepared, "call", None)
    if not isinstance(call, HttpCall):
        return LimiterPlace(provider, model, (provider, model), deadline=deadline)
    keys: list[Hashable] = [value for name, value in call.headers.items() if is_secret(name)]
    if call.credential is not None:
        keys.append(call.credential.source)
    account = (provider, urlsplit(call.url).netloc, model, *keys)
    size = None
    if call.headers.get("content-type") == "application/json":
        size = len(call.body) if isinstance(call.body, bytes) else call.body.length
    return LimiterPlace(provider, model, account, size, deadline)


async def limited(limiter: Limiter, place: LimiterPlace, work: Callable[[], Awaitable[T]]) -> T:
    """Do the work of an attempt while it has its place.

    Raises:
        AdapterError: The limiter has no room before a deadline; or raised by the work.
    """
    await limiter.acquire_on_behalf_of(place)
    try:
        return await in_place(place, work)
    finally:
        limiter.release_on_behalf_of(place)


async def limited_attempt(
    limiter: Limiter, call: Any, prepared: Any, deadline: float, run: Callable[[LimiterPlace], Awaitable[T]]
) -> T:
    """Make an attempt of a model call in its place; arguments are those of `limited` and `place_of`.

    Raises:
        AdapterError: The limiter has no room before a deadline.
    """
    place = place_of(call.adapter.provider, call.request.model, prepared, deadline)
    return await limited(limiter, place, lambda: run(place))


async def in_place(place: LimiterPlace, work: Callable[[], Awaitable[T]]) -> T:
    """Do the work of an attempt, and tell its place what comes of it."""
    token = answer_headers.set(place.answered)
    try:
        result = await work()
    except AdapterError as error:
        place.error = error
        raise
    finally:
        answer_headers.reset(token)
    if isinstance(usage := getattr(result, "usage", None), Usage):
        place.usage = usage
    return result
