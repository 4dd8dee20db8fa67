"""What lets a turn outlive its process: a journal of finished tool calls, and the response a turn resumes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import attrs

from allm.data.attrs_classes import frozen
from allm.data.message import Message, Thread
from allm.data.response import Response
from allm.data.results import ToolOutcome

__all__ = ["ToolJournal", "Unfinished"]


class ToolJournal(Protocol):
    """Records what the tools of a turn did.

    An exception it raises ends the turn, since a call that is not recorded could run twice.
    """

    async def record_response(self, thread: Thread, response: Response, outcomes: Mapping[str, ToolOutcome]) -> None:
        """Record a response with tool calls, before any of them starts.

        Args:
            thread: The conversation before the response.
            response: The response with the calls.
            outcomes: Outcomes of calls that ended in an earlier run of the step, by call id.
        """
        ...

    async def record_outcome(self, outcome: ToolOutcome) -> None:
        """Record how a call ended, before its result is shown to anyone; shielded from cancellation.

        From then on the outcome counts, even if this fails.
        """
        ...

    async def record_messages(self, thread: Thread) -> None:
        """Record messages that have joined the conversation after the results of the newest response with calls.

        Args:
            thread: The conversation with them.
        """
        ...


@frozen(kw_only=True)
class Unfinished:
    """A response with calls that have not ended; the turn resumes by running them.

    Attributes:
        response: The response with the calls.
        outcomes: How the other calls ended, by call id.
        approved: Ids of manual calls that may run.
        added: Messages that followed the results in an earlier run, up to the model call that did not end.
    """

    response: Response
    outcomes: Mapping[str, ToolOutcome] = attrs.field(factory=dict)
    approved: frozenset[str] = frozenset()
    added: tuple[Message, ...] = ()
