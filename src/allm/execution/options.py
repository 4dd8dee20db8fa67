"""The options of a call: their names and types, where each value comes from, and the request they make.

One rule, everywhere: call option > request field > engine > application default > library default.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypedDict

import attrs

from allm.data.build import to_messages
from allm.data.errors import EngineError, OptionError, ValidationError
from allm.data.message import Message
from allm.data.request import JsonSchema, Request, ResponseFormat, ToolChoice
from allm.data.structure import object_schema
from allm.data.thread import Thread
from allm.data.tool import Tool
from allm.data.validate import validate
from allm.execution.journal import ToolJournal
from allm.runtime.capability import check_capabilities
from allm.runtime.engine import Engine, merge_tools
from allm.runtime.keys import Secret
from allm.runtime.ports import AdapterOptions
from allm.runtime.retry import RetryPolicy

__all__ = ["CallOptions", "Controls", "Input", "ModelCall", "defaults", "prepare_call", "resolve", "set_defaults"]

logger = logging.getLogger("allm")

Input = str | Message | Thread | Request | Iterable[Message]


class CallOptions(TypedDict, total=False):
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
    response_format: ResponseFormat | None
    reasoning_effort: str | None
    reasoning_summary: str | None
    verbosity: str | None
    options: Mapping[str, Any]
    api_key: str | None
    request_id: str | None
    mode: Literal["auto", "manual"]
    max_turns: int
    halt_when: Callable[..., Any] | None
    on_tool_error: Any
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
    on_event: Callable[..., Any] | None
    request_timeout: float | None
    first_event_timeout: float | None
    stream_timeout: float | None
    retry: RetryPolicy | None


@attrs.frozen(kw_only=True)
class Controls:
    """The options that steer the execution itself; the field defaults are the library's defaults."""

    mode: str = "auto"
    max_turns: int = 8
    halt_when: Callable[..., Any] | None = None
    on_tool_error: Any = "continue"
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
    on_event: Callable[..., Any] | None = None
    request_timeout: float | None = None
    first_event_timeout: float | None = 300.0
    stream_timeout: float | None = 300.0
    retry: RetryPolicy | None = attrs.field(factory=RetryPolicy)


NAMES = frozenset(CallOptions.__annotations__)
ADAPTER_NAMES = ("reasoning_effort", "reasoning_summary", "verbosity", "request_id", "session_id")
REQUEST_NAMES = ("model", "tool_choice", "temperature", "max_tokens", "response_format", "structured_finalize")
CONTROL_NAMES = tuple(field.name for field in attrs.fields(Controls))
ORCHESTRATION_NAMES = ("mode", "max_turns", "halt_when", "validation_retries")

_app_defaults: dict[str, Any] = {}
_local_defaults: ContextVar[dict[str, Any] | None] = ContextVar("allm_defaults", default=None)


# --- what each option may be -------------------------------------------------------------------------------------

