"""Removal or refusal of parameters that a model is known to refuse.

A parameter given in the call itself or its `Request` is refused before anything is sent. One that comes from the
engine's `params` or the application's defaults is not meant for one model in particular: it is left out, with one
WARNING for each process, model and parameter. The catalog has the parameters that models refuse (`ModelInfo.refuses`
and related facts); the adapter adds those that its API refuses for every model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from allm.data.errors import Path, Problem
from allm.data.json.text import as_object
from allm.data.problems import refuse
from allm.data.request import Request
from allm.runtime import catalog
from allm.runtime.adapters import AdapterOptions, as_adapter
from allm.runtime.advice import advise
from allm.runtime.catalog import ModelInfo

__all__ = ["fit_to_model"]

TAG = "unsupported_parameter"
DEFAULT_TEMPERATURE = 1
"""Every vendor's default. Reasoning models accept it, or behave the same without it."""
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
    if info is not None and "temperature" in info.refuses_with_reasoning and _reasons(info, request, options):
        return attrs.evolve(request, temperature=None)  # only the default temperature can be left here
    return request


def _refused(info: ModelInfo, request: Request, options: AdapterOptions) -> Iterator[Problem]:
    model = f"model {request.model!r}"
    for name in info.refuses:
        for path, _ in _given(request, name):
            yield Problem(path, TAG, f"{model} takes no {name}; leave it out")
    if info.refuses_with_reasoning and _reasons(info, request, options):
        for name in info.refuses_with_reasoning:
            for path, value in _given(request, name):
                if (name, value) != ("temperature", DEFAULT_TEMPERATURE):
                    sentence = f'{model} takes no {name} while it thinks; leave it out, or pass reasoning_effort="none"'
                    yield Problem(path, TAG, sentence)
    if info.reasoning_budget is False and as_object(request.options.get("thinking")).get("type") == "enabled":
        sentence = f'{model} takes no number of tokens to think with; pass reasoning_effort="low", "medium" or "high"'
        yield Problem(("options", "thinking"), TAG, sentence)
    if info.forced_tool_choice is False and _is_forced(request.tool_choice):
        sentence = f'{model} cannot be made to call a tool; pass tool_choice="auto" and ask for the call in the prompt'
        yield Problem(("tool_choice",), TAG, sentence)


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
