"""What a page shows of each span, and the totals of a recording."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from allm.cli.trace.spans import Span, ancestors

__all__ = ["Kind", "first_after", "kind_of", "title_of", "totals_of", "usage_of"]

Kind = Literal["request", "turn", "step", "model", "tool", "agent", "retry", "event", "other"]

_KINDS: dict[str, Kind] = {
    "chat": "turn",
    "stream": "turn",
    "step": "step",
    "model_call": "model",
    "tool": "tool",
    "adapter.retry": "retry",
    **dict.fromkeys(("generate", "image", "embed", "moderation", "speech", "transcription"), "request"),
}
_COUNTS = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")
_LONGEST = 200  # characters of a title


def kind_of(span: Span) -> Kind:
    """What a span is; a call made within a tool is a sub-agent."""
    kind = _KINDS.get(span.name, "event" if span.event else "other")
    inside = kind in {"turn", "request"} and any(above.name == "tool" for above in ancestors(span))
    return "agent" if inside else kind


def title_of(span: Span, *, steps_before: int = 0) -> str:
    """What a span is called: a tool by its own name, steps and retries by their number.

    Args:
        steps_before: How many steps of the same parent began earlier.
    """
    attributes = span.attributes
    match span.name:
        case "tool":
            title = str(attributes.get("tool_name") or "tool")
        case "step":
            title = f"step {steps_before + 1}"
        case "adapter.retry":
            title = f"retry {attributes.get('attempt', '')}".strip()
        case "model_call":
            title = "model call"
        case name:
            title = name
    return title if len(title) <= _LONGEST else f"{title[:_LONGEST]}..."


def first_after(span: Span) -> float | None:
    """Seconds until the first token."""
    for name in ("time_to_first_token", "time_to_first_event"):
        value = span.attributes.get(name)
        if isinstance(value, (int, float)) and value >= 0:
            return float(value)
    return None


def usage_of(span: Span) -> dict[str, Any]:
    """The usage that a span reports; empty if it reports none."""
    usage = span.attributes.get("usage")
    return usage if isinstance(usage, dict) and any(_number(usage.get(name)) is not None for name in _COUNTS) else {}


def totals_of(spans: Iterable[Span]) -> dict[str, Any]:
    """Counts of all spans of a recording, given parents first.

    Tokens are reported by a model call, by the step around it and by the turn around that, so only the innermost report
    counts; what a tool's own calls used is not in the turn that called the tool.
    """
    ordered = list(spans)
    told_below: set[int] = set()  # spans with a report of theirs within, tools not looked into
    failed_below: set[int] = set()
    totals: dict[str, Any] = dict.fromkeys(
        ("requests", "model_calls", "tools", "agents", "retries", "errors", "cancelled", "unfinished", *_COUNTS), 0
    )
    cost, unpriced = 0.0, 0
    for span in reversed(ordered):  # children before their parents
        parent = span.parent
        usage, status, kind = usage_of(span), span.status, kind_of(span)
        if usage and span.id not in told_below:
            for name in _COUNTS:
                totals[name] += _number(usage.get(name)) or 0
            price = _number(usage.get("total_cost"))
            cost, unpriced = cost + (price or 0), unpriced + (price is None)
        if parent is not None and kind != "tool" and (usage or span.id in told_below):
            told_below.add(parent.id)
        if status == "error" and span.id not in failed_below:
            totals["errors"] += 1
        if parent is not None and (status == "error" or span.id in failed_below):
            failed_below.add(parent.id)
        totals["cancelled"] += status == "cancelled"
        totals["unfinished"] += status == "unfinished"
        totals["requests"] += parent is None and not span.event
        totals["tools"] += kind == "tool"
        totals["agents"] += kind == "agent"
        totals["retries"] += kind == "retry"
        totals["model_calls"] += is_model_call(span)
    return {**totals, "cost": cost, "unpriced": unpriced}


def is_model_call(span: Span) -> bool:
    """Whether a span is one request to a model: the innermost one of such names."""
    inner = {child.name for child in span.children}
    match span.name:
        case "model_call" | "image" | "embed" | "moderation" | "speech" | "transcription":
            return True
        case "step" | "generate":
            return "model_call" not in inner
        case _:
            return False


def _number(value: Any) -> float | int | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
