"""Refusing, before anything is sent, what the catalog says a model cannot do.

Only a plain no in the catalog refuses; what is not known passes. An adapter whose `needs_structured_finalize(request)`
says yes or no has its own ways to structured output, such as a tool that has to be called, and is not held to the
catalog there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_never

from allm.data.content import ImagePart, Part, ProviderPart, ReasoningPart, TextPart, ToolCall
from allm.data.errors import Path, Problem, ValidationError
from allm.data.request import JsonSchema, Request
from allm.runtime import catalog
from allm.runtime.adapters import AdapterOptions, as_adapter

__all__ = ["check_capabilities", "needs_two_passes"]

_MEANING = {
    "tools": ("does not call tools", "leave the tools out"),
    "json_schema": (
        "cannot hold its answer to a JSON Schema",
        'use response_format="json" and say in the prompt what you want',
    ),
    "json_schema_with_tools": (
        "cannot hold its answer to a JSON Schema in a call that offers tools",
        "use allm.chat or allm.stream, which ask for it in a last call without tools, or leave one of the two out",
    ),
    "vision": ("does not read images", "leave the images out"),
    "reasoning": ("has no reasoning to set", "leave reasoning_effort and reasoning_summary out"),
}


def check_capabilities(adapter: Any, request: Request, options: AdapterOptions) -> None:
    """Refuse a request that the model is known not to take.

    Raises:
        ValidationError: `unsupported_capability`, at every place where one is asked for.
    """
    needed = list(_asked_for(request, options))
    missing = _missing(adapter, request) if needed else frozenset[str]()
    asked = [(path, capability) for path, capability in needed if capability in missing]
    if asked:
        # Once in the message for each capability: a conversation may hold a hundred images.
        lacking = dict.fromkeys(capability for _, capability in asked)
        reasons = "; ".join("it {}: {}".format(*_MEANING[capability]) for capability in lacking)
        raise ValidationError(
            [_problem(request.model, path, capability) for path, capability in asked],
            reason="invalid_request",
            message=f"model {request.model!r} lacks {', '.join(lacking)}: {reasons}; or use another model. If the "
            "catalog is wrong about this one, correct it with allm.models.put",
        )


def _problem(model: str | None, path: Path, capability: str) -> Problem:
    meaning, advice = _MEANING[capability]
    return Problem(path, "unsupported_capability", f"model {model!r} {meaning}; {advice}, or use another model")


def needs_two_passes(adapter: Any, request: Request) -> bool:
    """Whether the model is known not to take a JSON Schema and tools in one call."""
    return bool(request.tools) and _has_schema(request) and "json_schema_with_tools" in _missing(adapter, request)


def _missing(adapter: Any, request: Request) -> frozenset[str]:
    """The capabilities that the model lacks and the adapter has nothing to put in their place."""
    if request.model is None:
        return frozenset()
    info = catalog.lookup(adapter.provider, request.model)
    denied = frozenset(name for name in catalog.CAPABILITIES if getattr(info, name, None) is False)
    if _has_schema(request) and as_adapter(adapter).needs_structured_finalize(request) is not None:
        denied -= {"json_schema", "json_schema_with_tools"}
    return denied


def _asked_for(request: Request, options: AdapterOptions) -> Iterator[tuple[Path, str]]:
    if request.tools:
        yield ("tools",), "tools"
    if _has_schema(request):
        yield ("response_format",), "json_schema"
        if request.tools:
            yield ("response_format",), "json_schema_with_tools"
    for index, message in enumerate(request.messages):
        if message.role == "assistant":  # who does not read images leaves those of earlier answers out
            continue
        for position, part in enumerate(message.parts):
            if (needed := _needed_by(part)) is not None:
                yield ("messages", index, "content", position), needed
    for name in ("reasoning_effort", "reasoning_summary"):
        if getattr(options, name) not in {None, "none"}:
            yield (name,), "reasoning"


def _needed_by(part: Part) -> str | None:
    match part:
        case ImagePart():
            return "vision"
        case TextPart() | ReasoningPart() | ToolCall() | ProviderPart():
            return None
        case _:
            assert_never(part)


def _has_schema(request: Request) -> bool:
    return isinstance(request.response_format, JsonSchema)
