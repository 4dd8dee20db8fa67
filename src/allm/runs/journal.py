"""`Journal`: where a bulk run keeps how its inputs ended, and what it has submitted to a vendor's batch endpoint.

The methods are plain functions, which a run calls in worker threads, one at a time. Each is one transaction, and
durable when it returns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol
from urllib.parse import unquote, urlsplit

import attrs
import trio

from allm.data.attrs_classes import frozen
from allm.data.bulk import BulkError
from allm.http.jumping_clock import in_thread

__all__ = ["Batch", "Journal", "Row", "RunTotals", "Status", "in_turn", "journal_error", "open_journal"]

Status = Literal["done", "failed", "open"]
"""`done` has a response; `failed` has an error that would come again; `open` one that may not, and is asked again."""


@frozen
class Row:
    """How one input ended.

    Attributes:
        value: The response or the error, as JSON.
        cost: US dollars, where they are known.
    """

    key: str
    index: int
    fingerprint: str
    status: Status
    attempts: int
    cost: float | None
    value: str


@frozen(kw_only=True)
class Batch:
    """Inputs that were submitted to a vendor's batch endpoint, and whose results were not collected yet.

    Attributes:
        name: Our name of the batch, noted before it is submitted.
        vendor_id: The vendor's id; None until it is known that the batch was accepted.
        items: The key, the index and the fingerprint of each input, in the order in which they were sent.
        details: Whatever the vendor's part needs besides, such as the id of an uploaded file.
    """

    name: str
    provider: str
    vendor_id: str | None = None
    submitted: float
    items: tuple[tuple[str, int, str], ...]
    details: dict[str, Any] = attrs.field(factory=dict)


@frozen(kw_only=True)
class RunTotals:
    """What a journal has of a run.

    Attributes:
        spent: US dollars that all workers have spent, for inputs that were asked again too.
        inputs: How many there are, if a run has read them to the end.
        settings: What was noted with `Journal.note`.
    """

    done: int = 0
    failed: int = 0
    open: int = 0
    spent: float = 0.0
    inputs: int | None = None
    settings: dict[str, Any] = attrs.field(factory=dict)


class Journal(Protocol):
    """The rows of one run."""

    def find(self, keys: Sequence[str], /) -> dict[str, Row]:
        """The rows of those of the keys that have one."""
        ...

    def find_same(self, fingerprints: Sequence[str], /) -> dict[str, Row]:
        """A row that is done for each of the fingerprints that has one."""
        ...

    def save(self, rows: Sequence[Row], spent: float, /) -> float:
        """Save how inputs ended. A row that is done stays, unless the fingerprint differs.

        Args:
            rows: One for each input.
            spent: US dollars to add to the run's.

        Returns:
            US dollars that all workers of the run have spent.
        """
        ...

    def note(self, *, inputs: int | None = None, settings: dict[str, Any] | None = None) -> None:
        """Note how many inputs there are, or what the run was made with."""
        ...

    def totals(self) -> RunTotals:
        """Counts of all rows."""
        ...

    def rows(self, status: Status | None = None) -> Iterator[Row]:
        """All rows in the order of their indexes, read as needed."""
        ...

    def save_batch(self, batch: Batch, /) -> None:
        """Add a batch, or replace the one of that name."""
        ...

    def batches(self) -> tuple[Batch, ...]:
        """The batches that are not closed, oldest first."""
        ...

    def close_batch(self, name: str, rows: Sequence[Row], spent: float, /) -> float:
        """Remove a batch and save its results, in one transaction; see `save`."""
        ...

    def close(self) -> None:
        """Close the connection, and let another run have the file."""
        ...


def open_journal(place: str | os.PathLike[str], run: str, *, reads_only: bool = False) -> Journal:
    """Open the journal at a path or a URL; blocks while it checks the file or connects.

    Args:
        place: The path or the URL.
        run: The name of the run.
        reads_only: To look at the rows, also while a run writes them.

    Raises:
        BulkError: `journal`: it cannot be used; the message says why.
        ImportError: The extra `postgres` is not installed.
    """
    scheme = urlsplit(place).scheme if isinstance(place, str) else ""
    if scheme in {"postgres", "postgresql"}:
        try:
            from allm.runs.postgres import PostgresJournal
        except ModuleNotFoundError as error:
            what = f"this journal needs the extra 'postgres': pip install 'allm-trio[postgres]' ({error})"
            raise ImportError(what) from error
        return PostgresJournal(str(place), run)
    if scheme and "://" in str(place) and scheme != "sqlite":
        raise journal_error(
            f"no journal has the scheme {scheme!r}; expected a path, sqlite:///path or postgresql://host/database"
        )
    from allm.runs.sqlite import SqliteJournal

    path = unquote(urlsplit(str(place)).path)[1:] if scheme == "sqlite" else str(place)
    return SqliteJournal(path, run, reads_only=reads_only)


def journal_error(what: str) -> BulkError:
    """The error for a journal that cannot be used."""
    return BulkError(what, reason="journal")


async def in_turn(limiter: trio.CapacityLimiter, work: Any) -> Any:
    """Run blocking work in a worker thread, after that before it; a cancellation waits for its end."""
    return await in_thread(work, abandon=False, limiter=limiter)
