"""The options of a call: their names, their types, and what may be in them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Generic, Literal, TypedDict

import attrs

from allm.data.content import ToolCall
from allm.data.errors import OptionError, Problem, ToolError, ValidationError
from allm.data.events import AdapterEvent
from allm.data.problems import unknown_option
from allm.data.request import JsonSchema, ResponseFormat, ToolChoice
from allm.data.response import OutputT
from allm.data.results import StepResult
from allm.data.tool import Tool
from allm.runtime.keys import Secret
from allm.runtime.retry import DEFAULT_RETRY, RetryPolicy

__all__ = [
    "NAMES",
    "CallOptions",
    "ExecutionOptions",
    "HaltWhen",
    "OnEvent",
    "OnToolError",
    "check_options",
    "invalid_option",
    "kept_options",
]

MAX_INT = sys.float_info.max
"""An int can be larger, and no clock could count to it."""


HaltWhen = Callable[[StepResult], bool | Awaitable[bool]]
"""A function of a finished step, sync or async: whether the turn ends here."""

OnToolError = Literal["continue", "halt"] | Callable[[ToolCall, ToolError], Any]
"""What a failed tool call does to the turn. A function, sync or async, returns `"halt"` or the result that the model
reads instead."""

OnEvent = Callable[[AdapterEvent], Any]
"""A function, sync or async, that is shown events; what it returns is not used."""


# Generic, so that `**options: Unpack[CallOptions[OutputT]]` carries the class given as `response_format=` into the
# result: one signature per function, no overloads. Where no class is given, OutputT is its default, Any.
# `type[OutputT]` and not `TypeForm[OutputT]`: that one makes `response_format=None` a `Response[None]` in pyright, and
# mypy takes a union for it only behind a flag.
class CallOptions(TypedDict, Generic[OutputT], total=False):
    """Options of every call. Times are seconds.

    model, tools, tool_choice, temperature, max_tokens, response_format, options: as in `Request`.
    reasoning_effort, reasoning_summary, verbosity: provider words, sent where the provider has them.
    api_key: For this call; wins over every other place.
    request_timeout: Limit of the whole call, retries included; none by default.
    first_event_timeout, stream_timeout: Longest wait for the first event (300) and between two events (300).
    retry: What happens when the call fails before its first event; None never retries.
    mode: "auto" runs tools, "manual" hands their calls to the caller. max_turns: model calls of one turn (8).
    halt_when: function of a `StepResult` that ends the turn. on_tool_error: "continue", "halt", or a function of
        (tool_call, error). tool_timeout: limit of one tool call (30). max_concurrency: calls that run at once (all).
    validation_retries: How often a turn asks again when the answer does not fit the class in `response_format` (0).
    on_event: Called with every adapter event, before the filters.
    emit_text_deltas, emit_tool_deltas, include_raw_chunks: Which events the stream shows; the result is not affected.
    """

    model: str | None
    tools: Iterable[Tool]
    tool_choice: ToolChoice | None
    temperature: float | None
    max_tokens: int | None
    response_format: ResponseFormat[OutputT] | None
    reasoning_effort: str | None
    reasoning_summary: str | None
    verbosity: str | None
    options: Mapping[str, Any]
    api_key: str | None
    request_id: str | None
    mode: Literal["auto", "manual"]
    max_turns: int
    halt_when: HaltWhen | None
    on_tool_error: OnToolError
    tool_timeout: float | None
    max_concurrency: int | None
    context: Mapping[str, Any]
    session_id: str | None
    structured_finalize: bool
    structured_finalize_nudge: str
    validation_retries: int
    emit_text_deltas: bool
    emit_tool_deltas: bool
    include_raw_chunks: bool
    on_event: OnEvent | None
    request_timeout: float | None
    first_event_timeout: float | None
    stream_timeout: float | None
    retry: RetryPolicy | None


@attrs.frozen(kw_only=True)
class ExecutionOptions:
    """The options that steer the execution itself; the field defaults are the library's defaults."""

    mode: str = "auto"
    max_turns: int = 8
    halt_when: HaltWhen | None = None
    on_tool_error: OnToolError = "continue"
    tool_timeout: float | None = 30.0
    max_concurrency: int | None = None
    context: Mapping[str, Any] = attrs.field(factory=dict)
    session_id: str | None = None
    request_id: str | None = None
    structured_finalize_nudge: str = "Now provide your final structured response."
    validation_retries: int = 0
    emit_text_deltas: bool = True
    emit_tool_deltas: bool = True
    include_raw_chunks: bool = False
    on_event: OnEvent | None = None
    request_timeout: float | None = None
    first_event_timeout: float | None = 300.0
    stream_timeout: float | None = 300.0
    retry: RetryPolicy | None = DEFAULT_RETRY


