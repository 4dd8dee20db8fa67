"""Call the handler of a tool, in a turn or by `Tool.run`: with structured arguments, and the context if it takes it."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

import attrs
import trio

from allm.data.attrs_classes import frozen
from allm.data.content import ToolCall
from allm.data.errors import ToolError
from allm.data.tool import Tool, runs_tools
from allm.data.user_functions import call_back, host
from allm.http.jumping_clock import standing_still

if TYPE_CHECKING:
    from allm.data.types.hints import Scope
    from allm.data.types.records import Field

__all__ = [
    "FunctionHandler",
    "Tool",
    "ToolContext",
    "in_worker_thread",
    "invoke",
    "is_async",
    "is_context",
    "needs_thread",
    "run_tool",
    "without_partials",
]


@frozen(kw_only=True, eq=False)
class ToolContext:
    """The circumstances of a tool call; a handler's parameter with this type receives it.

    Attributes:
        context: The engine's context, updated with the call's.
        session_id: The id of the conversation, if it has one.
        request_id: The caller's id of the request.
        tool_call: The tool call that the handler runs for.
        engine: The engine that runs the turn.
    """

    context: Mapping[str, Any] = attrs.field(factory=dict)
    session_id: str | None = None
    request_id: str | None = None
    tool_call: ToolCall
    engine: Any = attrs.field(default=None, repr=False)
    _report: Callable[[Any], Awaitable[None]] = attrs.field(repr=False, alias="report")

    async def emit(self, payload: Any) -> None:
        """Put `ToolProgress(tool_call, payload)` on the stream of the turn."""
        await call_back(self._report, payload)

    def emit_from_thread(self, payload: Any) -> None:
        """`emit` for a sync handler, which runs in a worker thread."""
        trio.from_thread.run(self._report, payload)


@frozen(eq=False)
class FunctionHandler:
    """A handler that calls a function with structured arguments.

    Attributes:
        function: The decorated function.
        fields: The arguments that the model gives, by name.
        context_names: Parameters that receive the `ToolContext`.
        is_async: Whether calling the function returns an awaitable.
    """

    function: Callable[..., Any]
    fields: Mapping[str, Field]
    context_names: tuple[str, ...]
    _signature: inspect.Signature
    is_async: bool = attrs.field(
        init=False, default=attrs.Factory(lambda self: is_async(self.function), takes_self=True)
    )
    # Of each parameter its name, whether it is given by position, and its default.
    _parameters: tuple[tuple[str, bool, Any], ...] = attrs.field(
        init=False,
        default=attrs.Factory(
            lambda self: tuple(
                (p.name, p.kind is not p.KEYWORD_ONLY, p.default) for p in self._signature.parameters.values()
            ),
            takes_self=True,
        ),
    )

    def __call__(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        """Call the function; returns an awaitable if the function does."""
        return self._call(self.bind(arguments, context))

    def bind(self, arguments: Mapping[str, Any], context: ToolContext) -> dict[str, Any]:
        """Convert the model's arguments to the annotated types.

        Raises:
            ToolError: `invalid_arguments`, naming every wrong field in words that the model can act on.
        """
        from allm.data.types.structure import NotStructured, load

        problems: list[tuple[str, str]] = []
        if not arguments.keys() <= self.fields.keys():
            problems += [(name, "unknown argument") for name in arguments if name not in self.fields]
        values: dict[str, Any] = dict.fromkeys(self.context_names, context) if self.context_names else {}
        for name, field in self.fields.items():
            if name in arguments:
                try:
                    values[name] = load(arguments[name], field.shape)
                except NotStructured as error:
                    problems += [(name + where, what) for where, what in error.problems]
            elif field.default.is_required:
                problems.append((name, "required argument is missing"))
        if problems:
            raise ToolError(
                "; ".join(f"{where}: {what}" for where, what in problems),
                reason="invalid_arguments",
                tool_name=context.tool_call.name,
                tool_call_id=context.tool_call.id,
            )
        return values

    def call_plain(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function like the plain function that it is, with the defaults that descriptors stand for."""
        if not any(field.default.notes for field in self.fields.values()):
            return self.function(*args, **kwargs)
        return self._call(self._signature.bind(*args, **kwargs).arguments)

    def _call(self, values: Mapping[str, Any]) -> Any:
        """Call the function with the values, and with a default for each that there is none of."""
        args: list[Any] = []
        by_name: dict[str, Any] = {}
        for name, by_position, default in self._parameters:
            if name in values:
                value = values[name]
            elif (field := self.fields.get(name)) is not None and field.default.make is not None:
                value = field.default.make()
            else:
                value = default
            if by_position:
                args.append(value)
            else:
                by_name[name] = value
        return self.function(*args, **by_name)


def without_partials(function: Any) -> Any:
    """The function inside of `functools.partial`."""
    while isinstance(function, functools.partial):
        function = cast("Any", function).func
    return function


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` returns an awaitable; looks through partials, methods and callable objects."""
    function = without_partials(function)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def is_context(hint: Any, scope: Scope | None = None) -> bool:
    """Whether a parameter with this type receives the `ToolContext`: also an optional one, or one with notes.

    Args:
        hint: The type.
        scope: Where names in text are looked up, as in `Optional["ToolContext"]`.
    """
    while hasattr(hint, "__value__"):  # a `type` statement
        hint = hint.__value__
    if isinstance(hint, (str, typing.ForwardRef)) and scope is not None:
        return is_context(scope.resolve(hint), scope)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return is_context(arguments[0], scope)
    if origin in (typing.Union, types.UnionType):
        return any(is_context(argument, scope) for argument in arguments)
    return hint is ToolContext


def needs_thread(tool: Tool) -> bool:
    """Whether the tool's handler is sync, and may not run here, so that it runs in a worker thread."""
    handler: Any = tool.handler
    return tool.thread and not (handler.is_async if isinstance(handler, FunctionHandler) else is_async(handler))


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
    args: tuple[Any, ...] = (arguments, context)
    kwargs: dict[str, Any] = {}
    if not isinstance(handler, FunctionHandler):
        args, kwargs = _with_context(handler, dict(arguments), context)
    if in_thread:
        value = await in_worker_thread(functools.partial(handler, *args, **kwargs), limit)
    elif (elsewhere := host.get()) is not None:
        return await elsewhere(functools.partial(handler, *args, **kwargs))
    else:
        value = handler(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value


async def in_worker_thread(function: Callable[[], Any], limit: float | None = None) -> Any:
    """Call a sync function in a worker thread, which is abandoned when the caller is cancelled.

    Args:
        limit: As for `invoke`.
    """
    # In a list, since Trio refuses a coroutine as the result of a thread, and a lambda may return one. With its own
    # limiter: the caller counts threads, also abandoned ones.
    with standing_still(limit):
        [value] = await trio.to_thread.run_sync(
            lambda: [function()], abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
        )
    return value


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
