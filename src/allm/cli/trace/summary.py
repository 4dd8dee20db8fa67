"""What a page shows of each span, and the totals of a recording."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import attrs

from allm.cli.trace.spans import Span, ancestors

__all__ = ["Kind", "Spent", "first_after", "kind_of", "spent_in", "title_of", "totals_of", "usage_of"]

Kind = Literal["request", "turn", "step", "model", "tool", "agent", "retry", "event", "other"]

_KINDS: dict[str, Kind] = {
    "chat": "turn",
    "stream": "turn",
    "step": "step",
    "model_call": "model",
    "tool": "tool",
    "adapter.retry": "retry",
    **dict.fromkeys(("generate", "image", "embed", "moderation", "rerank", "speech", "transcription"), "request"),
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


@attrs.define(eq=False)
class Spent:
    """What a span and all within it used.

    Attributes:
        told: Something in it reports usage, not looking into tools.
        counts: Tokens by the names of `Usage`.
        unpriced: Reports without a cost.
    """

    told: bool = False
    counts: dict[str, float] = attrs.field(factory=lambda: dict.fromkeys(_COUNTS, 0))
    cost: float = 0.0
    unpriced: int = 0

    def add(self, other: Spent) -> None:
        """Add what another span used."""
        for name, count in other.counts.items():
            self.counts[name] += count
        self.cost += other.cost
        self.unpriced += other.unpriced

    def report(self, usage: dict[str, Any]) -> None:
        """Add what a model call reports."""
        self.told = True
        for name in _COUNTS:
            self.counts[name] += _number(usage.get(name)) or 0
        price = _number(usage.get("total_cost"))
        self.cost += price or 0
        self.unpriced += price is None


def spent_in(spans: Iterable[Span]) -> dict[int, Spent]:
    """What each span used with all within it, by its id; spans are given parents first.

    Tokens are reported by a model call, by the step around it and by the turn around that, so only the innermost report
    counts. What a tool's own calls used is in the report of the turn that called the tool, and not in that of the step.
    """
    ordered = list(spans)
    spent = {span.id: Spent() for span in ordered}
    for span in reversed(ordered):  # what is within before what is around it
        own = spent[span.id]
        usage = usage_of(span)
        if usage and not own.told and not any(child.name == "step" for child in span.children):
            own.report(usage)
        if span.parent is not None:
            around = spent[span.parent.id]
            around.add(own)
            around.told |= own.told and span.name != "tool"
    return spent


def totals_of(spans: Iterable[Span]) -> dict[str, Any]:
    """Counts of all spans of a recording, which are given parents first. A failure that several spans have is one."""
    ordered = list(spans)
    spent = spent_in(ordered)
    whole = Spent()
    kinds = Counter(kind_of(span) for span in ordered)
    statuses = Counter(span.status for span in ordered)
    passed_on = {span.parent.id for span in ordered if span.parent is not None and span.status == "error"}
    for span in ordered:
        if span.parent is None:
            whole.add(spent[span.id])
    return {
        "requests": sum(span.parent is None and not span.event for span in ordered),
        "model_calls": sum(is_model_call(span) for span in ordered),
        "tools": kinds["tool"],
        "agents": kinds["agent"],
        "retries": kinds["retry"],
        "errors": sum(span.status == "error" and span.id not in passed_on for span in ordered),
        "cancelled": statuses["cancelled"],
        "unfinished": statuses["unfinished"],
        **whole.counts,
        "cost": whole.cost,
        "unpriced": whole.unpriced,
    }


def is_model_call(span: Span) -> bool:
    """Whether a span is one request to a model: the innermost one of such names."""
    inner = {child.name for child in span.children}
    match span.name:
        case "model_call":
            return True
        case "image" | "embed" | "moderation" | "rerank" | "speech" | "transcription":
            return span.name not in inner  # of several engines, each has one
        case "step" | "generate":
            return inner.isdisjoint({"model_call", "members"})
        case _:
            return False


def _number(value: Any) -> float | int | None:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
