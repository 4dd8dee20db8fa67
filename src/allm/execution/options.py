"""Where each value of a call comes from, and the request that it makes.

One rule, everywhere: call option > request field > engine > application default > library default.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Unpack

import attrs

from allm.data.errors import EngineError, Path, Problem, ValidationError
from allm.data.message import Message, Thread, to_messages
from allm.data.problems import refuse
from allm.data.request import JsonSchema, Request, request_problems
from allm.data.types.schema import object_schema
from allm.execution.journal import ToolJournal
from allm.runtime.adapters import AdapterOptions, StreamAdapter, as_adapter
from allm.runtime.advice import warn_of_shutdown
from allm.runtime.call_options import CallOptions, ExecutionOptions
from allm.runtime.capability import check_capabilities
from allm.runtime.engine import Engine
from allm.runtime.fitting import fit_to_model
from allm.runtime.option_table import (
    NAMES_FOR,
    OPTIONS,
    check_options,
    invalid_option,
    kept_options,
    merged_options,
    values_for,
)
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

_app_defaults: dict[str, Any] = {}
_local_defaults: ContextVar[dict[str, Any] | None] = ContextVar("allm_defaults", default=None)


@contextmanager
def defaults(**options: Unpack[CallOptions]) -> Generator[None]:
    """Application defaults in this context and the tasks started from it: `with allm.defaults(model="gpt-5.5"): ...`.

    Raises:
        OptionError, ValidationError: An unknown option, or one that cannot be.
    """
    token = _local_defaults.set({**(_local_defaults.get() or {}), **kept_options(options)})
    try:
        yield
    finally:
        _local_defaults.reset(token)


def set_defaults(**options: Unpack[CallOptions]) -> None:
    """Application defaults for the whole process; each call replaces the earlier ones.

    Raises:
        OptionError, ValidationError: An unknown option, or one that cannot be.
    """
    kept = kept_options(options)
    _app_defaults.clear()
    _app_defaults.update(kept)


def application_defaults() -> dict[str, Any]:
    """What `set_defaults` and `defaults` have set here."""
    return {**_app_defaults, **(_local_defaults.get() or {})}


# --- putting a call together --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class ModelCall:
    """A call with everything decided: what is asked, of whom, and how it is run.

    Attributes:
        defaulted: Where in the request a value stands that only the engine or the application gave.
    """

    engine: Engine
    request: Request
    adapter_options: AdapterOptions
    controls: ExecutionOptions
    defaulted: frozenset[Path] = frozenset()
    journal: ToolJournal | None = None

    @property
    def adapter(self) -> StreamAdapter:
        """Who answers.

        Raises:
            EngineError: As `check_adapter`.
        """
        return check_adapter(self.engine)


def resolve(engine: Engine, given: Input, options: Mapping[str, Any]) -> ModelCall:
    """Decide every value of a call by the one precedence rule, and check the outcome.

    Raises:
        EngineError, OptionError, ValidationError: What is wrong; nothing has been sent.
    """
    if not isinstance(engine, Engine):
        raise EngineError(f"the first argument is {type(engine).__name__}; expected an Engine", reason="invalid_engine")
    check_options(options)
    request = given if isinstance(given, Request) else Request(to_messages(given))
    by_default, given_here = (application_defaults(), *_engine_layers(engine)), (_request_layer(request), options)
    merged = merged_options([*by_default, *given_here])
    changes = values_for("request", merged)
    if isinstance(wanted := changes.get("response_format"), type):
        changes["response_format"] = _format_of(wanted)
    request = attrs.evolve(request, **changes)
    refuse(request_problems(request))
    return ModelCall(
        engine=engine,
        request=request,
        adapter_options=AdapterOptions(**values_for("adapter", merged), http_client=engine.http_client),
        controls=ExecutionOptions(**values_for("execution", merged)),
        defaulted=_places(by_default) - _places(given_here),
    )


def _places(layers: Iterable[Mapping[str, Any]]) -> frozenset[Path]:
    """Where in a request the layers say something: a field, or a field of the body."""
    found: set[Path] = set()
    for layer in layers:
        for name, value in layer.items():
            if OPTIONS[name].says(value):
                found |= {(name, key) for key in value} if name == "options" else {(name,)}
    return frozenset(found)


def _request_layer(request: Request) -> dict[str, Any]:
    said = {name: getattr(request, name) for name in NAMES_FOR["request"]}
    if request.structured_finalize is False:
        del said["structured_finalize"]  # the default, which every request has, and not a wish
    return said


def _format_of(cls: type) -> JsonSchema:
    """A class as a `JsonSchema` that remembers it."""
    try:
        schema, strict = object_schema(cls)
    except TypeError as error:
        raise invalid_option("response_format", "no_schema", f"{cls.__name__}: {error}") from error
    return JsonSchema(cls.__name__, schema, strict, output_type=cls)


def _engine_layers(engine: Engine) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the fields of an engine say, and over that what its params say by the names of options.

    Raises:
        OptionError, ValidationError: A param that cannot be.
    """
    body = {name: value for name, value in engine.params.items() if name not in OPTIONS}
    by_name = engine_options(engine)
    check_options(by_name)
    return {"tools": engine.tools, "context": engine.context, "options": body}, by_name


def engine_options(engine: Engine) -> dict[str, Any]:
    """The options that the engine says something of; its defaults are the library's and say nothing."""
    found: dict[str, Any] = {}
    if engine.retry is not DEFAULT_RETRY:
        found["retry"] = engine.retry
    if engine.on_tool_error is not None:
        found["on_tool_error"] = engine.on_tool_error
    found |= {name: value for name, value in engine.params.items() if name in OPTIONS}
    if engine.model is not None:
        found["model"] = engine.model
    return found


def output_type(call: ModelCall) -> type | None:
    """The class that the answer is to be an instance of, if one was given."""
    wanted = call.request.response_format
    return wanted.output_type if isinstance(wanted, JsonSchema) else None


def warn_ignored_options(options: Mapping[str, Any]) -> None:
    """Say that options of the chat loop do nothing on a single call."""
    for name, option in OPTIONS.items():
        if option.is_for_turns and name in options:
            logger.debug("option %s has no effect on generate and stream_generate; use chat or stream", name)


def prepare_call(call: ModelCall) -> Any:
    """The adapter's own prepared call.

    Raises:
        EngineError: `missing_adapter`, `missing_stream_adapter`, `missing_model`, `missing_key`.
        ValidationError, AdapterError: What the model or the adapter cannot do with the request.
    """
    adapter = call.adapter
    if call.request.model is None and as_adapter(adapter).requires_model:
        raise EngineError(
            "no model is given: pass model=, set Engine(model=...), or use Engine.from_model('provider:model')",
            reason="missing_model",
        )
    warn_of_shutdown(as_adapter(adapter).provider, call.request.model)
    check_capabilities(adapter, call.request, call.adapter_options)
    request = fit_to_model(adapter, call.request, call.adapter_options, call.defaulted)
    try:
        return adapter.prepare(request, call.adapter_options)
    except RecursionError:
        sentence = "the request is nested too deep, or holds itself: see its options, schemas and format"
        raise ValidationError([Problem((), "nested_too_deep", sentence)], reason="invalid_request") from None


def check_adapter(engine: Engine) -> StreamAdapter:
    """The engine's streaming adapter.

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
    return adapter
