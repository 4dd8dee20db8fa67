"""`ToolSource`: where the tools of a set come from, a list or a loader, shared by all sets made from one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from allm.data.attrs_classes import define
from allm.data.errors import ValidationError
from allm.data.problems import Problem, refuse, shown, wrong_type
from allm.data.tool import Tool, expected_tool

__all__ = ["ToolSource", "Tools", "checked_tools", "load", "loads_tools", "twice"]

Tools = tuple[Tool, ...]


@define(eq=False)
class ToolSource:
    """Where the tools of a set come from.

    Attributes:
        loader: Returns them; None where they were given.
        tools: As they were loaded last; None before.
        wanted: Counts up whenever they have to be loaded anew.
        loaded: What `wanted` was when the newest load began.
    """

    loader: Callable[[], Iterable[Tool] | Awaitable[Iterable[Tool]]] | None
    tools: Tools | None = None
    wanted: int = 1
    loaded: int = 0

    @property
    def is_due(self) -> bool:
        """Whether the tools have to be loaded before they are used."""
        return self.loader is not None and self.loaded != self.wanted

    @property
    def name(self) -> str:
        """The loader's name, for messages."""
        return str(getattr(self.loader, "__qualname__", type(self.loader).__name__))


LoadSource = Callable[[ToolSource], Awaitable[None]]

_load: list[LoadSource] = []


def loads_tools(function: LoadSource) -> LoadSource:
    """Make `function` what `Toolset.load` calls: values wait for nothing, so a layer above this one loads."""
    _load[:] = [function]
    return function


async def load(source: ToolSource) -> None:
    """Load the tools, as the layer above does it."""
    await _load[0](source)


def checked_tools(given: Any) -> Tools:
    """The tools of a set.

    Raises:
        ValidationError: They are none.
    """
    if isinstance(given, (str, bytes, Mapping, Tool, type)) or not isinstance(given, Iterable):
        expected = "an iterable of Tool, or a function that returns one"
        raise ValidationError([wrong_type(("tools",), given, expected)], reason="invalid_tool")
    found: tuple[Any, ...] = tuple(given)
    refuse(
        [
            wrong_type(("tools", index), tool, expected_tool(tool))
            for index, tool in enumerate(found)
            if not isinstance(tool, Tool)
        ],
        reason="invalid_tool",
    )
    nameless = [
        wrong_type(("tools", index, "name"), tool.name, "str")
        for index, tool in enumerate(found)
        if not isinstance(tool.name, str)
    ]
    refuse(nameless or twice(found), reason="invalid_tool")
    return found


def twice(tools: Tools) -> list[Problem]:
    """The problems of names that more than one of them has."""
    return [
        Problem(("tools",), "duplicate_name", f"two tools of the set have the name {shown(name)}; rename one")
        for name, count in Counter(tool.name for tool in tools).items()
        if count > 1
    ]
