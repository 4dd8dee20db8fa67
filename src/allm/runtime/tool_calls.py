"""Call the handler of a tool, in a turn or by `Tool.run`: with the context if it takes it, a sync one in a thread."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, cast

import trio

from allm.data.content import ToolCall
from allm.data.errors import ToolError
from allm.data.tool import Tool, runs_tools
from allm.runtime.jumping_clock import standing_still
from allm.runtime.tools import FunctionHandler, ToolContext, is_async, is_context, without_partials

__all__ = ["invoke", "needs_thread", "run_tool"]


def needs_thread(tool: Tool) -> bool:
    """Whether the tool's handler is sync, and may not run here, so that it runs in a worker thread."""
    handler: Any = tool.handler
    return tool.thread and not is_async(handler.function if isinstance(handler, FunctionHandler) else handler)


async def invoke(
    tool: Tool, arguments: Mapping[str, Any], context: ToolContext, *, in_thread: bool, limit: float | None = None
) -> Any:
    """Call the tool's handler with the model's arguments and return its value.

    Args:
        limit: The time limit that the caller has set, in seconds: a test's clock waits as long for a thread.

    Raises:
        ToolError: `invalid_arguments`.
        Exception: What the handler raised.
    """
    handler: Any = tool.handler
    args, kwargs = _with_context(handler, dict(arguments), context)
    if in_thread:
        # In a list, since Trio refuses a coroutine as the result of a thread, and a lambda may return one. With its own
        # limiter: the caller counts threads, also abandoned ones.
        clock = trio.lowlevel.current_clock()
        with standing_still(clock, limit) if hasattr(clock, "autojump_threshold") else nullcontext():
            [value] = await trio.to_thread.run_sync(
                lambda: [handler(*args, **kwargs)], abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
            )
    else:
        value = handler(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value


@runs_tools
async def run_tool(tool: Tool, arguments: Mapping[str, Any], context: Any) -> Any:
    """What `Tool.run` does; it has the documentation."""
    await trio.lowlevel.checkpoint()
    given: Any = arguments
    if tool.handler is None:
        raise ToolError(f"tool {tool.name!r} has no handler", reason="no_handler", tool_name=tool.name)
    if not isinstance(given, Mapping):
        sentence = f"the arguments are {type(given).__name__}; expected a JSON object, as a dict"
        raise ToolError(sentence, reason="invalid_arguments", tool_name=tool.name)
    if not isinstance(context, ToolContext):
        if context is not None and not isinstance(context, Mapping):
            raise TypeError(f"context is {type(context).__name__}; expected a ToolContext or a mapping for its context")
        values = cast("Mapping[str, Any] | None", context)
        call = ToolCall("run", tool.name, dict(arguments))
        context = ToolContext(context=dict(values or {}), tool_call=call, report=_drop)
    return await invoke(tool, arguments, context, in_thread=needs_thread(tool))


async def _drop(_: Any) -> None:
    await trio.lowlevel.checkpoint()


def _with_context(
    function: Callable[..., Any], arguments: dict[str, Any], context: ToolContext
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of a plain handler: with the context as its second positional one, or where it is asked for."""
    if isinstance(function, FunctionHandler):
        return (arguments, context), {}
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # some built-ins have no signature
        return (arguments,), {}
    positional = [p for p in parameters if p.kind in {p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD}]
    if len(positional) > 1 or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return (arguments, context), {}
    inner = without_partials(function)
    try:
        hints = typing.get_type_hints(inner if inspect.isroutine(inner) else inner.__call__, include_extras=True)
    except Exception:  # the handler's own annotations, which nothing else needs
        return (arguments,), {}
    asking = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and is_context(hints.get(p.name))]
    return (arguments,), dict.fromkeys(asking, context)
