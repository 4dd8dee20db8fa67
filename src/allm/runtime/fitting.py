"""Fit a request to its model: refuse what the model cannot do, leave out what it does not take, warn once.

Only a definite no in the catalog refuses; what is not known passes. An adapter that knows its ways to structured output
itself, by `output_modes` or `needs_structured_finalize`, is not held to the catalog there.

A parameter that the model or the API refuses is an error if the call or its `Request` has it. One that comes from the
engine's `params` or the application's defaults is not meant for one model in particular: it is left out, with one
WARNING for each process, model and parameter.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

import attrs

from allm.data.content import (
    AudioPart,
    CachePoint,
    DocumentPart,
    HostedCall,
    ImagePart,
    Part,
    ProviderPart,
    ReasoningPart,
    TextPart,
    ToolCall,
    VideoPart,
)
from allm.data.errors import Path, Problem, ValidationError
from allm.data.json.text import as_object
from allm.data.problems import refuse
from allm.data.request import JsonSchema, Request
from allm.data.tool_help import as_sent
from allm.runtime import catalog
from allm.runtime.adapters import AdapterOptions
from allm.runtime.catalog import ModelInfo
from allm.runtime.http_adapter import Adapter, as_adapter
from allm.runtime.log_fields import log_fields

__all__ = [
    "advise",
    "check_capabilities",
    "check_length",
    "fit_to_model",
    "forget_advice",
    "hide_tools",
    "missing",
    "needs_two_passes",
    "too_long",
    "warn_of_shutdown",
    "was_too_long",
]

TAG = "unsupported_parameter"
DEFAULT_TEMPERATURE = 1
"""Every vendor's default. Reasoning models accept it, or behave the same without it."""
_SURELY = 2 / 3
"""What part of a number an estimate of it has to stay below to say that the number itself is not reached."""
BYTES_OF_A_TOKEN = 8
"""Bytes of a body that has a token for certain: four words, and what divides them (`prompt_size.py`)."""
too_long: list[Any] = []
"""Prompts that their providers have counted, and that do not fit: `prompt_size.py` puts them here."""
_OF_SCHEMAS = frozenset({"json_schema", "json_schema_with_tools"})
_FORCED = frozenset({"any", "tool", "required", "function", "custom", "allowed_tools"})


def fit_to_model(adapter: Any, request: Request, options: AdapterOptions, defaulted: frozenset[Path]) -> Request:
    """Return the request without the defaults that its model is known to refuse.

    Args:
        adapter: The adapter that will send it.
        request: The request with all options resolved.
        options: Adapter options of the call.
        defaulted: Paths of values that only the engine or the application gave.

    Raises:
        ValidationError: `unsupported_parameter`, with every such parameter that the call itself gave.
    """
    vendor = as_adapter(adapter)
    info = catalog.lookup(vendor.provider, request.model) if request.model else None
    of_model = [] if info is None else list(_refused(info, request, options))
    # By path, so that a parameter which both the model and the API refuse is reported once.
    problems = {problem.path: problem for problem in (*of_model, *vendor.refused_parameters(request, options))}
    refuse([problem for path, problem in problems.items() if path not in defaulted])
    for path, problem in problems.items():
        request = _without(request, path)
        text = "%s is left out: %s. It comes from the engine's params or the application's defaults"
        advise(vendor.provider, request.model or "", str(path[-1]), text, path[-1], problem.sentence)
    if options.prompt_cache and info is not None and info.cache_minimum is not None:
        _warn_of_short_prompt(vendor.provider, request, info.cache_minimum)
    for name in vendor.ignored_options:
        if getattr(options, name) is not None:
            text = "%s has no counterpart at %s and is left out"
            advise(vendor.provider, request.model or "", name, text, name, vendor.provider)
    if info is not None and "temperature" in info.refuses_with_reasoning and _reasons(info, request, options):
        return attrs.evolve(request, temperature=None)  # only the default temperature can be left here
    return request


def _warn_of_short_prompt(provider: str, request: Request, minimum: int) -> None:
    """Warn, once for each model, of a prompt of which the provider keeps nothing, and says nothing about it."""
    from allm.data.token_count import estimated_tokens

    tokens = estimated_tokens(request)
    if tokens < _SURELY * minimum:
        text = "prompt_cache has no effect: the prompt has about %d tokens, and %s keeps those of %r from %d on"
        advise(provider, request.model or "", "prompt_cache", text, tokens, provider, request.model, minimum)


