"""Every option of a call, one row each: what it may be, where its value goes, and how the layers that give it merge.

The checks and the merge of a call follow from the rows. A new option is a row here, a line in `CallOptions`, and a
field at the place where it goes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import OptionError, Problem, ValidationError
from allm.data.problems import refuse, shown, unknown_option, wrong_type
from allm.data.request import JsonSchema
from allm.data.tool import Tool, expected_tool, merge_tools
from allm.data.tool_layers import ToolLayers
from allm.data.toolset import Toolset
from allm.data.types.hints import is_type
from allm.http.headers import HeaderValue, header_problem, sealed, sealed_headers
from allm.http.keys import Secret
from allm.http.private_url import as_url
from allm.runtime.retry import RetryPolicy

__all__ = [
    "NAMES_FOR",
    "OF_CALL",
    "OPTIONS",
    "Place",
    "check_options",
    "invalid_option",
    "kept_options",
    "merged_options",
    "seal",
    "values_for",
]

MAX_INT = sys.float_info.max
"""An int can be larger, and no clock could count to it."""

Place = Literal["request", "adapter", "execution"]
"""Where a value goes: the `Request`, the `AdapterOptions` or the `ExecutionOptions` of the call, by the same name."""


@frozen
class Rule:
    """What a value may be.

    Attributes:
        expected: The same in words, for the sentence that refuses another value.
        tag: The tag of that problem, for a rule about values of the right type.
    """

    expected: str
    accepts: Callable[[Any], bool]
    tag: str = "invalid_type"


# --- how the values of one option merge, given in order from the application's default to the call's own ------------


def _last(values: list[Any]) -> Any:
    return values[-1]


def _united(values: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Key by key; a later layer wins where both say something."""
    return {name: value for layer in values for name, value in layer.items()}


def _tools(values: list[Any]) -> tuple[Tool, ...] | ToolLayers:
    layers = [added for tools in values if (added := _checked_tools(tools))]
    merged: tuple[Tool, ...] = ()
    for layer in layers:
        tools = tuple(tool for tool in layer if isinstance(tool, Tool))
        if len(tools) < len(layer):
            return ToolLayers(tuple(layers))
        merged = merge_tools(merged, tools)
    return merged


def _checked_tools(tools: Any) -> tuple[Tool | Toolset, ...]:
    if not isinstance(tools, Iterable):  # of a request, whose fields may be anything until it is validated
        raise ValidationError([wrong_type(("tools",), tools, "an iterable of Tool")], reason="invalid_options")
    found = tuple(tools)
    wrong = [
        wrong_type(("tools", index), tool, expected_tool(tool))
        for index, tool in enumerate(found)
        if not isinstance(tool, Tool | Toolset)
    ]
    refuse(wrong, reason="invalid_options")
    return found


def _key(values: list[Any]) -> Secret | None:
    key = values[-1]
    return Secret(key) if isinstance(key, str) else key


def _headers(values: list[Mapping[str, HeaderValue]]) -> dict[str, HeaderValue]:
    """Name by name, in whatever case it is written."""
    merged: dict[str, HeaderValue] = {}
    for headers in values:
        if (problem := header_problem(headers)) is not None:
            found = [Problem(("headers",), "invalid_format", problem)]
            raise ValidationError(found, reason="invalid_options", message=problem)
        merged |= {name.lower(): value for name, value in headers.items()}
    return sealed_headers(merged)


# --- the table -----------------------------------------------------------------------------------------------------


@frozen
class Option:
    """One row.

    Attributes:
        kind: The types that it may be of.
        places: Where its value goes.
        limit: Which values of these types it may have.
        merge: What the layers that say something make together; the last one wins where nothing else stands.
        is_for_turns: Whether it has no effect on a single model call.
        is_secret: Whether a wrong value is never shown.
    """

    kind: Rule
    places: tuple[Place, ...]
    limit: Rule | None = None
    merge: Callable[[list[Any]], Any] = attrs.field(default=_last, kw_only=True)
    is_for_turns: bool = attrs.field(default=False, kw_only=True)
    is_secret: bool = attrs.field(default=False, kw_only=True)

    def says(self, value: Any) -> bool:
        """Whether a layer that gives `value` says something: a request says nothing with None, other places may."""
        return value is not None or "request" not in self.places


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, float) or (_is_count(value) and abs(value) <= MAX_INT)


def _is_cache(value: Any) -> bool:
    from allm.data.cache import Cache  # no other call needs it

    return isinstance(value, Cache)


def _is_iterable(value: Any) -> bool:
    return isinstance(value, Iterable) and not isinstance(value, (str, bytes, Mapping))


def _is_texts(value: Any) -> bool:
    return isinstance(value, str) or _is_iterable(value)


def _or_none(expected: str, accepts: Callable[[Any], bool]) -> Rule:
    return Rule(f"{expected}, or None", lambda value: value is None or accepts(value))


