"""What makes a turn survive its process: a journal of finished tool calls, and an answer that a turn goes on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs

from allm.data.message import Thread
from allm.data.response import Response
from allm.data.results import ToolOutcome

__all__ = ["ToolJournal", "Unfinished"]


class ToolJournal(Protocol):
    """Remembers what a turn's tools did. What it raises ends the turn, since what it does not know could run twice."""

    async def answered(self, thread: Thread, response: Response, outcomes: Mapping[str, ToolOutcome]) -> None:
        """The model asks for tools, and none of them has started.

        Args:
            thread: The conversation before the answer.
            outcomes: Calls of the answer that ended in an earlier run of the step.
        """
        ...

    async def ended(self, outcome: ToolOutcome) -> None:
        """A call has ended, and nobody has seen its result yet."""
        ...


@attrs.frozen(kw_only=True)
class Unfinished:
    """An answer with calls that have not ended: the turn goes on by running these.

    Attributes:
        outcomes: How the others ended, by call id.
        approved: Ids of manual calls that may run.
    """

    response: Response
    outcomes: Mapping[str, ToolOutcome] = attrs.field(factory=dict)
    approved: frozenset[str] = frozenset()
