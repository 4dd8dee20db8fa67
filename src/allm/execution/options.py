"""Resolve the options of a call into one request and its settings.

One precedence rule everywhere: call option > request field > engine > application default > library default.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Unpack

import attrs

from allm.data.errors import EngineError, Path, Problem, ValidationError
from allm.data.message import Message, Thread, unanswered_in
from allm.data.problems import refuse
from allm.data.request import JsonSchema, Request, request_problems, to_messages
from allm.data.step_changes import StepChanges
from allm.data.tool import Tool
from allm.data.tool_layers import ToolLayers, offered
from allm.data.types.hints import is_type
from allm.execution.event_changes import ChangedEvents
from allm.execution.journal import ToolJournal
from allm.execution.output_modes import asked_for, format_of
from allm.runtime.adapters import AdapterOptions, StreamAdapter
from allm.runtime.call_options import CallOptions, ExecutionOptions
from allm.runtime.catalog import lookup
from allm.runtime.costs import charged
from allm.runtime.engine import Engine, no_engine
from allm.runtime.fitting import check_capabilities, check_length, fit_to_model, hide_tools, warn_of_shutdown
from allm.runtime.http_adapter import Adapter, as_adapter
from allm.runtime.option_table import (
    NAMES_FOR,
    OF_CALL,
    OPTIONS,
    check_options,
    invalid_option,
    kept_options,
    merged_options,
    seal,
    values_for,
)
from allm.runtime.retry import DEFAULT_RETRY

__all__ = [
    "CallOptions",
    "Input",
    "ModelCall",
    "application_defaults",
    "check_answered",
    "defaults",
    "engine_for_chat",
    "engine_layers",
    "engine_options",
    "in_effect",
    "overrides",
    "places",
    "prepare_call",
    "prompts_tools",
    "request_layer",
    "resolve",
    "set_defaults",
]

Input = str | Message | Thread | Request | Iterable[Message]

_app_defaults: dict[str, Any] = {}
_local_defaults: ContextVar[dict[str, Any] | None] = ContextVar("allm_defaults", default=None)
overrides: ContextVar[Mapping[str, Any] | None] = ContextVar("allm_engine_overrides", default=None)
"""Fields that take the place of those of every engine in this context; set by `allm.testing.override_engine`."""


@contextmanager
def defaults(**options: Unpack[CallOptions]) -> Generator[None]:
    """Set defaults in this context and the tasks started from it: `with allm.defaults(model="gpt-5.5"): ...`.

    Raises:
        OptionError, ValidationError: An unknown option, or an invalid value.
    """
    seal(options)
    token = _local_defaults.set({**(_local_defaults.get() or {}), **kept_options(options)})
    try:
        yield
    finally:
        _local_defaults.reset(token)


def set_defaults(**options: Unpack[CallOptions]) -> None:
    """Set application defaults for the whole process, replacing those of an earlier call.

    Raises:
        OptionError, ValidationError: An unknown option, or an invalid value.
    """
    seal(options)
    kept = kept_options(options)
    _app_defaults.clear()
    _app_defaults.update(kept)


def application_defaults() -> dict[str, Any]:
    """The defaults in effect here, from `set_defaults` and `defaults`."""
    return {**_app_defaults, **(_local_defaults.get() or {})}


@attrs.frozen(kw_only=True)
class ModelCall:
    """A call with every option resolved: the request, the engine, and how the call is run.

    Attributes:
        defaulted: Paths in the request whose value only the engine or the application gave.
        changes: What `before_step` changed about the request.
        toolsets: The tools as they were given, if there are sets among them; the request has those that are loaded.
        given: The options of the call itself, if its engine is a group.
    """

    engine: Engine
    request: Request
    adapter_options: AdapterOptions
    execution_options: ExecutionOptions
    defaulted: frozenset[Path] = frozenset()
    journal: ToolJournal | None = None
    changes: StepChanges | None = None
    toolsets: ToolLayers | None = None
    given: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)

    @property
    def loads_tools(self) -> bool:
        """Whether tools of a set have to be loaded before the call is made."""
        return self.toolsets is not None and bool(self.toolsets.due)

    @property
    def adapter(self) -> StreamAdapter:
        """The adapter that makes the call; `engine_for_chat` has checked that there is one."""
        adapter = self.engine.adapter
        assert adapter is not None  # noqa: S101  (a call without one is refused before)
        return adapter


def resolve(engine: Engine, given: Input, options: Mapping[str, Any], thread: Thread | None = None) -> ModelCall:
    """Resolve every option of a call by the precedence rule above, and check the request.

    Args:
        engine: As `engine_for_chat` gives it.
        thread: The conversation that the messages of a given `Request` are.

    Raises:
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    check_options(options)
    messages = () if isinstance(given, Request) else to_messages(given)
    in_request = request_layer(given) if isinstance(given, Request) else {}
    by_default, given_here = [application_defaults(), *engine_layers(engine)], (in_request, options)
    if engine.is_group:  # the rest is asked of each member
        by_default = [{name: layer[name] for name in layer if name in OF_CALL} for layer in by_default]
    merged = merged_options([*by_default, *given_here])
    changes = values_for("request", merged)
    if (wanted := changes.get("response_format")) is not None and is_type(wanted):
        changes["response_format"] = format_of(wanted)
    tools: tuple[Tool, ...] | ToolLayers = changes.get("tools", ())
    if isinstance(tools, ToolLayers) or any(tool.compact for tool in tools):
        changes["tools"] = offered(tools)
    request = given if isinstance(given, Request) else Request(messages, **changes)
    if changes and request is given:
        request = attrs.evolve(request, **changes)
    if problems := request_problems(request, given if isinstance(given, Thread) else thread):
        refuse(problems)
    return ModelCall(
        engine=engine,
        request=request,
        adapter_options=AdapterOptions(
            **values_for("adapter", merged), http_client=engine.http_client, answer_limits=engine.answer_limits
        ),
        execution_options=ExecutionOptions(**values_for("execution", merged)),
        defaulted=places(by_default) - places(given_here),
        toolsets=tools if isinstance(tools, ToolLayers) else None,
        given=options if engine.is_group else {},
    )


