"""What a stream needs of a fold, which collects its events into a result; `folds.py` has those that there are."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from allm.data.errors import AllmError

__all__ = ["Fold"]

T_co = TypeVar("T_co", covariant=True)


class Fold(Protocol[T_co]):
    """Collects events into a result."""

    @property
    def output_type(self) -> Any:
        """The type given as `response_format=`, if one was."""

    def add(self, event: Any) -> None:
        """Fold one event."""

    def result(self) -> T_co:
        """The result so far."""
        ...

    def failure(self) -> AllmError | None:
        """The failure that ended the call, as far as it was folded."""
        ...

    def facts(self) -> dict[str, Any]:
        """Attributes of the result for telemetry: counts and reasons, no content."""
        ...