_Check = tuple[str, Callable[[Any], bool]]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _optional(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _is(*types: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, types)


_SECONDS: _Check = ("a number of seconds, or None", _optional(_number))
_TEXT: _Check = ("str, or None", _optional(_is(str)))
_FLAG: _Check = ("bool", _is(bool))
_CALLABLE: _Check = ("a function, or None", _optional(callable))
_MAPPING: _Check = ("a mapping", _is(Mapping))

_TYPES: dict[str, _Check] = {
    "model": _TEXT,
    "reasoning_effort": _TEXT,
    "reasoning_summary": _TEXT,
    "verbosity": _TEXT,
    "api_key": ("str, or None", _optional(_is(str, Secret))),
    "request_id": _TEXT,
    "session_id": _TEXT,
    "structured_finalize_nudge": ("str", _is(str)),
    "mode": ("'auto' or 'manual'", _is(str)),
    "validation_retries": ("int", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "max_turns": ("int", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "max_concurrency": (
        "int, or None",
        _optional(lambda value: isinstance(value, int) and not isinstance(value, bool)),
    ),
    "tools": (
        "an iterable of Tool",
        lambda value: isinstance(value, Iterable) and not isinstance(value, (str, Mapping)),
    ),
    "options": _MAPPING,
    "context": _MAPPING,
    "structured_finalize": _FLAG,
    "emit_text_deltas": _FLAG,
    "emit_tool_deltas": _FLAG,
    "include_raw_chunks": _FLAG,
    "on_event": _CALLABLE,
    "halt_when": _CALLABLE,
    "request_timeout": _SECONDS,
    "first_event_timeout": _SECONDS,
    "stream_timeout": _SECONDS,
    "tool_timeout": _SECONDS,
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
            near = difflib.get_close_matches(name, NAMES, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {', '.join(sorted(NAMES))}"
            raise OptionError(
                f"unknown option {name!r}; {hint} Provider parameters go into options={{...}}",
                reason="unknown_option",
                option=name,
            )
        expected, accepts = _TYPES.get(name, ("", lambda _: True))
        if not accepts(value):
            raise OptionError(
                f"option {name} is {type(value).__name__}; expected {expected}", reason="invalid_type", option=name
            )
        if name in _POSITIVE and value is not None and not value > 0:
            raise _invalid(name, "must_be_positive", f"option {name} is {value!r}; expected a number greater than 0")
        if name == "on_tool_error" and value not in ("continue", "halt") and not callable(value):
            raise OptionError(
                f"option on_tool_error is {value!r}; expected 'continue', 'halt', or a function of (tool_call, error)",
                reason="invalid_type",
                option=name,
            )
        if name == "validation_retries" and isinstance(value, int) and value < 0:
            raise _invalid(name, "must_not_be_negative", f"option validation_retries is {value!r}; expected 0 or more")
        if name == "mode" and value not in {"auto", "manual"}:
            raise _invalid(name, "unknown", f"option mode is {value!r}; expected 'auto' or 'manual'")


def _invalid(name: str, tag: str, message: str) -> ValidationError:
    return ValidationError([((name,), tag)], reason="invalid_options", message=message)


@contextmanager
def defaults(**options: Any) -> Generator[None]:
    """Application defaults in this context and the tasks started from it: `with allm.defaults(model="gpt-5"): ...`.

    Raises:
        OptionError: An unknown option, or one of the wrong type.
    """
    check_options(options)
    token = _local_defaults.set({**(_local_defaults.get() or {}), **options})
    try:
        yield
    finally:
        _local_defaults.reset(token)


def set_defaults(**options: Any) -> None:
    """Application defaults for the whole process; each call replaces the earlier ones.

    Raises:
        OptionError: An unknown option, or one of the wrong type.
    """
    check_options(options)
    _app_defaults.clear()
    _app_defaults.update(options)


def application_defaults() -> dict[str, Any]:
    """What `set_defaults` and `defaults` have set here."""
    return {**_app_defaults, **(_local_defaults.get() or {})}


# --- putting a call together --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ModelCall:
    """A call with everything decided: what is asked, of whom, and how it is run."""

    engine: Engine
    request: Request
    adapter_options: AdapterOptions
    controls: Controls
    journal: ToolJournal | None = None


def resolve(engine: Engine, given: Input, options: Mapping[str, Any]) -> ModelCall:
    """Decide every value of a call by the one precedence rule, and check the outcome.

    Raises:
        EngineError, OptionError, ValidationError: What is wrong; nothing has been sent.
    """
    if not isinstance(engine, Engine):
        raise EngineError(f"the first argument is {type(engine).__name__}; expected an Engine", reason="invalid_engine")
    check_options(options)
    request = given if isinstance(given, Request) else Request(to_messages(given))
    params = {name: value for name, value in engine.params.items() if name in NAMES}
    check_options(params)
    app = application_defaults()
    from_engine: dict[str, Any] = {"retry": engine.retry, "on_tool_error": engine.on_tool_error, **params}
    if engine.model is not None:
        from_engine["model"] = engine.model
    from_request = {
        name: value for name in REQUEST_NAMES if (value := getattr(request, name)) is not None and value is not False
    }
    given_options = {name: value for name, value in options.items() if value is not None or name not in REQUEST_NAMES}
    merged: dict[str, Any] = {**app, **from_engine, **from_request, **given_options}
    body = [app.get("options"), _body_params(engine), params.get("options"), request.options, options.get("options")]
    tools: tuple[Tool, ...] = ()
    for layer in (app.get("tools", ()), engine.tools, params.get("tools", ()), request.tools, options.get("tools", ())):
        layer = tuple(layer)
        _check_tools(layer)
        tools = merge_tools(tools, layer)
    resolved = attrs.evolve(
        request,
        **{name: merged[name] for name in REQUEST_NAMES if name in merged},
        tools=tools,
        options={name: value for layer in body for name, value in (layer or {}).items()},
    )
    resolved = attrs.evolve(resolved, response_format=_format(resolved.response_format))
    validate(resolved)
    return ModelCall(
        engine=engine,
        request=resolved,
        adapter_options=AdapterOptions(
            **{name: merged[name] for name in ADAPTER_NAMES if name in merged},
            api_key=_secret(merged.get("api_key")),
            http_client=engine.http_client,
        ),
        controls=Controls(
            **{name: merged[name] for name in CONTROL_NAMES if name in merged and name != "context"},
            context={**engine.context, **merged.get("context", {})},
        ),
    )


def _format(wanted: Any) -> Any:
    """A class as a `JsonSchema` that remembers it; anything else as it is."""
    if not isinstance(wanted, type):
        return wanted
    try:
        schema, strict = object_schema(wanted)
    except TypeError as error:
        raise _invalid("response_format", "no_schema", f"response_format={wanted.__name__}: {error}") from error
    return JsonSchema(wanted.__name__, schema, strict, output_type=wanted)


def _body_params(engine: Engine) -> dict[str, Any]:
    return {name: value for name, value in engine.params.items() if name not in NAMES}


def _check_tools(tools: tuple[Any, ...]) -> None:
    for index, tool in enumerate(tools):
        if not isinstance(tool, Tool):
            raise _invalid("tools", "invalid_type", f"tools[{index}] is {type(tool).__name__}; expected Tool")


def _secret(key: str | Secret | None) -> Secret | None:
    return Secret(key) if isinstance(key, str) else key


def output_type(call: ModelCall) -> type | None:
    """The class that the answer is to be an instance of, if one was given."""
    wanted = call.request.response_format
    return wanted.output_type if isinstance(wanted, JsonSchema) else None


def drop_orchestration(options: Mapping[str, Any]) -> None:
    """Say that options of the chat loop do nothing on a single call."""
    for name in ORCHESTRATION_NAMES:
        if name in options:
            logger.debug("option %s has no effect on generate and stream_generate; use chat or stream", name)


def prepare_call(call: ModelCall) -> Any:
    """The adapter's own prepared call.

    Raises:
        EngineError: `missing_adapter`, `missing_stream_adapter`, `missing_model`, `missing_key`.
        ValidationError, AdapterError: What the model or the adapter cannot do with the request.
    """
    adapter = call.engine.adapter
    if call.request.model is None and getattr(adapter, "requires_model", True):
        raise EngineError(
            "no model is given: pass model=, set Engine(model=...), or use Engine.from_model('provider:model')",
            reason="missing_model",
        )
    check_capabilities(adapter, call.request, call.adapter_options)
    return adapter.prepare(call.request, call.adapter_options)


def check_adapter(engine: Engine) -> None:
    """Refuse an engine without a streaming adapter.

    Raises:
        EngineError: `missing_adapter`, `missing_stream_adapter`.
    """
    adapter = engine.adapter
    if adapter is None:
        raise EngineError(
            "the engine has no adapter: use Engine(adapter=allm.providers.OpenAI(), ...) or "
            "Engine.from_model('openai:...')",
            reason="missing_adapter",
        )
    if not (callable(getattr(adapter, "prepare", None)) and callable(getattr(adapter, "stream", None))):
        raise EngineError(
            f"{type(adapter).__name__} is no streaming adapter: expected prepare(request, options) and "
            "stream(prepared, emit)",
            reason="missing_stream_adapter",
        )
