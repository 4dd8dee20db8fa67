"""Tools from functions: name, description and schema are read from the function, arguments structured to its types."""

from __future__ import annotations

import enum
import functools
import inspect
import math
import sys
import typing
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, cast, overload

import attrs
import trio

from allm.data.content import ToolCall
from allm.data.errors import Problem, ToolError, ValidationError
from allm.data.tool import Tool
from allm.data.types.schema import schemas_of
from allm.data.types.structure import NotStructured, structure
from allm.runtime.fitting import advise

__all__ = ["FunctionHandler", "ToolContext", "is_async", "tool"]

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


@attrs.frozen(kw_only=True, eq=False)
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
        await self._report(payload)

    def emit_from_thread(self, payload: Any) -> None:
        """`emit` for a sync handler, which runs in a worker thread."""
        trio.from_thread.run(self._report, payload)


def _without_partials(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = cast("Any", function).func
    return function


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling `function` returns an awaitable; looks through partials, methods and callable objects."""
    function = _without_partials(function)
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


@attrs.frozen(eq=False)
class FunctionHandler:
    """A handler that calls a function with structured arguments.

    Attributes:
        function: The decorated function.
        hints: The type of each argument that the model gives.
        context_names: Parameters that receive the `ToolContext`.
    """

    function: Callable[..., Any]
    hints: Mapping[str, Any]
    context_names: tuple[str, ...]
    _signature: inspect.Signature

    def __call__(self, arguments: Mapping[str, Any], context: ToolContext) -> Any:
        """Call the function; returns an awaitable if the function does."""
        bound = self.bind(arguments, context)
        return self.function(*bound.args, **bound.kwargs)

    def bind(self, arguments: Mapping[str, Any], context: ToolContext) -> inspect.BoundArguments:
        """Convert the model's arguments to the annotated types.

        Raises:
            ToolError: `invalid_arguments`, naming every wrong field in words that the model can act on.
        """
        problems = [(name, "unknown argument") for name in arguments if name not in self.hints]
        values: dict[str, Any] = dict.fromkeys(self.context_names, context)
        for name, hint in self.hints.items():
            default = self._signature.parameters[name].default
            if name in arguments and arguments[name] is None is default:
                values[name] = None  # `days: int = None`: the default allows null, though the type does not
            elif name in arguments:
                try:
                    values[name] = structure(arguments[name], hint)
                except NotStructured as error:
                    problems += [(name + where, what) for where, what in error.problems]
            elif default is inspect.Parameter.empty:
                problems.append((name, "required argument is missing"))
        if problems:
            raise ToolError(
                "; ".join(f"{where}: {what}" for where, what in problems),
                reason="invalid_arguments",
                tool_name=context.tool_call.name,
                tool_call_id=context.tool_call.id,
            )
        bound = self._signature.bind_partial()
        bound.arguments.update({name: values[name] for name in self._signature.parameters if name in values})
        bound.apply_defaults()
        return bound


@overload
def tool(function: Callable[..., Any], /) -> Tool: ...
@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    manual: bool = False,
    timeout: float | None = None,
    thread: bool = True,
    metadata: Mapping[str, Any] | None = None,
) -> Callable[[Callable[..., Any]], Tool]: ...
@overload
def tool(
    name: str,
    description: str,
    schema: Mapping[str, Any] | None = None,
    handler: Callable[..., Any] | None = None,
    *,
    manual: bool = False,
    timeout: float | None = None,
    thread: bool = True,
    metadata: Mapping[str, Any] | None = None,
) -> Tool: ...
def tool(  # type: ignore[misc]  # in the third form the first parameter is the name
    function: Any = None,
    description: str | None = None,
    schema: Mapping[str, Any] | None = None,
    handler: Callable[..., Any] | None = None,
    *,
    name: str | None = None,
    **fields: Any,
) -> Any:
    """Make a tool from a function, or from its parts.

        @allm.tool
        def weather(city: str, days: Annotated[int, "how far ahead"] = 1) -> Forecast:
            "Tells the weather."

        allm.tool("weather", "Tells the weather.", {"type": "object", ...}, handler)

    As a decorator, it takes the name, the description (docstring) and the schema (type hints) from the function, and
    converts the arguments to the annotated types: attrs classes, dataclasses, TypedDicts, enums, Literals, also nested
    and in lists. A parameter of type `ToolContext` is filled in by the library and hidden from the model. A sync
    function runs in a worker thread; with `thread=False`, for a quick one, in the task of the turn.

    Args:
        function: The function, or the tool's name when it is built from parts.
        description: Tells the model what the tool does; the default is the docstring's text.
        schema, handler: The JSON Schema of the arguments, and the handler, of a tool built from parts.
        name: Replaces the function's name.
        fields: `manual`, `timeout` (seconds), `thread`, `metadata`: as in `Tool`.

    Raises:
        ValidationError: A parameter that a model cannot fill: `*args`, `**kwargs`, a type without a JSON Schema.
    """
    # Annotations may name classes that are local to the calling function, as in a test: only its frame has them.
    caller_names = sys._getframe(1).f_locals
    from_parts = schema is not None or handler is not None
    if isinstance(function, str) or (function is None and name is not None and from_parts):
        given: Any = schema if schema is not None else {"type": "object", "properties": {}}
        given = dict(given) if isinstance(given, Mapping) else given  # `validate` reports what is not a schema
        return Tool(str(name or function), description or "", given, handler=handler, **fields)
    if function is None:
        return functools.partial(tool, name=name, description=description, **fields)
    if not callable(function) or isinstance(function, Tool):
        sentence = (
            f"allm.tool expected a function, got {type(function).__name__}; to build a tool from parts, call "
            "allm.tool(name, description, schema, handler)"
        )
        raise ValidationError([Problem((), "not_callable", sentence)], reason="invalid_tool")
    return _from_function(function, name, description, fields, caller_names)


def _from_function(
    function: Callable[..., Any],
    name: str | None,
    description: str | None,
    fields: dict[str, Any],
    caller_names: Mapping[str, Any],
) -> Tool:
    inner = _without_partials(function)
    # A callable object has its hints and docstring on `__call__`, but its own class names it better.
    plain = inner if inspect.isroutine(inner) or inspect.isclass(inner) else inner.__call__
    name = name or str(getattr(inner, "__name__", type(inner).__name__))
    signature = inspect.signature(function)
    types = _hints(plain, name, caller_names)
    given: dict[str, Any] = {}
    contexts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.kind in _VARIADIC:
            stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            raise _unusable(
                name, parameter.name, f"{stars}{parameter.name} has no place in a JSON object: name every parameter"
            )
        hint = types.get(parameter.name, Any)
        if hint is ToolContext or ToolContext in typing.get_args(hint):
            contexts.append(parameter.name)
        elif parameter.name == "self" and hint is Any:
            raise _unusable(name, "self", "decorate the bound method instead: allm.tool(instance.method)")
        else:
            given[parameter.name] = hint
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        sentence = f"tool {name} is a generator; expected a function that returns its result, such as a list"
        raise ValidationError([Problem((name,), "generator", sentence)], reason="invalid_tool", message=sentence)
    summary, parameter_texts = _docstring(plain)
    _advise_on_what_the_model_sees(name, description or summary, given, types)
    schema = _schema(name, given, signature, parameter_texts)
    handler = FunctionHandler(function, given, tuple(contexts), signature)
    return Tool(name, description or summary, schema, handler=handler, **fields)


def _advise_on_what_the_model_sees(
    name: str, description: str, parameters: Iterable[str], types: Mapping[str, Any]
) -> None:
    """Warn about a tool that the model has to guess about."""
    if not description:
        advise("tool", name, "description", "tool %r has no docstring, so the model knows its name only", name)
    if untyped := [parameter for parameter in parameters if parameter not in types]:
        what = "parameter %s of tool %r has no type hint, so the model may pass anything"
        advise("tool", name, "types", what, ", ".join(untyped), name)


def _hints(plain: Any, name: str, caller_names: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(plain, localns=dict(caller_names), include_extras=True)
    except NameError as error:
        raise _unusable(
            name, str(error.name), f"its annotation cannot be resolved ({error}): define the type at module level"
        ) from error


def _schema(
    name: str, given: Mapping[str, Any], signature: inspect.Signature, texts: Mapping[str, str]
) -> dict[str, Any]:
    try:
        schemas, definitions = schemas_of(given.values())
    except TypeError as error:
        raise _unusable(
            name, ", ".join(given), f"{error}; or build the tool from parts with a schema of your own"
        ) from error
    properties: dict[str, Any] = {}
    required: list[str] = []
    for parameter, schema in zip(given, schemas, strict=True):
        default = signature.parameters[parameter].default
        text = schema.get("description") or texts.get(parameter)
        properties[parameter] = {**schema, **({"description": text} if text else {})}
        if default is inspect.Parameter.empty:
            required.append(parameter)
        elif _has_json(default):
            properties[parameter]["default"] = default.value if isinstance(default, enum.Enum) else default
    result = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {**result, "$defs": definitions} if definitions else result


def _has_json(default: Any) -> bool:
    if isinstance(default, float):
        return math.isfinite(default)
    return default is None or isinstance(default, (bool, int, str, enum.Enum))


def _docstring(plain: Any) -> tuple[str, dict[str, str]]:
    """Return the description without the parameter section, and the description of each parameter."""
    text = inspect.getdoc(plain) or ""
    if not text:
        return "", {}
    import docstring_parser  # here, since many programs that import allm make no tool from a function

    parsed = docstring_parser.parse(text)
    parts = [part for part in (parsed.short_description, parsed.long_description) if part]
    return "\n\n".join(parts) or text, {item.arg_name: item.description or "" for item in parsed.params}


def _unusable(tool_name: str, parameter: str, what: str) -> ValidationError:
    problem = Problem((tool_name, parameter), "unusable_parameter", what)
    message = f"parameter {parameter} of tool {tool_name}: {what}"
    return ValidationError([problem], reason="invalid_tool", message=message)