NAMES = frozenset(CallOptions.__annotations__)

_Check = tuple[str, Callable[[Any], bool]]


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (_is_count(value) and abs(value) <= MAX_INT)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


_SECONDS: _Check = ("a number of seconds, or None", _optional(_is_number))
_TEXT: _Check = ("str, or None", _optional(_is(str)))
_FLAG: _Check = ("bool", _is(bool))
_COUNT: _Check = ("int", _is_count)
_COUNT_OR_NONE: _Check = ("int, or None", _optional(_is_count))
_FUNCTION: _Check = ("a function, or None", _optional(callable))
_MAPPING: _Check = ("a mapping", _is(Mapping))

_TYPES: dict[str, _Check] = {
    "model": _TEXT,
    "tools": (
        "an iterable of Tool",
        lambda value: isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping)),
    ),
    "tool_choice": ("str, a mapping, or None", _optional(_is(str, Mapping))),
    "temperature": ("a number, or None", _optional(_is_number)),
    "max_tokens": _COUNT_OR_NONE,
    "response_format": ("a class, JsonSchema, a mapping, str, or None", _optional(_is(type, JsonSchema, Mapping, str))),
    "reasoning_effort": _TEXT,
    "reasoning_summary": _TEXT,
    "verbosity": _TEXT,
    "options": _MAPPING,
    "api_key": ("str, or None", _optional(_is(str, Secret))),
    "request_id": _TEXT,
    "mode": ("'auto' or 'manual'", _is(str)),
    "max_turns": _COUNT,
    "halt_when": _FUNCTION,
    "on_tool_error": (
        "'continue', 'halt', or a function of (tool_call, error)",
        lambda value: callable(value) or (isinstance(value, str) and value in {"continue", "halt"}),
    ),
    "tool_timeout": _SECONDS,
    "max_concurrency": _COUNT_OR_NONE,
    "context": _MAPPING,
    "session_id": _TEXT,
    "structured_finalize": _FLAG,
    "structured_finalize_nudge": ("str", _is(str)),
    "validation_retries": _COUNT,
    "emit_text_deltas": _FLAG,
    "emit_tool_deltas": _FLAG,
    "include_raw_chunks": _FLAG,
    "on_event": _FUNCTION,
    "request_timeout": _SECONDS,
    "first_event_timeout": _SECONDS,
    "stream_timeout": _SECONDS,
    "retry": ("RetryPolicy, or None", _optional(_is(RetryPolicy))),
}
_POSITIVE = ("max_turns", "max_concurrency", "request_timeout", "first_event_timeout", "stream_timeout", "tool_timeout")


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse unknown names and wrong types.

    Raises:
        OptionError: `unknown_option` (suggests the nearest name) or `invalid_type`; it is a `TypeError`.
        ValidationError: A value out of range; it is a `ValueError`.
    """
    value: Any
    for name, value in options.items():
        if name not in NAMES:
            raise unknown_option(name, NAMES)
        expected, accepts = _TYPES[name]
        if not accepts(value):
            shown = repr(value) if isinstance(value, str) and name != "api_key" else type(value).__name__
            raise OptionError(f"option {name} is {shown:.80}; expected {expected}", reason="invalid_type", option=name)
        if name == "validation_retries" and value < 0:
            raise invalid_option(
                name, "must_not_be_negative", f"option validation_retries is {value!r}; expected 0 or more"
            )
        if name in _POSITIVE and value is not None and not value > 0:
            raise invalid_option(
                name, "must_be_positive", f"option {name} is {value!r}; expected a number greater than 0"
            )
        if name == "mode" and value not in {"auto", "manual"}:
            raise invalid_option(name, "unknown", f"option mode is {value!r:.80}; expected 'auto' or 'manual'")


def kept_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options for many calls: an iterator of tools would be used up by the first one.

    Raises:
        OptionError, ValidationError: As `check_options`.
    """
    check_options(options)
    return {name: tuple(value) if name == "tools" else value for name, value in options.items()}


def invalid_option(name: str, tag: str, message: str) -> ValidationError:
    """The error of an option whose value is of the right type and still cannot be."""
    return ValidationError([Problem((name,), tag, message)], reason="invalid_options", message=message)
