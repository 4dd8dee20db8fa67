"""Circuit breakers: who is down is left out for a while, then one call tries it.

    closed --it is down--> open --the cool-down has passed--> half open --content--> closed
                             ^                                    |
                             +--------------it is down------------+

What is known of a member belongs to the Trio run. Copies of a group, such as `with_params` makes, share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from weakref import WeakKeyDictionary

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import RETRYABLE_REASONS, AdapterError, AllmError
from allm.runtime.engine_group import EngineGroup

__all__ = ["Circuit", "Trial", "circuits_of", "in_order"]

DOWN: frozenset[str] = RETRYABLE_REASONS | {"quota_exhausted", "authentication_failed", "not_found"}
"""Reasons that the next call would meet as well."""
UP: frozenset[str] = frozenset({"invalid_request", "content_filter", "context_length_exceeded", "unsupported_feature"})
"""Reasons with which a provider answers that looked at the request."""
LONGEST = 60.0
"""The longest cool-down that is our own, in seconds; providers' outages take minutes."""

_known: trio.lowlevel.RunVar[WeakKeyDictionary[object, Circuit]] = trio.lowlevel.RunVar("allm_circuits")


class Trial(Protocol):
    """An attempt, which says when it has succeeded: an answer may go on for minutes after that."""

    @property
    def first_content(self) -> float | None:
        """When content began; None before."""
        ...


@define(eq=False)
class Circuit:
    """What is known of one member.

    Attributes:
        cool_down: The first wait, in seconds.
        until: Until when it is left out, on the Trio clock.
        failures: How often it was down since it last answered.
    """

    cool_down: float
    until: float = attrs.field(default=float("-inf"), init=False)
    failures: int = attrs.field(default=0, init=False)
    _trial: Trial | None = attrs.field(default=None, init=False)

    def is_open(self) -> bool:
        """Whether it is to be left out now."""
        if not self.failures:
            return False
        if (trial := self._trial) is not None:
            return trial.first_content is None
        return trio.current_time() < self.until

    def begin(self, trial: Trial) -> None:
        """An attempt begins; while it is half open, it is the only one."""
        if self.failures and self._trial is None:
            self._trial = trial

    def end(self, trial: Trial, error: AllmError | None) -> None:
        """The attempt has ended: with an answer (None), or a failure before it."""
        if self._trial is trial:
            self._trial = None
        reason = error.reason if isinstance(error, AdapterError) else None
        if error is None or reason in UP:
            self.failures = 0
        elif isinstance(error, AdapterError) and reason in DOWN and self.cool_down:
            now = trio.current_time()
            if now >= self.until:  # others that failed at the same time are the same incident
                self.failures += 1
            wait = min(self.cool_down * 2.0 ** min(self.failures - 1, 32), LONGEST)
            self.until = max(self.until, now + (error.retry_after or wait))

    def give_up(self, trial: Trial) -> None:
        """The attempt was cancelled, and says nothing."""
        if trial.first_content is not None:
            self.end(trial, None)
        elif self._trial is trial:
            self._trial = None


def in_order(circuits: Sequence[Circuit]) -> tuple[list[int], list[int]]:
    """The places of the members that are to be asked, and of those that are down: asked when nobody else can answer."""
    down = [index for index, circuit in enumerate(circuits) if circuit.is_open()]
    if len(down) == len(circuits):
        return down, []
    return [index for index in range(len(circuits)) if index not in down], down


def circuits_of(group: EngineGroup) -> list[Circuit]:
    """The circuits of the members of a group, in their order."""
    try:
        known = _known.get()
    except LookupError:
        known = WeakKeyDictionary[object, Circuit]()
        _known.set(known)
    return [known.setdefault(place, Circuit(group.cool_down)) for place in group.places]
