"""What an engine's limiter is, and what it is told of each attempt."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from math import inf
from typing import Any, Protocol

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError
from allm.data.events import AdapterEvent, Failed, UsageReported
from allm.data.response import Usage

__all__ = ["Limiter", "LimiterPlace", "is_refusal"]

_REFUSALS = frozenset({"rate_limited", "overloaded"})
_STATUSES = frozenset({429, 503, 529})


def is_refusal(error: AdapterError) -> bool:
    """Whether a request was refused because there are too many, of this account or of all."""
    return error.retryable and (error.reason in _REFUSALS or error.status in _STATUSES)


@define(eq=False)
class LimiterPlace:
    """One attempt of a call at a limiter: its borrower. Attributes that are not known yet, or never, are None.

    Attributes:
        provider, model: Who is asked.
        account: What the attempts have in common that one limit of the provider is for: the server's address, the
            model and the key.
        size: Bytes of the request's body, if it is JSON.
        deadline: When the call's own time limit ends, on the Trio clock.
        headers: Those of the answer, as soon as it begins; names in lower case.
        usage: What the attempt has used, as far as the provider has reported it.
        error: How it failed.
        on_headers: Called with the headers; set by a limiter that wants to know them before the attempt has ended.
        kept: For what a limiter keeps with the place.
    """

    provider: str | None = None
    model: str | None = None
    account: Hashable = attrs.field(default=None, repr=False)
    size: int | None = None
    deadline: float = inf
    headers: Mapping[str, str] | None = attrs.field(default=None, repr=False)
    usage: Usage | None = None
    error: AdapterError | None = None
    on_headers: Callable[[Mapping[str, str]], None] | None = attrs.field(default=None, init=False, repr=False)
    kept: Any = attrs.field(default=None, init=False, repr=False)

    def answered(self, headers: Mapping[str, str]) -> None:
        """The headers of the answer have arrived."""
        self.headers = headers
        if self.on_headers is not None:
            self.on_headers(headers)

    def note(self, events: Iterable[AdapterEvent]) -> None:
        """Note what events say of the attempt's usage and failure."""
        for event in events:
            if isinstance(event, UsageReported):
                self.usage = event.usage if self.usage is None else self.usage.merge(event.usage)
            elif isinstance(event, Failed) and isinstance(event.error, AdapterError):
                self.error = event.error


class Limiter(Protocol):
    """What `Engine(limiter=...)` takes: `trio.CapacityLimiter`, `RateLimit`, or anything else with these two methods.

    An attribute `patience` says how long a call is sent again that the provider refuses because there are too many;
    without it such an attempt counts like any other that failed.
    """

    async def acquire_on_behalf_of(self, borrower: Any, /) -> None:
        """Wait until an attempt may be made.

        Args:
            borrower: Its `LimiterPlace`, another object for each attempt.
        """
        ...

    def release_on_behalf_of(self, borrower: Any, /) -> None:
        """The attempt has ended; its `LimiterPlace` says how."""
        ...