TEXT = _or_none("str", _is(str))
NUMBER = _or_none("a number", _is_number)
SECONDS = _or_none("a number of seconds", _is_number)
COUNT = Rule("int", _is_count)
COUNT_OR_NONE = _or_none("int", _is_count)
FLAG = Rule("bool", _is(bool))
FLAG_OR_NONE = _or_none("bool", _is(bool))
TEXTS = _or_none("a text, or an iterable of texts", _is_texts)
FUNCTION = _or_none("a function", callable)
MAPPING = Rule("a mapping", _is(Mapping))
TOOLS = Rule("an iterable of Tool or Toolset, such as [weather]", _is_iterable)
CHOICE = _or_none("str, a mapping", _is(str, Mapping))
FORMAT = _or_none(
    "a type, JsonSchema, a mapping, str", lambda value: isinstance(value, (JsonSchema, Mapping, str)) or is_type(value)
)
MODE = Rule("'auto' or 'manual'", _is(str))
OUTPUT_MODE = Rule("'auto', 'native', 'tool' or 'prompted'", _is(str))
TOOL_MODE = Rule("'auto', 'native' or 'prompted'", _is(str))
PROMPT_CACHE = _or_none(
    "True, False, '5m' or '1h'",
    lambda value: isinstance(value, bool) or (isinstance(value, str) and value in {"5m", "1h"}),
)
CACHE = _or_none("Cache, as allm.caches.create and allm.caches.get return it", _is_cache)
ON_TOOL_ERROR = Rule(
    "'continue', 'halt', or a function of (tool_call, error)",
    lambda value: callable(value) or (isinstance(value, str) and value in {"continue", "halt"}),
)

POSITIVE = Rule("a number greater than 0", lambda value: value is None or value > 0, "must_be_positive")
NOT_NEGATIVE = Rule("0 or more", lambda value: value >= 0, "must_not_be_negative")
KNOWN_MODE = Rule("'auto' or 'manual'", {"auto", "manual"}.__contains__, "unknown")
KNOWN_OUTPUT_MODE = Rule(OUTPUT_MODE.expected, {"auto", "native", "tool", "prompted"}.__contains__, "unknown")
KNOWN_TOOL_MODE = Rule(TOOL_MODE.expected, {"auto", "native", "prompted"}.__contains__, "unknown")

_REQUEST: tuple[Place, ...] = ("request",)
_ADAPTER: tuple[Place, ...] = ("adapter",)
_EXECUTION: tuple[Place, ...] = ("execution",)
_BOTH: tuple[Place, ...] = ("adapter", "execution")

OPTIONS: dict[str, Option] = {
    "model": Option(TEXT, _REQUEST),
    "tools": Option(TOOLS, _REQUEST, merge=_tools),
    "tool_choice": Option(CHOICE, _REQUEST),
    "temperature": Option(NUMBER, _REQUEST),  # the ranges of a request's fields are checked with the request
    "max_tokens": Option(COUNT_OR_NONE, _REQUEST),
    "top_p": Option(NUMBER, _REQUEST),
    "stop": Option(TEXTS, _REQUEST),
    "seed": Option(COUNT_OR_NONE, _REQUEST),
    "parallel_tool_calls": Option(FLAG_OR_NONE, _REQUEST),
    "service_tier": Option(TEXT, _REQUEST),
    "logprobs": Option(COUNT_OR_NONE, _REQUEST),
    "response_format": Option(FORMAT, _REQUEST),
    "structured_finalize": Option(FLAG, _REQUEST),
    "options": Option(MAPPING, _REQUEST, merge=_united),
    "reasoning_effort": Option(TEXT, _ADAPTER),
    "reasoning_summary": Option(TEXT, _ADAPTER),
    "verbosity": Option(TEXT, _ADAPTER),
    "prompt_cache": Option(PROMPT_CACHE, _ADAPTER),
    "prompt_cache_key": Option(TEXT, _ADAPTER),
    "cached_content": Option(CACHE, _ADAPTER),
    "api_key": Option(_or_none("str", _is(str, Secret)), _ADAPTER, merge=_key, is_secret=True),
    "headers": Option(Rule("a mapping of names to strings", _is(Mapping)), _ADAPTER, merge=_headers, is_secret=True),
    "base_url": Option(TEXT, _ADAPTER, is_secret=True),
    "request_id": Option(TEXT, _BOTH),
    "session_id": Option(TEXT, _BOTH),
    "context": Option(MAPPING, _EXECUTION, merge=_united),
    "mode": Option(MODE, _EXECUTION, KNOWN_MODE, is_for_turns=True),
    "max_turns": Option(COUNT, _EXECUTION, POSITIVE, is_for_turns=True),
    "before_step": Option(FUNCTION, _EXECUTION, is_for_turns=True),
    "halt_when": Option(FUNCTION, _EXECUTION, is_for_turns=True),
    "output_mode": Option(OUTPUT_MODE, _EXECUTION, KNOWN_OUTPUT_MODE),
    "tool_mode": Option(TOOL_MODE, _EXECUTION, KNOWN_TOOL_MODE),
    "validation_retries": Option(COUNT, _EXECUTION, NOT_NEGATIVE),
    "compact": Option(FUNCTION, _EXECUTION),
    "on_tool_error": Option(ON_TOOL_ERROR, _EXECUTION),
    "tool_timeout": Option(SECONDS, _EXECUTION, POSITIVE),
    "max_concurrency": Option(COUNT_OR_NONE, _EXECUTION, POSITIVE),
    "structured_finalize_nudge": Option(Rule("str", _is(str)), _EXECUTION),
    "emit_text_deltas": Option(FLAG, _EXECUTION),
    "emit_tool_deltas": Option(FLAG, _EXECUTION),
    "include_raw_chunks": Option(FLAG, _BOTH),
    "on_event": Option(FUNCTION, _EXECUTION),
    "request_timeout": Option(SECONDS, _EXECUTION, POSITIVE),
    "first_event_timeout": Option(SECONDS, _EXECUTION, POSITIVE),
    "stream_timeout": Option(SECONDS, _EXECUTION, POSITIVE),
    "retry": Option(_or_none("RetryPolicy", _is(RetryPolicy)), _EXECUTION),
}