def _refused(info: ModelInfo, request: Request, options: AdapterOptions) -> Iterator[Problem]:
    model = f"model {request.model!r}"
    for name in info.refuses:
        for path, _ in _given(request, name):
            yield Problem(path, TAG, f"{model} takes no {name}; leave it out")
    if info.refuses_with_reasoning and _reasons(info, request, options):
        for name in info.refuses_with_reasoning:
            for path, value in _given(request, name):
                if (name, value) != ("temperature", DEFAULT_TEMPERATURE):
                    advice = '; leave it out, or pass reasoning_effort="none"'
                    yield Problem(path, TAG, f"{model} takes no {name} while it thinks", advice=advice)
    if info.reasoning_budget is False and as_object(request.options.get("thinking")).get("type") == "enabled":
        advice = '; pass reasoning_effort="low", "medium" or "high"'
        yield Problem(("options", "thinking"), TAG, f"{model} takes no number of tokens to think with", advice=advice)
    if info.forced_tool_choice is False and _is_forced(request.tool_choice):
        advice = '; pass tool_choice="auto" and ask for the call in the prompt'
        yield Problem(("tool_choice",), TAG, f"{model} cannot be made to call a tool", advice=advice)


def _given(request: Request, name: str) -> Iterator[tuple[Path, Any]]:
    """Yield path and value of a parameter: in its field, if there is one, and in the caller's body fields."""
    value = getattr(request, name, None)
    if value is not None:
        yield (name,), value
    if name in request.options:
        yield ("options", name), request.options[name]


def _reasons(info: ModelInfo, request: Request, options: AdapterOptions) -> bool:
    """Whether the model will reason: decided by the body fields, else the option, else the model's default."""
    body = request.options
    thinking = as_object(body.get("thinking")).get("type")
    if thinking is not None:
        return thinking in {"enabled", "adaptive"}
    effort = body.get("reasoning_effort") or as_object(body.get("reasoning")).get("effort") or options.reasoning_effort
    return bool(info.reasoning_unasked) if effort is None else effort != "none"


def _is_forced(choice: Any) -> bool:
    if isinstance(choice, Mapping):
        return as_object(dict(choice)).get("type") in _FORCED
    return choice not in {None, "auto", "none"}


def _without(request: Request, path: Path) -> Request:
    if len(path) == 1:
        changes: dict[str, Any] = {str(path[0]): None}
        return attrs.evolve(request, **changes)
    kept = {key: value for key, value in request.options.items() if key != path[1]}
    return attrs.evolve(request, options=kept)


_MEANING = {
    "tools": ("does not call tools", 'leave tool_mode="native" out, so that it is told of them in its instructions'),
    "json_schema": (
        "cannot hold its answer to a JSON Schema",
        'leave output_mode="native" out, so that it is asked for in another way',
    ),
    "json_schema_with_tools": (
        "cannot hold its answer to a JSON Schema in a call that offers tools",
        'leave output_mode="native" out, so that it is asked for in another way',
    ),
    "vision": ("does not read images", "leave the images out"),
    "reasoning": ("has no reasoning to set", "leave reasoning_effort and reasoning_summary out"),
}


def check_capabilities(adapter: Any, request: Request, options: AdapterOptions) -> None:
    """Refuse a request that the model is known not to take.

    Raises:
        ValidationError: `unsupported_capability`, at every place where one is asked for; `foreign_cache`.
    """
    if options.cached_content is not None and (vendor := as_adapter(adapter)).companion("caches") is None:
        cache, provider = options.cached_content, vendor.provider
        what = f"{cache.name!r} is kept by {cache.provider}, and {provider} takes no cache; send the messages instead"
        refuse([Problem(("cached_content",), "foreign_cache", what)])
    denied = missing(adapter, request, options)
    if not denied:  # a long conversation is not looked through for nothing
        return
    needed = _asked_for(request, options, images="vision" in denied)
    asked = [(path, capability) for path, capability in needed if capability in denied]
    if asked:
        # Once in the message for each capability: a conversation may hold a hundred images.
        lacking = dict.fromkeys(capability for _, capability in asked)
        meanings = [_MEANING[capability] for capability in lacking]
        reasons = ", and ".join(what for what, _ in meanings)
        raise ValidationError(
            [_problem(request.model, path, capability) for path, capability in asked],
            reason="invalid_request",
            message=f"model {request.model!r} lacks {', '.join(lacking)}: it {reasons}",
        ).advised(
            f"; {', '.join(dict.fromkeys(advice for _, advice in meanings))}, or use another model. If the catalog is "
            "wrong about this one, correct it with allm.models.put"
        )


def _problem(model: str | None, path: Path, capability: str) -> Problem:
    meaning, advice = _MEANING[capability]
    return Problem(path, "unsupported_capability", f"model {model!r} {meaning}; {advice}, or use another model")


def check_length(provider: str, request: Request, prepared: Any) -> None:
    """Refuse a prompt that is known not to fit its model. One that cannot be so long is not looked at.

    Raises:
        AdapterError: `context_length_exceeded`.
    """
    info = catalog.lookup(provider, request.model) if request.model else None
    if info is None or (window := info.context_window) is None:
        return
    body = getattr(prepared, "body", None)  # an adapter that is not over HTTP has none
    size = len(body) if isinstance(body, bytes) else getattr(body, "length", None)
    may_be = size is None or size >= BYTES_OF_A_TOKEN * window
    if may_be or too_long:
        from allm.runtime.prompt_size import check_size

        check_size(provider, request, prepared, window, may_be=may_be)


