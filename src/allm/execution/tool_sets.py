"""Tool sets around a model call: load what is due before it, and hold their limits while its tools run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.problems import refuse
from allm.data.request import request_problems
from allm.data.tool import ToolLimit
from allm.data.tool_layers import ToolLayers, offered
from allm.data.tool_source import ToolSource
from allm.data.toolset import Toolset
from allm.execution.nurseries import nursery_boundary, start_task
from allm.execution.options import ModelCall
from allm.runtime.tool_loading import load_source

__all__ = ["Places", "with_loaded_changes", "with_loaded_tools"]


async def with_loaded_tools(call: ModelCall) -> ModelCall:
    """The call with the tools of all its sets.

    Raises:
        EngineError: `tools_not_loaded`.
        ValidationError: Two tools have the same name, or one is not valid.
    """
    if call.toolsets is None:
        return call
    await _load(call.toolsets.due)
    request = attrs.evolve(call.request, tools=offered(call.toolsets))
    refuse(request_problems(request))
    return attrs.evolve(call, request=request)


async def with_loaded_changes(given: Any) -> Any:
    """What `before_step` returned, which may be anything, with the sets in it loaded.

    Raises:
        EngineError: `tools_not_loaded`.
    """
    tools: Any = given.get("tools") if isinstance(given, Mapping) else getattr(given, "tools", None)
    if isinstance(tools, Iterator):  # it would be used up here
        tools = tuple(tools)
        given = {**given, "tools": tools}
    if isinstance(tools, Iterable):
        await _load(ToolLayers((tuple(tool for tool in tools if isinstance(tool, Toolset)),)).due)
    return given


async def _load(sources: Iterable[ToolSource]) -> None:
    """Load them side by side; the first failure ends the others."""
    failures: list[Exception] = []

    async def load_one(source: ToolSource) -> None:
        try:
            await load_source(source)
        except Exception as error:
            failures.append(error)
            nursery.cancel_scope.cancel()

    async with nursery_boundary() as nursery:
        for source in sources:
            start_task(nursery, load_one, source, name=f"allm tools of {source.name}")
    if failures:
        raise failures[0]


_limiters: trio.lowlevel.RunVar[WeakKeyDictionary[ToolLimit, trio.CapacityLimiter]] = trio.lowlevel.RunVar(
    "allm_tool_limits"
)


def _limiter_of(limit: ToolLimit) -> trio.CapacityLimiter:
    """The limiter that all calls under `limit` share in this Trio run."""
    try:
        limiters = _limiters.get()
    except LookupError:
        limiters = WeakKeyDictionary[ToolLimit, trio.CapacityLimiter]()
        _limiters.set(limiters)
    if (limiter := limiters.get(limit)) is None:
        limiter = limiters[limit] = trio.CapacityLimiter(limit.at_once)
    return limiter


@define(eq=False)
class Places:
    """The places that the calls of one batch have in the limits of their tools, by index of the call."""

    _held: dict[int, tuple[trio.CapacityLimiter, object]] = attrs.field(factory=dict, init=False)

    def take_nowait(self, index: int, limit: ToolLimit) -> bool:
        """Take a place for a call; False if there is none now."""
        limiter, borrower = _limiter_of(limit), object()
        try:
            limiter.acquire_on_behalf_of_nowait(borrower)
        except trio.WouldBlock:
            return False
        self._held[index] = limiter, borrower
        return True

    async def take(self, index: int, limit: ToolLimit) -> None:
        """Wait for a place; who came first has it first."""
        limiter, borrower = _limiter_of(limit), object()
        await limiter.acquire_on_behalf_of(borrower)
        self._held[index] = limiter, borrower

    def leave(self, index: int) -> None:
        """Give the place of a call back, if it has one."""
        if (held := self._held.pop(index, None)) is not None:
            limiter, borrower = held
            limiter.release_on_behalf_of(borrower)

    def leave_all(self) -> None:
        """Give back the places of calls that were cancelled before they began."""
        for index in list(self._held):
            self.leave(index)
