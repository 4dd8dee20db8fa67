"""What a bulk run gives: an item for each input, and the error of a run that ended before its inputs did."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, Literal, get_args

import typing_extensions  # typing's TypeVar has no default before Python 3.13

from allm.data.attrs_classes import frozen
from allm.data.errors import AllmError

__all__ = ["BulkError", "BulkItem", "BulkReason"]

T_co = typing_extensions.TypeVar("T_co", covariant=True, default=Any)

BulkReason = Literal[
    "budget", "fatal", "failures", "stopped", "changed_input", "duplicate_key", "invalid_key", "journal", "call_failed"
]


@frozen(kw_only=True)
class BulkItem(Generic[T_co]):
    """One input of a bulk run, and how it ended: with a response or with an error.

    Attributes:
        key: Its name in the journal: what `key=` gave, or its index as text.
        index: Its place among the inputs, from 0.
        request: The input.
        response: What the call returned; None if it failed.
        error: Why it failed; None if it did not.
        attempts: How often it was asked, without requests that the provider refused because of its load.
        replayed: Whether it comes from the journal, or from an identical input: nothing was sent for it.
    """

    key: str
    index: int
    request: Any
    response: T_co | None = None
    error: AllmError | None = None
    attempts: int = 0
    replayed: bool = False


class BulkError(AllmError):
    """A bulk run ended before its inputs did; run it again with the same journal to go on.

    As the error of an item (`call_failed`), the function given as `call` raised an exception, or returned something
    that a journal cannot keep.

    Attributes:
        unsaved: Items that were finished, and that the journal could not save.
    """

    reasons: ClassVar[frozenset[str]] = frozenset(get_args(BulkReason))

    def __init__(self, message: str, *, reason: BulkReason) -> None:
        super().__init__(message, reason=reason)
        self.unsaved: tuple[BulkItem[Any], ...] = ()
