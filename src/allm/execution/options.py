"""Where each value of a call comes from, and the request that it makes.

One rule, everywhere: call option > request field > engine > application default > library default.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import NoneType
from typing import Any

import attrs

from allm.data.builders import to_messages
from allm.data.errors import EngineError, ValidationError
from allm.data.message import Message
from allm.data.request import JsonSchema, Request
from allm.data.thread import Thread
from allm.data.tool import Tool
from allm.data.types.schema import object_schema
from allm.data.validation import validate
from allm.execution.call_options import NAMES, CallOptions, ExecutionOptions, check_options, invalid_option
from allm.execution.journal import ToolJournal
from allm.runtime.adapters import AdapterOptions, as_adapter
from allm.runtime.capability import check_capabilities
from allm.runtime.engine import Engine, merge_tools
from allm.runtime.keys import Secret
from allm.runtime.retry import DEFAULT_RETRY

__all__ = [
    "CallOptions",
    "Input",
    "ModelCall",
    "application_defaults",
    "defaults",
    "engine_options",
    "prepare_call",
    "resolve",
    "set_defaults",
]

logger: logging.Logger = logging.getLogger("allm")

Input = str | Message | Thread | Request | Iterable[Message]

ADAPTER_NAMES = ("reasoning_effort", "reasoning_summary", "verbosity", "request_id", "session_id")
REQUEST_NAMES = ("model", "tool_choice", "temperature", "max_tokens", "response_format", "structured_finalize")
CONTROL_NAMES = tuple(field.name for field in attrs.fields(ExecutionOptions))
ORCHESTRATION_NAMES = ("mode", "max_turns", "halt_when", "validation_retries")

_app_defaults: dict[str, Any] = {}
_local_defaults: ContextVar[dict[str, Any] | None] = ContextVar("allm_defaults", default=None)


@contextmanager
def defaults(**options: Any) -> Generator[None]:
    """Application defaults in this context and the tasks started from it: `with allm.defaults(model="gpt-5"): ...`.

    Raises:
        OptionError, ValidationError: An unknown option, or one that cannot be.
    """
    token = _local_defaults.set({**(_local_defaults.get() or {}), **_kept(options)})
    try:
        yield
    finally:
        _local_defaults.reset(token)


def set_defaults(**options: Any) -> None:
    """Application defaults for the whole process; each call replaces the earlier ones.

    Raises:
        OptionError, ValidationError: An unknown option, or one that cannot be.
    """
    kept = _kept(options)
    _app_defaults.clear()
    _app_defaults.update(kept)


def _kept(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options for many calls: an iterator of tools would be used up by the first one."""
    check_options(options)
    return {name: tuple(value) if name == "tools" else value for name, value in options.items()}


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
    controls: ExecutionOptions
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
    app, from_engine = application_defaults(), engine_options(engine)
    check_options(from_engine)
    from_request = {name: value for name in REQUEST_NAMES if (value := getattr(request, name)) is not False}
    layers = [_given(layer) for layer in (app, from_engine, from_request, options)]
    merged: dict[str, Any] = {name: value for layer in layers for name, value in layer.items()}
    in_params = from_engine.get
    body = (app.get("options"), _body_params(engine), in_params("options"), request.options, options.get("options"))
    context = (app.get("context"), engine.context, in_params("context"), options.get("context"))
    tools: tuple[Tool, ...] = ()
    for layer in (app.get("tools"), engine.tools, in_params("tools"), request.tools, options.get("tools")):
        tools = merge_tools(tools, _checked_tools(layer))
    resolved = attrs.evolve(
        request,
        **{name: merged[name] for name in REQUEST_NAMES if name in merged},
        tools=tools,
        options=_united(body),
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
        controls=ExecutionOptions(
            **{name: merged[name] for name in CONTROL_NAMES if name in merged and name != "context"},
            context=_united(context),
        ),
    )


def _format(wanted: Any) -> Any:
    """A class as a `JsonSchema` that remembers it; anything else as it is."""
    if not isinstance(wanted, type):
        return wanted
    try:
        schema, strict = object_schema(wanted)
    except TypeError as error:
        raise invalid_option("response_format", "no_schema", f"response_format={wanted.__name__}: {error}") from error
    return JsonSchema(wanted.__name__, schema, strict, output_type=wanted)


def engine_options(engine: Engine) -> dict[str, Any]:
    """The options that the engine says something of; its defaults are the library's and say nothing."""
    found: dict[str, Any] = {}
    if engine.retry is not DEFAULT_RETRY:
        found["retry"] = engine.retry
    if engine.on_tool_error is not None:
        found["on_tool_error"] = engine.on_tool_error
    found |= {name: value for name, value in engine.params.items() if name in NAMES}
    if engine.model is not None:
        found["model"] = engine.model
    return found


def _body_params(engine: Engine) -> dict[str, Any]:
    return {name: value for name, value in engine.params.items() if name not in NAMES}


def _given(layer: Mapping[str, Any]) -> dict[str, Any]:
    """What a layer says. None is a value, such as no limit, but where a request would say nothing with it."""
    return {name: value for name, value in layer.items() if value is not None or name not in REQUEST_NAMES}


def _united(layers: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    return {name: value for layer in layers for name, value in (layer or {}).items()}


def _checked_tools(tools: Any) -> tuple[Tool, ...]:
    if not isinstance(tools, (Iterable, NoneType)):
        raise invalid_option("tools", "invalid_type", f"tools is {type(tools).__name__}; expected an iterable of Tool")
    found = tuple(tools or ())
    for index, tool in enumerate(found):
        if not isinstance(tool, Tool):
            raise invalid_option("tools", "invalid_type", f"tools[{index}] is {type(tool).__name__}; expected Tool")
    return found


def _secret(key: str | Secret | None) -> Secret | None:
    return Secret(key) if isinstance(key, str) else key


def output_type(call: ModelCall) -> type | None:
    """The class that the answer is to be an instance of, if one was given."""
    wanted = call.request.response_format
    return wanted.output_type if isinstance(wanted, JsonSchema) else None


def warn_ignored_options(options: Mapping[str, Any]) -> None:
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
    if call.request.model is None and as_adapter(adapter).requires_model:
        raise EngineError(
            "no model is given: pass model=, set Engine(model=...), or use Engine.from_model('provider:model')",
            reason="missing_model",
        )
    check_capabilities(adapter, call.request, call.adapter_options)
    try:
        return adapter.prepare(call.request, call.adapter_options)
    except RecursionError:
        raise ValidationError(
            [((), "nested_too_deep")],
            reason="invalid_request",
            message="the request is nested too deep, or holds itself: see its options, schemas and format",
        ) from None


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
