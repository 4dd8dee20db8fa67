"""What the journal says about inputs that were read: which are replayed, which are asked, which wait for another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.bulk import BulkError, BulkItem
from allm.data.request import JsonSchema
from allm.runs.fingerprint import Fingerprints
from allm.runs.jobs import Job
from allm.runs.journal import Journal, Row, in_turn
from allm.runs.saving import Finished, item_of

__all__ = ["LookUp"]


@define(eq=False)
class LookUp:
    """Looks inputs up, some at a time.

    Attributes:
        journal: None asks all.
        fingerprints: Makes them, where there is a journal.
        seen: The keys of the run so far; None where they are the indexes, which differ.
        changed: What to do where an input is not what it was.
        retries_all: Ask failures again that would come again.
        dedupe: Ask inputs that are the same once.
        output_type: The type for structured output of all calls.
        replayed: Called with an item that the journal has.
        copied: Called with the item of an identical input, to be saved under its own key.
        ask: Called with jobs.
    """

    journal: Journal | None
    limiter: trio.CapacityLimiter
    fingerprints: Fingerprints | None
    seen: Any
    changed: Literal["error", "rerun"]
    retries_all: bool
    dedupe: bool
    output_type: Any
    replayed: Callable[[BulkItem[Any]], None]
    copied: Callable[[Finished], None]
    ask: Callable[[list[Job]], None]
    _following: dict[str, list[Job]] = attrs.field(factory=dict[str, "list[Job]"], init=False)

    async def __call__(self, jobs: list[Job]) -> None:
        """Look the jobs up.

        Raises:
            BulkError: `duplicate_key`, `changed_input`, `journal`.
            ValidationError: An input has no fingerprint.
        """
        if self.fingerprints is not None:
            for job in jobs:
                job.fingerprint = self.fingerprints.of(job.request)
        if self.journal is None and self.seen is None:
            self.ask(jobs)
            return
        # Before the look-up: an answer that is saved meanwhile is then found, or given to those that wait for it.
        followers = {job.index for job in jobs if self.dedupe and self._follows(job)}
        found = await in_turn(self.limiter, lambda: self._find(jobs))
        to_ask: list[Job] = []
        try:
            for job, known in zip(jobs, found, strict=True):
                if isinstance(known, BulkError):
                    raise known
                if job.index not in followers:
                    to_ask += self._told(job, known)
        finally:
            self.ask(to_ask)

    def _told(self, job: Job, known: BulkItem[Any] | Finished | None) -> list[Job]:
        """Deliver what is known of an input; the input if it is to be asked."""
        if known is None:
            return [job]
        if isinstance(known, Finished):
            self.copied(known)
        else:
            self.replayed(known)
        for copy in self.ended(job.fingerprint, known.item if isinstance(known, Finished) else known):
            self.copied(copy)
        return []

    def _find(self, jobs: list[Job]) -> list[BulkItem[Any] | Finished | BulkError | None]:
        """In a worker thread: for each job the item of its row or of an identical input, None if it is to be asked.

        Nothing after an error counts.
        """
        twice = None if self.seen is None else self.seen.add([job.key for job in jobs])
        rows = {} if self.journal is None else self.journal.find([job.key for job in jobs])
        found: list[BulkItem[Any] | Finished | BulkError | None] = [
            _twice(job) if job.key == twice else self._known(job, rows.get(job.key)) for job in jobs
        ]
        if twice is not None:  # the first of the two is asked, if it is among these
            first = next((index for index, job in enumerate(jobs) if job.key == twice), 0)
            again = [index for index, job in enumerate(jobs) if job.key == twice]
            if len(again) > 1:
                found[first] = self._known(jobs[first], rows.get(twice))
        if self.dedupe and self.journal is not None:
            open_ = [index for index, known in enumerate(found) if known is None]
            same = self.journal.find_same([jobs[index].fingerprint for index in open_])
            for index in open_:
                row = same.get(jobs[index].fingerprint)
                if row is not None:
                    found[index] = self._copy(jobs[index], self._item(jobs[index], row))
        return found

    def _known(self, job: Job, row: Row | None) -> BulkItem[Any] | BulkError | None:
        if row is None:
            return None
        if row.fingerprint != job.fingerprint:
            return None if self.changed == "rerun" else _changed(job)
        if row.status == "open" or (row.status == "failed" and self.retries_all):
            return None
        return self._item(job, row)

    def _item(self, job: Job, row: Row) -> BulkItem[Any]:
        wanted = getattr(job.request, "response_format", None)
        output_type = wanted.output_type if isinstance(wanted, JsonSchema) else None
        return item_of(row, job.request, job.index, output_type or self.output_type)

    def _copy(self, job: Job, item: BulkItem[Any]) -> Finished:
        copy = attrs.evolve(item, key=job.key, index=job.index, request=job.request, attempts=0, replayed=True)
        return Finished(copy, job.fingerprint)

    # --- inputs that are the same as one under way -----------------------------------------------------------------

    def _follows(self, job: Job) -> bool:
        """Whether the job waits for the answer of another; else others may wait for its own."""
        followers = self._following.get(job.fingerprint)
        if followers is None:
            self._following[job.fingerprint] = []
            return False
        followers.append(job)
        return True

    def ended(self, fingerprint: str, item: BulkItem[Any]) -> Sequence[Finished]:
        """What those get that waited for this item, which is saved."""
        return [self._copy(follower, item) for follower in self._following.pop(fingerprint, ())]


def _changed(job: Job) -> BulkError:
    return BulkError(
        f"input {job.index} (key {job.key!r}) differs from the one that the journal has under this key: its request, "
        "the model or the options have changed; nothing was sent for it",
        reason="changed_input",
    ).advised(". changed='rerun' asks again what has changed; another journal= or run= begins anew")


def _twice(job: Job) -> BulkError:
    return BulkError(
        f"input {job.index} has the key {job.key!r}, which an earlier input of this run has; expected a key of its own "
        "for each input",
        reason="duplicate_key",
    )
