"""`Toolset`: tools that belong together, chosen, named and bounded as one, from a list or from a loader.

A set is a value: its methods make new sets. The tools themselves are in a `ToolSource`, which all sets share that were
made from one another, so that they are loaded once, and again only when `forget` says that they have changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Any

import attrs

from allm.data.attrs_classes import frozen
from allm.data.content import ToolCall
from allm.data.errors import MOST_SHOWN, ValidationError
from allm.data.problems import Problem, nearest, refuse, shown, wrong_type
from allm.data.tool import Tool, ToolLimit, is_plain_function
from allm.data.tool_source import Tools, ToolSource, checked_tools, load, twice

__all__ = ["Toolset", "source_of"]

Change = Callable[[Tools], Tools]


@frozen(eq=False, repr=False, init=False)
class Toolset:
    """Tools that belong together; `tools=` takes it wherever it takes a tool.

        crm = allm.Toolset(load_tools).prefixed("crm_").approval(["crm_delete"]).limited(2)
        await allm.chat(engine, "Who is our oldest customer?", tools=[crm])

    Each method returns a new set and leaves this one as it is. They apply in order, so a method is given the names that
    those before it have made. A set never replaces another tool: two tools of one name are an error.
    """

    _source: ToolSource
    _changes: tuple[Change, ...] = ()
    _made: list[tuple[Tools, Tools]] = attrs.field(factory=list)

    def __init__(self, tools: Iterable[Tool] | Callable[[], Iterable[Tool] | Awaitable[Iterable[Tool]]]) -> None:
        """Make a set.

        Args:
            tools: The tools, or a function without arguments that returns them, sync or async. It is called when a call
                first needs them, once, however many calls wait; a sync one runs in a worker thread. If it fails, that
                call fails with `EngineError(tools_not_loaded)`, and the next one tries again.

        Raises:
            ValidationError: Something in it is not a `Tool`, or two have the same name.
        """
        if callable(tools) and not isinstance(tools, (Tool, type)):
            source = ToolSource(tools)
        else:
            source = ToolSource(None, checked_tools(tools))
        self.__attrs_init__(source)  # pyright: ignore[reportAttributeAccessIssue]

    def prefixed(self, prefix: str) -> Toolset:
        """Put `prefix` before each name, so that the tools of several sets differ."""
        _check_type("prefix", prefix, str)
        return self._with(partial(_renamed, lambda name: prefix + name))

    def renamed(self, names: Mapping[str, str]) -> Toolset:
        """Give tools new names; `names` is old to new.

        Raises:
            ValidationError: The set has no tool of that name: at once, or when the tools are loaded.
        """
        _check_type("names", names, Mapping)
        new = dict(names)
        return self._with(lambda tools: _renamed(lambda name: new.get(name, name), _known(tools, new)))

    def filtered(self, which: Iterable[str] | Callable[[Tool], bool]) -> Toolset:
        """Keep only some tools.

        Args:
            which: Their names, or a function of a `Tool` that says whether it stays. Where tools come and go, use a
                function: a name that the set does not have is an error.

        Raises:
            ValidationError: As for `renamed`.
        """
        if callable(which):
            _check_plain(which)
            return self._with(lambda tools: tuple(tool for tool in tools if which(tool)))
        names = _names(which)
        return self._with(lambda tools: tuple(tool for tool in _known(tools, names) if tool.name in names))

    def approval(self, which: Iterable[str] | Callable[[Tool, ToolCall], bool] | None = None) -> Toolset:
        """Leave calls to the caller until they are approved: `manual=True`, with all that follows from it.

        The turn halts with `manual_tool_calls`. In a session, `approve` and `continue_` run the call, and `deny` tells
        the model that it may not.

        Args:
            which: The names of the tools, or a function of the tool and the call that is asked about each call; by
                default all tools. If the function raises, the call needs approval. What an earlier one asked for stays.

        Raises:
            ValidationError: As for `renamed`.
        """
        if callable(which):
            _check_plain(which)
            return self._with(partial(_each, partial(_guarded, which)))
        if which is None:
            return self._with(partial(_each, lambda tool: attrs.evolve(tool, manual=True)))
        names = _names(which)
        return self._with(
            lambda tools: _each(
                lambda tool: attrs.evolve(tool, manual=True) if tool.name in names else tool, _known(tools, names)
            )
        )

    def limited(self, at_once: int | None = None, *, timeout: float | None = None) -> Toolset:
        """Bound what the tools may use.

        Args:
            at_once: How many calls of the set run at once, in all turns of a Trio run together. Others wait, which does
                not count as time of the tool.
            timeout: Seconds that one call may take, in place of the tools' own limits.

        Raises:
            ValidationError: `at_once` is not a whole number from 1 on.
        """
        changes: dict[str, Any] = {} if timeout is None else {"timeout": timeout}
        if at_once is not None:
            changes["limit"] = ToolLimit(at_once)
        return self._with(partial(_each, lambda tool: attrs.evolve(tool, **changes)))

    def compact(self) -> Toolset:
        """Send a line for each tool in place of its description and schema, as `Tool(compact=True)` says."""
        return self._with(partial(_each, lambda tool: attrs.evolve(tool, compact=True, deferred=False)))

    def deferred(self) -> Toolset:
        """Let the provider's own tool search find the tools, as `Tool(deferred=True)` says."""
        return self._with(partial(_each, lambda tool: attrs.evolve(tool, compact=False, deferred=True)))

    def forget(self) -> None:
        """Have the tools loaded again before the next model call: they have changed, or may have.

        Holds for all sets that were made from one another. A set of given tools has nothing to load.
        """
        self._source.wanted += 1

    async def load(self) -> tuple[Tool, ...]:
        """The tools, loaded now if they have to be.

        Raises:
            EngineError: `tools_not_loaded`; `__cause__` is what the loader raised.
            ValidationError: A method of the set named a tool that it does not have.
        """
        await load(self._source)
        return self.known() or ()

    def known(self) -> tuple[Tool, ...] | None:
        """The tools as they were loaded last; None before.

        Raises:
            ValidationError: As for `load`.
        """
        given = self._source.tools
        if given is None:
            return None
        if not (self._made and self._made[0][0] is given):
            tools = given
            for change in self._changes:
                tools = change(tools)
            refuse(twice(tools), reason="invalid_tool")
            self._made[:] = [(given, tools)]  # the same tools for each model call
        return self._made[0][1]

    def _with(self, change: Change) -> Toolset:
        new = object.__new__(Toolset)
        new.__attrs_init__(self._source, (*self._changes, change))  # pyright: ignore[reportAttributeAccessIssue]
        new.known()  # finds mistakes here, where the tools are known
        return new

    def __repr__(self) -> str:
        tools = self._source.tools
        if tools is None:
            return f"<Toolset of {self._source.name}, not loaded>"
        names = ", ".join(tool.name for tool in self.known() or ())
        return f"<Toolset of {names or 'no tools'}>"


