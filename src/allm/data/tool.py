"""`Tool`: a tool that the model may call, with its name, description and the JSON Schema of its arguments."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, ClassVar, TypeVar, cast

import attrs

from allm.data.attrs_classes import frozen
from allm.data.content import HOLDS, MEDIA_TYPES, OF_MEDIA, MediaPart, Part, TextPart, ToolCall
from allm.data.errors import ValidationError
from allm.data.json.text import text_bytes
from allm.data.media import Media
from allm.data.message import Message
from allm.data.problems import Problem, mapping_field, shown, wrong_type
from allm.data.types.encode import encode_result

__all__ = [
    "MAX_RESULT_BYTES",
    "TOOL_NAME",
    "Content",
    "Tool",
    "ToolLimit",
    "as_saved",
    "checked_parts",
    "checked_text",
    "expected_tool",
    "is_plain_function",
    "merge_tools",
    "result_content",
    "runs_tools",
    "tool_problems",
    "tool_result",
]

TOOL_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""OpenAI's rule for function names, the strictest of the three vendors."""
RESERVED_NAMES = frozenset({"auto", "none", "required"})
"""Names that have another meaning as `tool_choice`."""


def _is_count(_limit: Any, _attribute: Any, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        what = Problem(("at_once",), "must_be_positive", f"is {shown(value)}; expected a whole number, 1 or more")
        raise ValidationError([what], reason="invalid_tool")


@frozen(eq=False)
class ToolLimit:
    """How many calls run at once, of all tools together that have this very limit."""

    at_once: int = attrs.field(validator=_is_count)


@frozen
class Tool:
    """A function that the model can call.

    Attributes:
        name: 1 to 64 letters, digits, `_` or `-`.
        description: What the tool does, for the model.
        schema: JSON Schema of the arguments, an object schema.
        handler: `fn(arguments)` or `fn(arguments, context)`, sync or async; never serialised.
        manual: Calls are left to the caller: they are not run unless approved.
        manual_when: A function of the `ToolCall` that says whether this one is left to the caller, not async. It is
            not asked about arguments that are no JSON object; if it raises, the call is left to the caller.
        timeout: Seconds that one call may take; None uses the option `tool_timeout`.
        thread: Whether a sync handler runs in a worker thread. False calls it in the task of the turn, which saves the
            thread for a quick one: nothing else runs meanwhile, and no limit can end it.
        limit: Set by `Toolset.limited`: how many calls of its tools run at once. Never serialised.
        compact: The request has one line for it. `tool_help`, a tool that joins it, tells the model the rest.
        deferred: The model sees it once the provider's tool search has found it (Anthropic; OpenAI's Responses API).
        metadata: Settings in a provider's own words, under its name: `{"openai": {"strict": True}}`; and your own data.
    """

    hosted: ClassVar[bool] = False
    name: str
    description: str
    schema: dict[str, Any] = attrs.field(factory=lambda: {"type": "object", "properties": {}}, hash=False)
    handler: Callable[..., Any] | None = attrs.field(default=None, kw_only=True)
    manual: bool = attrs.field(default=False, kw_only=True)
    timeout: float | None = attrs.field(default=None, kw_only=True)
    thread: bool = attrs.field(default=True, kw_only=True)
    manual_when: Callable[[ToolCall], bool] | None = attrs.field(default=None, kw_only=True)
    limit: Any = attrs.field(default=None, kw_only=True)
    compact: bool = attrs.field(default=False, kw_only=True)
    deferred: bool = attrs.field(default=False, kw_only=True)
    metadata: dict[str, Any] = mapping_field()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the decorated function like the plain function; for other tools, call the handler.

        Raises:
            TypeError: The tool has no function.
        """
        function = getattr(self.handler, "call_plain", self.handler)
        if function is None:
            raise TypeError(
                f"tool {self.name!r} has no handler, so it cannot be called; expected Tool(..., handler=fn)"
            )
        return function(*args, **kwargs)

    async def run(self, arguments: Mapping[str, Any], *, context: Any = None) -> Any:
        """Run the tool as a turn would, with arguments as a model gives them: for tests.

        The arguments are converted to the function's types, and a sync function runs in a worker thread. There is no
        time limit: use a cancel scope.

        Args:
            arguments: The JSON object.
            context: What the handler gets as its `ToolContext`, or the mapping for `ToolContext.context`. Progress that
                it emits is dropped, unless you pass a `ToolContext` of your own.

        Returns:
            What the handler returned, before it is encoded; also an `AskUser` or a `Halt`.

        Raises:
            ToolError: `invalid_arguments`, with the text that the model gets; `no_handler`.
            Exception: What the handler raised.
        """
        return await _run[0](self, arguments, context)


ToolT = TypeVar("ToolT")
RunTool = Callable[[Tool, Mapping[str, Any], Any], Awaitable[Any]]

_run: list[RunTool] = []


def runs_tools(function: RunTool) -> RunTool:
    """Make `function` what `Tool.run` calls: values know no threads, so a layer above this one runs handlers."""
    _run[:] = [function]
    return function


def expected_tool(given: Any) -> str:
    """What to pass instead of `given`, which is no `Tool`, for the sentence that refuses it."""
    if isinstance(given, Mapping):
        return "Tool: allm.tool(name, description, schema, handler) makes one from parts"
    if callable(given):
        return f"Tool: decorate {getattr(given, '__name__', 'the function')} with @allm.tool"
    if hasattr(type(given), "__aenter__"):
        return "Tool or Toolset: open the block first, `async with ... as toolset:`, and pass tools=[toolset]"
    return "Tool"


def merge_tools(first: Iterable[ToolT], second: Iterable[ToolT]) -> tuple[ToolT, ...]:
    """`first` with the tools of `second` added; a tool of the same name is replaced in its place. Sets have no name."""
    merged: dict[Any, ToolT] = {getattr(tool, "name", tool): tool for tool in first}
    merged.update({getattr(tool, "name", tool): tool for tool in second})
    return tuple(merged.values())


def tool_problems(tool: Any) -> list[Problem]:
    """The problems of one tool."""
    if not isinstance(tool, Tool):
        return [wrong_type((), tool, "a Tool: @allm.tool makes one from a function")]
    problems = _name_problems(tool.name)
    if not isinstance(tool.description, str):
        problems.append(Problem(("description",), "not_a_string", _is_type(tool.description, "str")))
    problems += _schema_problems(tool.schema)
    for name in ("manual", "thread", "compact", "deferred"):
        if not isinstance(value := getattr(tool, name), bool):
            problems.append(Problem((name,), "not_a_boolean", f"is {shown(value)}; expected True or False"))
    if tool.compact is True and tool.deferred is True:
        sentence = "is set, and so is compact; expected one of them, as each hides the tool in its own way"
        problems.append(Problem(("deferred",), "conflict", sentence))
    if tool.manual_when is not None and not is_plain_function(tool.manual_when):
        sentence = f"is {shown(tool.manual_when)}; expected a function of a ToolCall that is not async, or None"
        problems.append(Problem(("manual_when",), "not_callable", sentence))
    if tool.limit is not None and not isinstance(tool.limit, ToolLimit):
        problems.append(wrong_type(("limit",), tool.limit, "None, or what Toolset.limited(n) sets"))
    if tool.handler is not None and not callable(tool.handler):
        sentence = f"is {shown(tool.handler)}; expected a function of (arguments) or (arguments, context), or None"
        problems.append(Problem(("handler",), "not_callable", sentence))
    if tool.timeout is not None and not _is_seconds(tool.timeout):
        sentence = f"is {shown(tool.timeout)}; expected seconds, more than 0, or None"
        problems.append(Problem(("timeout",), "must_be_positive", sentence))
    return problems


def is_plain_function(value: Any) -> bool:
    """Whether a value can be called, and what it returns is its answer: it is not async."""
    while isinstance(value, functools.partial):
        value = cast("Any", value).func
    called = getattr(value, "__call__", None)  # noqa: B004  of an object whose class has an async one
    return callable(value) and not any(map(inspect.iscoroutinefunction, (value, called)))


def as_saved(tool: Tool) -> Tool:
    """The tool without the live objects, which nothing can save."""
    manual = tool.manual or tool.manual_when is not None
    live: dict[str, Any] = {"secrets": None} if tool.hosted else {}
    return attrs.evolve(tool, handler=None, manual=manual, manual_when=None, limit=None, **live)


def _is_type(value: Any, expected: str) -> str:
    return f"is {type(value).__name__}; expected {expected}"


def _name_problems(name: Any) -> list[Problem]:
    if not isinstance(name, str):
        return [wrong_type(("name",), name, "str")]
    if not name:
        return [Problem(("name",), "empty", "is not given; expected 1 to 64 letters, digits, '_' or '-'")]
    if name in RESERVED_NAMES:
        return [Problem(("name",), "reserved_tool_name", f"is {name!r}, which is reserved for tool_choice; rename it")]
    if not TOOL_NAME.fullmatch(name):
        sentence = f"is {shown(name)}; expected 1 to 64 letters, digits, '_' or '-'"
        return [Problem(("name",), "invalid_format", sentence)]
    return []


def _schema_problems(schema: Any) -> list[Problem]:
    if not isinstance(schema, dict):
        return [Problem(("schema",), "not_a_mapping", _is_type(schema, "a JSON Schema as a dict"))]
    fields = cast("dict[str, Any]", schema)
    if (kind := fields.get("type", "object")) != "object":
        sentence = f"is {shown(kind)}; expected 'object', since arguments have names"
        return [Problem(("schema", "type"), "not_an_object", sentence)]
    if not isinstance(properties := fields.get("properties", {}), Mapping):
        return [
            Problem(("schema", "properties"), "not_a_mapping", _is_type(properties, "a mapping of names to schemas"))
        ]
    return []


def _is_seconds(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    # An int can be larger than any float, and Trio's clock counts in floats.
    return 0 < value <= sys.float_info.max or value == float("inf")


# --- results ---------------------------------------------------------------------------------------------------------

Content = str | tuple[Part, ...]

MAX_RESULT_BYTES = 16 * 1024 * 1024
"""Longest text of a result, as long as the arguments of a call. No model reads more than a few megabytes."""


_SENT_AS_PARTS = (Media, *MEDIA_TYPES, TextPart)


def result_content(value: Any) -> Content:
    """What the model gets for `value`.

    A text is sent as it is. An image, a document, audio or a video is a part, and so is each item of a list or tuple
    that has one of these or a part in it. Anything else is encoded as JSON.

    Raises:
        Exception: It cannot be encoded, or is too long; also what a property of the caller's class raised.
    """
    if isinstance(value, str):
        return checked_text(str.__str__(value))  # also of an enum of texts
    if isinstance(value, _SENT_AS_PARTS):
        return checked_parts((value,))
    if isinstance(value, (list, tuple)) and any(isinstance(item, _SENT_AS_PARTS) for item in value):
        return checked_parts(value)
    return checked_text(encode_result(value))


def checked_parts(items: list[Any] | tuple[Any, ...]) -> tuple[Part, ...]:
    """The items as parts: images and the like, texts, and the JSON of anything else.

    Files are read now: they may be gone later.

    Raises:
        Exception: As `result_content`.
    """
    parts = tuple(map(_part, items))
    checked_text("".join(part.text for part in parts if isinstance(part, TextPart)))
    return parts


def checked_text(text: str) -> str:
    """The text of a result.

    Raises:
        ValueError: It is longer than a conversation takes.
    """
    size = text_bytes(text)
    if size > MAX_RESULT_BYTES:
        raise ValueError(f"it has {size:,} bytes, and a conversation takes {MAX_RESULT_BYTES:,}; return a part of it")
    return text


def _part(item: Any) -> TextPart | MediaPart:
    if isinstance(item, TextPart):
        return item
    if isinstance(item, MEDIA_TYPES):
        part: Any = item
        word = HOLDS[type(item)].word
        return cast("MediaPart", attrs.evolve(part, **{word: _read(getattr(part, word))}))
    if isinstance(item, Media):
        return cast("MediaPart", OF_MEDIA[type(item)](_read(item)))
    return TextPart(encode_result(item))


def _read(media: Media) -> Media:
    if media.source[0] != "file":
        return media
    return attrs.evolve(media, source=("bytes", media.to_bytes()), name=media.file_name())


def tool_result(tool_call_id: str, value: Any, *, is_error: bool = False) -> Message:
    """The result of a tool call, from any value that a handler may return.

    Args:
        tool_call_id: The id of the call.
        value: A text is sent as it is, an `Image`, a `Document` or the like as a part, and so is each item of a list
            with one of them in it; anything else is sent as JSON.
        is_error: Tell the model that the tool failed.

    Raises:
        ValidationError: The value has no JSON form (`encoding_failed`).
    """
    try:
        content = result_content(value)
    except Exception as error:  # also from a property of the caller's class
        sentence = f"the result of {tool_call_id} cannot be sent: {error}"
        problem = Problem(("content",), "encoding_failed", sentence)
        raise ValidationError([problem], reason="invalid_message") from error
    return Message("tool", content, tool_call_id=tool_call_id, is_error=is_error)
