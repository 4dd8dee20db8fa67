"""Batches and the inputs in them, while a run waits for their answers."""

from __future__ import annotations

import attrs
import trio

from allm.data.attrs_classes import define
from allm.execution.services.batch_charging import BatchCharge
from allm.execution.services.batches import BatchedCall
from allm.runs.jobs import Job
from allm.runs.journal import Batch
from allm.runtime.batch_jobs import BatchJob

__all__ = ["Asked", "Gathered", "Underway"]


@define(eq=False)
class Asked:
    """An input in a batch.

    Attributes:
        charge: What a budget holds for it; None: there is none, or an earlier run has sent it.
    """

    job: Job
    call: BatchedCall
    charge: BatchCharge | None = None


@define(eq=False)
class Underway:
    """A batch, and the inputs that wait for its answers.

    Attributes:
        noted: As the journal has it.
        waiting: By their key in the batch, which has their place in `noted.items`.
        late: Those that came when its answers were being read already, which are read again for them.
        is_read: They are being read.
        scope: Of its way until it has ended.
        unclaimed: How many of its inputs this run has not come to, if an earlier one has made it.
        is_sent: It may be at the provider.
    """

    noted: Batch
    vendor: BatchJob | None = None
    waiting: dict[str, Asked] = attrs.field(factory=dict[str, "Asked"])
    late: dict[str, Asked] = attrs.field(factory=dict[str, "Asked"])
    is_read: bool = False
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    cancelled: trio.Event = attrs.field(factory=trio.Event)
    unclaimed: int = 0
    is_sent: bool = False

    def key_of(self, place: int) -> str:
        """What an input is called in the batch; in no other one, or answers of a wrong batch would be taken for its."""
        return f"{self.noted.name.rpartition('-')[2]}-{place}"


@define(eq=False)
class Gathered:
    """Inputs that will be a batch, and how many bytes their calls have."""

    asked: list[Asked] = attrs.field(factory=list[Asked])
    size: int = 0

    def add(self, one: Asked) -> None:
        """Put one in."""
        self.asked.append(one)
        self.size += one.call.size