def source_of(toolset: Toolset) -> ToolSource:
    """Where its tools come from."""
    return toolset._source


def _each(change: Callable[[Tool], Tool], tools: Tools) -> Tools:
    return tuple(map(change, tools))


def _renamed(new_name: Callable[[str], str], tools: Tools) -> Tools:
    return tuple(attrs.evolve(tool, name=new_name(tool.name)) for tool in tools)


def _guarded(policy: Callable[[Tool, ToolCall], bool], tool: Tool) -> Tool:
    asks, earlier = partial(policy, tool), tool.manual_when
    return attrs.evolve(tool, manual_when=asks if earlier is None else partial(_either, earlier, asks))


def _either(first: Callable[[ToolCall], bool], second: Callable[[ToolCall], bool], call: ToolCall) -> bool:
    return first(call) or second(call)


def _names(given: Iterable[str]) -> frozenset[str]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        expected = "a list of names, or a function"
        raise ValidationError([wrong_type(("which",), given, expected)], reason="invalid_tool")
    return frozenset(given)


def _check_plain(which: Callable[..., bool]) -> None:
    """Refuse an async function: what it returns is no answer, and so would choose every tool, or guard every call."""
    if not is_plain_function(which):
        raise ValidationError([wrong_type(("which",), which, "a function that is not async")], reason="invalid_tool")


def _known(tools: Tools, names: Iterable[str]) -> Tools:
    """The tools, once each of the names is found to be one of theirs: one that is not would silently guard nothing."""
    known = [tool.name for tool in tools]
    problems: list[Problem] = []
    for name in sorted(set(names).difference(known)):
        near = nearest(name, known)
        shown_names = ", ".join(known[:MOST_SHOWN]) + (", ..." if len(known) > MOST_SHOWN else "")
        hint = f"did you mean {near[0]!r}?" if near else f"it has: {shown_names or 'none'}"
        problems.append(Problem(("tools",), "unknown_tool", f"the set has no tool {shown(name)}; {hint}"))
    refuse(problems, reason="invalid_tool")
    return tools


def _check_type(name: str, value: Any, kind: type) -> None:
    if not isinstance(value, kind):
        raise ValidationError([wrong_type((name,), value, kind.__name__)], reason="invalid_tool")
