"""Tools from functions: name, description and schema are read from the function, arguments structured to its types."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast, overload

from allm.data.content import ToolCall
from allm.data.errors import Problem, ValidationError
from allm.data.tool import Tool
from allm.data.types.classes import has_fields
from allm.data.types.defaults import default_in, read_default
from allm.data.types.describe import shape_of
from allm.data.types.hints import Scope, annotations_of, scope_of_function
from allm.data.types.records import Field, properties_of
from allm.data.types.schema import with_definitions
from allm.runtime.docstrings import read_docstring
from allm.runtime.fitting import advise
from allm.runtime.tool_calls import FunctionHandler, is_context, without_partials

__all__ = ["tool"]

_VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _filled_by_partials(function: Any) -> set[str]:
    """Parameters that `functools.partial` has given by name: the program's own, such as a connection or a user's id."""
    names: set[str] = set()
    while isinstance(function, functools.partial):
        names.update(cast("Any", function).keywords)
        function = cast("Any", function).func
    return names


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
    manual_when: Callable[[ToolCall], bool] | None = None,
    compact: bool = False,
    deferred: bool = False,
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
    manual_when: Callable[[ToolCall], bool] | None = None,
    compact: bool = False,
    deferred: bool = False,
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
    converts the arguments to the annotated types, of any kind that JSON can hold. A parameter of type `ToolContext` is
    filled in by the library and hidden from the model. A sync function runs in a worker thread; with `thread=False`,
    for a quick one, in the task of the turn.

    Args:
        function: The function, or the tool's name when it is built from parts.
        description: Tells the model what the tool does; the default is the docstring's text.
        schema, handler: The JSON Schema of the arguments, and the handler, of a tool built from parts.
        name: Replaces the function's name.
        fields: `manual`, `timeout` (seconds), `thread`, `manual_when`, `compact`, `deferred`, `metadata`: as in `Tool`.

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
    options: dict[str, Any],
    caller_names: Mapping[str, Any],
) -> Tool:
    inner = without_partials(function)
    # A callable object has its hints and docstring on `__call__`, but its own class names it better.
    plain = inner if inspect.isroutine(inner) or inspect.isclass(inner) else inner.__call__
    name = name or str(getattr(inner, "__name__", type(inner).__name__))
    signature = _signature(function, name)
    hints = _hints_of(plain, caller_names)
    # Without one of its own, `__call__` inherits "Call self as a function."
    summary, texts = read_docstring(plain if plain.__doc__ is not None else inner)
    filled = _filled_by_partials(function)
    fields: dict[str, Field] = {}
    contexts: list[str] = []
    for parameter in signature.parameters.values():
        if parameter.name in filled:
            continue
        if parameter.kind in _VARIADIC:
            stars = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else "**"
            raise _unusable(
                name, parameter.name, f"{stars}{parameter.name} has no place in a JSON object: name every parameter"
            )
        try:
            hint, scope = hints.get(parameter.name, (Any, Scope()))
            hint = scope.resolve(hint)
            if is_context(hint, scope):
                contexts.append(parameter.name)
            elif parameter.name == "self" and hint is Any:
                raise _unusable(name, "self", "decorate the bound method instead: allm.tool(instance.method)")
            else:
                fields[parameter.name] = _field(parameter, hint, scope, texts.get(parameter.name))
        except TypeError as error:
            what = f"{error}; or build the tool from parts with a schema of your own"
            raise _unusable(name, parameter.name, what) from error
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        sentence = f"tool {name} is a generator; expected a function that returns its result, such as a list"
        raise ValidationError([Problem((name,), "generator", sentence)], reason="invalid_tool", message=sentence)
    _advise_on_what_the_model_sees(name, description or summary, fields, hints)
    schema, definitions = with_definitions(functools.partial(properties_of, list(fields.values())))
    schema = {**schema, "$defs": definitions} if definitions else schema
    handler = FunctionHandler(function, fields, tuple(contexts), signature)
    return Tool(name, description or summary, schema, handler=handler, **options)


def _signature(function: Callable[..., Any], name: str) -> inspect.Signature:
    try:
        return inspect.signature(function)
    except ValueError as error:
        sentence = f"tool {name} is built in and does not say what its parameters are: write a function that calls it"
        raise ValidationError([Problem((name,), "no_signature", sentence)], reason="invalid_tool") from error


def _hints_of(plain: Any, caller_names: Mapping[str, Any]) -> dict[str, tuple[Any, Scope]]:
    """The annotation of each parameter with its scope; those of a class are its fields', also of inherited ones."""
    function = plain.__init__ if inspect.isclass(plain) else plain
    scope = scope_of_function(function, caller_names)
    written = {name: (hint, scope) for name, hint in inspect.get_annotations(inspect.unwrap(function)).items()}
    if not inspect.isclass(plain):
        return written
    fields = annotations_of(plain, {})
    return {**written, **fields} if has_fields(plain) else {**fields, **written}


def _field(parameter: inspect.Parameter, hint: Any, scope: Scope, text: str | None) -> Field:
    default = read_default(parameter.default)
    default = (default.is_required and default_in(hint)) or default
    shape = shape_of(hint, scope, default.notes, with_null=default.value is None)
    return Field(parameter.name, shape, default, parameter.name, {"description": text} if text else {})


def _advise_on_what_the_model_sees(
    name: str, description: str, parameters: Iterable[str], annotations: Mapping[str, Any]
) -> None:
    """Warn about a tool that the model has to guess about."""
    if not description:
        advise("tool", name, "description", "tool %r has no description, so the model knows its name only", name)
    if untyped := [parameter for parameter in parameters if parameter not in annotations]:
        what = "parameter %s of tool %r has no type hint, so the model may pass anything"
        advise("tool", name, "types", what, ", ".join(untyped), name)


def _unusable(tool_name: str, parameter: str, what: str) -> ValidationError:
    problem = Problem((tool_name, parameter), "unusable_parameter", what)
    message = f"parameter {parameter} of tool {tool_name}: {what}"
    return ValidationError([problem], reason="invalid_tool", message=message)