NAMES_FOR: dict[Place, tuple[str, ...]] = {
    place: tuple(name for name, option in OPTIONS.items() if place in option.places)
    for place in ("request", "adapter", "execution")
}


_OF_MODEL = frozenset({"output_mode", "tool_mode", "first_event_timeout", "stream_timeout", "retry"})
OF_CALL: frozenset[str] = (
    frozenset({"tools", "tool_choice", "response_format", "structured_finalize"})
    | frozenset({"request_id", "session_id", "include_raw_chunks"})
    | (frozenset(NAMES_FOR["execution"]) - _OF_MODEL)
)
"""Options that are about the call, whichever model answers it; all others may differ between the members of a group."""


# --- what follows from it ------------------------------------------------------------------------------------------


def seal(options: Mapping[str, Any]) -> None:
    """Hide the keys in the options of a call, and keep what an iterator gives, in place.

    For the first line of a function that takes `**options`: reports of errors print the variables of every frame, and a
    turn resolves its options for each of its model calls.
    """
    if not options:
        return
    for name in _ITERABLES & options.keys():
        if isinstance(options, dict) and isinstance(options[name], Iterator):
            options[name] = tuple(options[name])
    for name in _SEALED.keys() & options.keys():
        if isinstance(options, dict):
            options[name] = _SEALED[name](options[name])


_ITERABLES = frozenset({"tools", "stop"})
_SEALED: dict[str, Callable[[Any], Any]] = {
    "api_key": lambda key: Secret(key) if isinstance(key, str) else key,
    "base_url": as_url,
    "headers": sealed,
}


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse unknown names and wrong types.

    Raises:
        OptionError: `unknown_option` (suggests the nearest name) or `invalid_type`; it is a `TypeError`.
        ValidationError: Values out of range, all of them; it is a `ValueError`.
    """
    problems: list[Problem] = []
    for name, value in options.items():
        option = OPTIONS.get(name)
        if option is None:
            raise unknown_option(name, OPTIONS.keys())
        if not option.kind.accepts(value):
            given = type(value).__name__ if option.is_secret else shown(value)
            message = f"option {name} is {given}; expected {option.kind.expected}"
            raise OptionError(message, reason="invalid_type", option=name)
        limit = option.limit
        if limit is not None and not limit.accepts(value):
            problems.append(Problem((name,), limit.tag, f"is {shown(value)}; expected {limit.expected}"))
    refuse(problems, reason="invalid_options")


def kept_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options for many calls: an iterator of tools, or of texts, would be used up by the first one.

    Raises:
        OptionError, ValidationError: As `check_options`.
    """
    check_options(options)
    return {name: _kept(name, value) for name, value in options.items()}


def _kept(name: str, value: Any) -> Any:
    return tuple(value) if name in _ITERABLES and value is not None and not isinstance(value, str) else value


def merged_options(layers: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The value of every option that a layer says something of. A later layer goes before an earlier one.

    Raises:
        ValidationError: A tool that is of another type.
    """
    given: dict[str, list[Any]] = {}
    for layer in layers:
        for name, value in layer.items():
            if OPTIONS[name].says(value):
                given.setdefault(name, []).append(value)
    return {name: OPTIONS[name].merge(values) for name, values in given.items()}


def values_for(place: Place, merged: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the merged options that go to `place`."""
    return {name: value for name, value in merged.items() if place in OPTIONS[name].places}


def invalid_option(name: str, tag: str, sentence: str) -> ValidationError:
    """The error of an option whose value is of the right type and still cannot be used."""
    return ValidationError([Problem((name,), tag, sentence)], reason="invalid_options")
