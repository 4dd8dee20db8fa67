"""What a stream needs of a fold, which collects its events into a result; `folds.py` has those that there are."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from allm.data.attrs_classes import frozen
from allm.data.errors import AllmError
from allm.data.events import AdapterEvent, ReasoningDelta, TextDelta, ToolCallDelta

__all__ = ["DELTAS", "Fold", "Hidden"]

T_co = TypeVar("T_co", covariant=True)

DELTAS = frozenset({TextDelta, ReasoningDelta, ToolCallDelta})
"""Types of the events that are more of a block."""


@frozen
class Hidden:
    """An event that a filter hides from the consumer; it is still folded."""

    event: AdapterEvent


class Fold(Protocol[T_co]):
    """Collects events into a result."""

    @property
    def output_type(self) -> Any:
        """The type given as `response_format=`, if one was."""

    def add(self, event: Any) -> None:
        """Fold one event."""

    def more(self, kind: type[Any], block_id: str, texts: list[str]) -> None:
        """Fold what follows a delta of this type: more of its block."""

    def result(self) -> T_co:
        """The result so far."""
        ...

    def failure(self) -> AllmError | None:
        """The failure that ended the call, as far as it was folded."""
        ...

    def facts(self) -> dict[str, Any]:
        """Attributes of the result for telemetry: counts and reasons, no content."""
        ...