def places(layers: Iterable[Mapping[str, Any]]) -> frozenset[Path]:
    """Paths in a request for which the layers have a value: a field, or a field of the body."""
    found: set[Path] = set()
    for layer in layers:
        for name, value in layer.items():
            if OPTIONS[name].says(value):
                found |= {(name, key) for key in value} if name == "options" else {(name,)}
    return frozenset(found)


def request_layer(request: Request) -> dict[str, Any]:
    """What a request says: a field at its default cannot be told from one that is left open."""
    fields = ((name, getattr(request, name)) for name in NAMES_FOR["request"])
    return {name: value for name, value in fields if value is not None and (value or name not in _OPEN)}


_OPEN = frozenset({"tools", "options", "structured_finalize"})
"""Fields whose default is not None, but empty."""


def engine_layers(engine: Engine) -> tuple[dict[str, Any], dict[str, Any]]:
    """The engine's options as two layers: its fields, then the entries of its params that are named like an option.

    Raises:
        OptionError, ValidationError: An invalid param.
    """
    body = {name: value for name, value in engine.params.items() if name not in OPTIONS}
    by_name = engine_options(engine)
    check_options(by_name)
    fields = {"tools": engine.tools, "context": engine.context, "options": body}
    return {name: value for name, value in fields.items() if value}, by_name


def engine_options(engine: Engine) -> dict[str, Any]:
    """The options that were set on the engine; a field still at the library's default is left out."""
    found: dict[str, Any] = {}
    if engine.retry is not DEFAULT_RETRY:
        found["retry"] = engine.retry
    if engine.on_tool_error is not None:
        found["on_tool_error"] = engine.on_tool_error
    found |= {name: value for name, value in engine.params.items() if name in OPTIONS}
    if engine.model is not None:
        found["model"] = engine.model
    return found


def output_type(call: ModelCall) -> Any:
    """The type for structured output, if one was given."""
    return wanted.output_type if isinstance(wanted := call.request.response_format, JsonSchema) else None


def prepare_call(call: ModelCall, by: Any = None) -> Any:
    """The call as its adapter prepared it, or as `by` did, which takes the request that the adapter would have got.

    Raises:
        EngineError: `missing_adapter`, `missing_stream_adapter`, `missing_model`, `missing_key`.
        ValidationError, AdapterError: The model or the adapter cannot handle the request; it is known to be too long.
        BudgetExceeded: It does not fit the budget.
    """
    if call.engine.is_group:
        from allm.execution.group.members import prepare_members

        return prepare_members(call)
    adapter, vendor, asked = call.adapter, as_adapter(call.adapter), call.adapter if by is None else by
    if call.request.model is None and vendor.requires_model:
        raise EngineError(
            "no model is given: pass model=, set Engine(model=...), or use Engine.from_model('provider:model')",
            reason="missing_model",
        )
    _check_model_id(vendor.provider, call.request.model)
    given, mode, new_change = call.request, call.execution_options.output_mode, None
    if prompts_tools(call):
        from allm.execution.prompted.request import prompted

        request, new_change = prompted(adapter, call.request, call.adapter_options, mode)
        call = attrs.evolve(call, request=request)
    if new_change is None and isinstance(wanted := call.request.response_format, JsonSchema):
        request, new_change = asked_for(adapter, call.request, wanted, call.adapter_options, mode)
        call = attrs.evolve(call, request=request)
    is_unknown = _fits_any_model(call, vendor)
    request = call.request if is_unknown else _fitted(call)
    if any(tool.compact or tool.deferred or tool.hosted for tool in request.tools):
        request = hide_tools(vendor, request, call.adapter_options)
    if by is None and (accounts := charged.get()) is not None:
        from allm.execution.budgeting import check_call

        check_call(accounts, attrs.evolve(call, request=request))
    try:
        prepared = asked.prepare(request, call.adapter_options)
    except (RecursionError, ValidationError) as error:
        from allm.execution.refused_files import prepare_otherwise

        prepared = prepare_otherwise(asked, request, call.adapter_options, error)
    if not is_unknown and by is None and call.execution_options.compact is None:
        check_length(vendor.provider, given, prepared)
    return prepared if by is not None or new_change is None else ChangedEvents(prepared, new_change)