def was_too_long(provider: str, request: Request) -> bool:
    """Whether the prompt of a request has been counted by its provider, and does not fit the model."""
    return any(count.is_of(provider, request) for count in too_long)


def hide_tools(adapter: Adapter, request: Request, options: AdapterOptions) -> Request:
    """The request as it is sent, where some of its tools are compact or deferred.

    Raises:
        ValidationError: `unsupported_capability`: the adapter's API cannot defer them.
    """
    hosted = [index for index, tool in enumerate(request.tools) if tool.hosted]
    if hosted and not adapter.hosts_tools(request, options):
        what = f"runs at a provider, but this API of {adapter.provider} runs no tools; use a tool of your own"
        refuse([Problem(("tools", index), "unsupported_tool", what) for index in hosted])
    deferred = [index for index, tool in enumerate(request.tools) if tool.deferred]
    if deferred and not adapter.defers_tools(request, options):
        what = f"is deferred, but this API of {adapter.provider} has no tool search; use compact tools"
        refuse([Problem(("tools", index), "unsupported_capability", what) for index in deferred])
    return as_sent(request)


def needs_two_passes(adapter: Any, request: Request, options: AdapterOptions) -> bool:
    """Whether the model is known not to take a JSON Schema and tools in one call."""
    return (
        bool(request.tools) and _has_schema(request) and "json_schema_with_tools" in missing(adapter, request, options)
    )


def missing(adapter: Any, request: Request, options: AdapterOptions) -> frozenset[str]:
    """The capabilities that the model lacks and the adapter has nothing to put in their place."""
    if request.model is None:
        return frozenset()
    denied = catalog.denied(adapter.provider, request.model)
    if denied & _OF_SCHEMAS and _has_schema(request):
        vendor = as_adapter(adapter)
        knows = vendor.needs_structured_finalize(request) is not None
        if knows or "native" in (vendor.output_modes(request, options) or ()):
            denied -= _OF_SCHEMAS
    return denied


def _asked_for(request: Request, options: AdapterOptions, *, images: bool) -> Iterator[tuple[Path, str]]:
    if request.tools:
        yield ("tools",), "tools"
    if _has_schema(request):
        yield ("response_format",), "json_schema"
        if request.tools:
            yield ("response_format",), "json_schema_with_tools"
    for index, message in enumerate(request.messages if images else ()):
        if message.role == "assistant":  # who does not read images leaves those of earlier answers out
            continue
        for position, part in enumerate(() if isinstance(message.content, str) else message.content):
            if (needed := _needed_by(part)) is not None:
                yield ("messages", index, "content", position), needed
    for name in ("reasoning_effort", "reasoning_summary"):
        if getattr(options, name) not in {None, "none"}:
            yield (name,), "reasoning"


def _needed_by(part: Part) -> str | None:
    match part:
        case ImagePart():
            return "vision"
        case TextPart() | ReasoningPart() | ToolCall() | HostedCall() | ProviderPart() | CachePoint():
            return None
        case DocumentPart() | AudioPart() | VideoPart():
            return None  # the catalog says nothing of them
        case _:
            assert_never(part)


def _has_schema(request: Request) -> bool:
    return isinstance(request.response_format, JsonSchema)


logger: logging.Logger = logging.getLogger("allm")

NEAR = timedelta(days=60)
"""How long before a model's shutdown the warning starts: early enough for a release, late enough to be acted upon."""

_advised: set[tuple[str, str, str]] = set()
_MOST_ADVISED = 1000  # a program may name tools anew for each request; then warnings begin again


def advise(provider: str, model: str, key: str, message: str, *args: object) -> None:
    """Log `message` as a WARNING, unless one was logged for this model and key before."""
    if (provider, model, key) not in _advised:
        if len(_advised) >= _MOST_ADVISED:
            _advised.clear()
        _advised.add((provider, model, key))
        # Advice on how the library is used has no model, and the name of a function for a provider.
        about: dict[str, Any] = {"provider": provider, "model": model} if model else {}
        logger.warning(message, *args, extra=log_fields(advice=key, **about))


def forget_advice() -> None:
    """Allow all warnings to be logged again, for tests."""
    _advised.clear()


def warn_of_shutdown(provider: str, model: str | None) -> None:
    """Warn about a model whose announced shutdown is near or past."""
    info = catalog.lookup(provider, model) if model else None
    if info is None or model is None or info.shutdown is None:
        return
    today = datetime.now(UTC).date()
    if today >= info.shutdown - NEAR:
        what = "was to be shut down" if today >= info.shutdown else "will be shut down"
        text = "model %r of %s %s on %s; use another one"
        advise(provider, model, "shutdown", text, model, provider, what, info.shutdown)
