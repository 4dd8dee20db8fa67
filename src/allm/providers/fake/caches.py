"""Caches of `Fake`: kept in memory, by the rules of a provider that has them."""

from __future__ import annotations

import time
from typing import Any, final

import attrs
import trio

from allm.adapters import AdapterOptions, CacheCreate, CacheDelete, CacheGet, CacheRequest, CacheUpdate, Lifetime, Page
from allm.data.cache import Cache
from allm.data.errors import AdapterError

__all__ = ["FakeCaches"]

_HOUR = 3600
_CHARACTERS = 4  # of a token, roughly


@final
class FakeCaches:
    """What one `Fake` keeps."""

    provider = "fake"
    requires_model = False

    def __init__(self) -> None:
        self._kept: dict[str, Cache] = {}
        self._made = 0

    def prepare(self, request: CacheRequest, _options: AdapterOptions) -> CacheRequest:
        """The request as it is."""
        return request

    async def send(self, request: CacheRequest) -> Any:
        """Do what is asked.

        Raises:
            AdapterError: `not_found`.
        """
        await trio.lowlevel.checkpoint()
        match request:
            case CacheCreate():
                self._made += 1
                cache = Cache(
                    provider=self.provider,
                    name=f"caches/{self._made}",
                    model=request.request.model or "fake",
                    display_name=request.display_name,
                    tokens=sum(len(message.text) for message in request.request.messages) // _CHARACTERS,
                    created_at=time.time(),
                    expires_at=_end(request.lifetime),
                )
                self._kept[cache.name] = cache
                return cache
            case CacheUpdate():
                cache = attrs.evolve(self.found(request.name), expires_at=_end(request.lifetime))
                self._kept[cache.name] = cache
                return cache
            case CacheGet():
                return self.found(request.name)
            case CacheDelete():
                del self._kept[self.found(request.name).name]
                return None
            case _:
                return Page(tuple(self._kept.values()), None)

    def found(self, name: str) -> Cache:
        """The cache of a name.

        Raises:
            AdapterError: `not_found`.
        """
        cache = self._kept.get(name)
        if cache is None or (cache.expires_at is not None and cache.expires_at <= time.time()):
            raise AdapterError(f"there is no cache {name!r}", reason="not_found", provider=self.provider)
        return cache


def _end(lifetime: Lifetime) -> float:
    if lifetime.expires_at is not None:
        return lifetime.expires_at
    return time.time() + (_HOUR if lifetime.expires_in is None else lifetime.expires_in)
