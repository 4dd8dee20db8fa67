"""Prompts that a provider keeps under a name: what its adapter is asked."""

from __future__ import annotations

import time

from allm.data.attrs_classes import frozen
from allm.data.cache import Cache
from allm.data.errors import Problem
from allm.data.message_builder import Origin
from allm.data.problems import refuse
from allm.data.request import Request
from allm.runtime.pages import PageRequest

__all__ = [
    "CacheCreate",
    "CacheDelete",
    "CacheGet",
    "CacheRequest",
    "CacheUpdate",
    "Lifetime",
    "check_cache",
]


@frozen
class Lifetime:
    """How long a cache is kept; with neither, as the provider does.

    Attributes:
        expires_in: For so many seconds from now on.
        expires_at: Until then, in seconds since 1970.
    """

    expires_in: float | None = None
    expires_at: float | None = None


@frozen
class CacheCreate:
    """Asks to keep a prompt, for the model of the request."""

    request: Request
    lifetime: Lifetime
    display_name: str | None = None


@frozen
class CacheGet:
    """Asks what is known of a cache."""

    name: str


@frozen
class CacheUpdate:
    """Asks to keep a cache for longer, or not so long."""

    name: str
    lifetime: Lifetime


@frozen
class CacheDelete:
    """Asks to delete a cache."""

    name: str


CacheRequest = CacheCreate | CacheGet | CacheUpdate | CacheDelete | PageRequest
"""What an adapter of caches is asked."""


def check_cache(cache: Cache, origin: Origin) -> None:
    """Refuse a cache that another service keeps, or whose time is over.

    Raises:
        ValidationError: `foreign_cache`, `expired_cache`.
    """
    if cache.provider != origin.provider or (cache.endpoint != origin.place and (origin.has_own or cache.endpoint)):
        where = cache.provider if cache.endpoint is None else f"{cache.provider} at {cache.endpoint}"
        what = f"{cache.name!r} is kept by {where}, and {origin.provider} does not know it; send the messages instead"
        refuse([Problem(("cached_content",), "foreign_cache", what)])
    if cache.expires_at is not None and cache.expires_at <= time.time():
        what = f"{origin.provider} has deleted {cache.name!r}, as its time is over; make it again"
        refuse([Problem(("cached_content",), "expired_cache", what)])