def prompts_tools(call: ModelCall) -> bool:
    """Whether the model is told of its tools in its instructions, and of earlier calls as text.

    Raises:
        ValidationError: `unsupported_capability`: it has no native tools, and they were asked for.
    """
    mode, request, adapter = call.execution_options.tool_mode, call.request, as_adapter(call.adapter)
    if mode == "prompted":
        return True
    modes = adapter.tool_modes(request, call.adapter_options)
    if modes is None:  # what the model lacks is said by the check of its capabilities
        info = lookup(adapter.provider, request.model) if request.model else None
        return mode == "auto" and info is not None and info.tools is False
    if mode == "native" and request.tools and "native" not in modes:
        sentence = f"model {request.model!r} has no tools of its own; use tool_mode='prompted', or 'auto'"
        raise invalid_option("tool_mode", "unsupported_capability", sentence)
    return mode == "auto" and tuple(modes)[:1] == ("prompted",)


def _fits_any_model(call: ModelCall, vendor: Adapter) -> bool:
    """Whether nothing is known of the model, and the adapter takes whatever is asked for."""
    request, options = call.request, call.adapter_options
    return (
        (request.model is None or lookup(vendor.provider, request.model) is None)
        and all(getattr(options, name) is None for name in ("cached_content", *vendor.ignored_options))
        and not list(vendor.refused_parameters(request, options))
    )


def _fitted(call: ModelCall) -> Request:
    adapter, request, options = call.adapter, call.request, call.adapter_options
    warn_of_shutdown(as_adapter(adapter).provider, request.model)
    check_capabilities(adapter, request, options)
    return fit_to_model(adapter, request, options, call.defaulted)


def _check_model_id(provider: str, model: str | None) -> None:
    """Refuse the adapter's own provider before the id, as `Engine.from_model` takes it.

    Raises:
        EngineError: `invalid_engine`.
    """
    head, colon, rest = (model or "").partition(":")
    if colon and rest and head == provider:
        raise EngineError(
            f"the model is {model!r}, but the adapter names the provider already; expected {rest!r}",
            reason="invalid_engine",
        ).advised(f", or Engine.from_model({model!r}), which makes the adapter too")


def in_effect(engine: Engine) -> Engine:
    """The engine that a call with `engine` uses in this context; asked once a call, so that it is the same throughout.

    Raises:
        EngineError: `invalid_engine`: it is no engine.
    """
    if not isinstance(engine, Engine):
        raise no_engine("the first argument", engine)
    fields = overrides.get()
    return engine if fields is None else attrs.evolve(engine, **fields)


def engine_for_chat(engine: Engine) -> Engine:
    """The engine that a call uses here, checked to have a streaming adapter.

    Raises:
        EngineError: `invalid_engine`, and as for `check_adapter`.
    """
    engine = in_effect(engine)
    check_adapter(engine)
    return engine


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
            f"the engine's adapter is {type(adapter).__name__}, which is not a streaming adapter: expected "
            "prepare(request, options) and stream(prepared, emit), as allm.providers.OpenAI() has them",
            reason="missing_stream_adapter",
        )
    return adapter


def check_answered(thread: Thread) -> None:
    """Refuse a conversation with a call that has no result.

    Raises:
        ValidationError: `unanswered_tool_call`, with every such call.
    """
    waiting = unanswered_in(thread)
    if not waiting:
        return
    positions = {
        call.id: index
        for index, message in enumerate(thread.messages)
        if message.role == "assistant"
        for call in message.tool_calls
    }
    sentence = "has no result; add allm.tool_result(id, content) before the conversation is sent again"
    raise ValidationError(
        [
            Problem(("messages", positions[call_id], "tool_calls", call_id), "unanswered_tool_call", sentence)
            for call_id in waiting
        ],
        reason="invalid_thread",
        message=f"these tool calls have no result: {', '.join(waiting)}; add allm.tool_result(id, content) for "
        "each before the conversation is sent again",
    )
