"""The journal of a turn: what its tools did, known before anyone relies on it.

Theory of operation. A turn that asks for no tools writes nothing: killed, it leaves the old session and can be asked
again. Before the first tool of an answer starts, the answer is written, with the messages that led to it; when a tool
has ended, its result is written before the turn goes on. Saving the session empties the journal in the same
transaction. So whoever finds entries finds a turn that was killed: the newest answer, and which of its calls have
ended. These are not run again; the others are, since nobody knows how far they came.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import attrs

from allm.data.errors import ValidationError
from allm.data.halt import ToolOutcome, first_halt
from allm.data.json.codec import from_json, to_json
from allm.data.message import Message
from allm.data.response import Response
from allm.data.results import ChatResult, StepResult, unique_calls
from allm.data.session import AnswerEntry, Session
from allm.data.thread import Thread
from allm.data.validation import validate
from allm.execution.stream.folds import answered
from allm.session.projection import project

__all__ = ["TurnJournal"]


@attrs.define(eq=False)
class TurnJournal:
    """What is in the journal of one session, and how more gets in; a `ToolJournal`.

    Attributes:
        thread: The conversation before the newest answer.
        response: The newest answer with tool calls; None while the journal is empty.
        outcomes: How its calls ended, as far as they did, by call id.
    """

    _append: Callable[[Sequence[str]], Awaitable[None]]
    thread: Thread
    response: Response | None = None
    outcomes: dict[str, ToolOutcome] = attrs.field(factory=dict)

    def read(self, entries: Iterable[str]) -> None:
        """Take over what an earlier run of the turn has written.

        Raises:
            ValidationError: It cannot be read.
        """
        for text in entries:
            entry = from_json(text)
            if isinstance(entry, AnswerEntry) and 0 <= entry.kept <= len(self._known()):
                messages = (*self._known()[: entry.kept], *entry.messages)
                self.thread = attrs.evolve(self.thread, messages=messages)
                self.response, self.outcomes = entry.response, {}
            elif isinstance(entry, ToolOutcome) and self._asked(entry.message.tool_call_id):
                self.outcomes[entry.message.tool_call_id or ""] = entry
            else:
                raise ValidationError(
                    [((), "unexpected_entry")], reason="invalid_session", message="an entry of its journal has no place"
                )
        validate(self.conversation)

    def _asked(self, call_id: str | None) -> bool:
        return self.response is not None and any(call.id == call_id for call in self.response.tool_calls)

    def _known(self) -> tuple[Message, ...]:
        """The conversation as whoever reads the entries knows it."""
        if self.response is None:
            return self.thread.messages
        return (*self.thread.messages, self.response.message)

    @property
    def conversation(self) -> Thread:
        """The conversation with the newest answer and those of its results that are there."""
        messages = self._known()
        return attrs.evolve(self.thread, messages=(*messages, *(o.message for o in self.outcomes.values())))

    async def answered(self, thread: Thread, response: Response, outcomes: Mapping[str, ToolOutcome]) -> None:
        """See `ToolJournal`."""
        if self.response is not None and self.response.message == response.message and self.thread == thread:
            return  # the turn goes on from what is in the journal already
        known = self._known()
        kept = 0
        while kept < min(len(known), len(thread.messages)) and known[kept] == thread.messages[kept]:
            kept += 1
        entry = AnswerEntry(kept=kept, messages=thread.messages[kept:], response=response)
        await self._append([to_json(entry), *(to_json(outcome) for outcome in outcomes.values())])
        self.thread, self.response, self.outcomes = thread, response, dict(outcomes)

    async def ended(self, outcome: ToolOutcome) -> None:
        """See `ToolJournal`."""
        await self._append([to_json(outcome)])
        self.outcomes[outcome.message.tool_call_id or ""] = outcome

    def settle(self, session: Session, result: ChatResult | StepResult) -> Session:
        """The session after a turn that was cut short, with what its tools did, whether or not its events were read."""
        if self.response is None or _ended_by_itself(result) or self._was_read(result):
            return session
        results = {call_id: outcome.message for call_id, outcome in self.outcomes.items()}
        messages = answered(self.response.message, results)
        calls = unique_calls(self.response.tool_calls)
        ended = [self.outcomes[call.id] for call in calls if call.id in self.outcomes]
        step = StepResult(
            thread=self.thread.add(*messages),
            response=self.response,
            tool_results=messages[1:],
            halt=first_halt(ended),
            cancelled=True,
        )
        return project(session, step)

    def _was_read(self, result: ChatResult | StepResult) -> bool:
        """Whether the reader had got past the newest answer of the journal."""
        assert self.response is not None  # noqa: S101  (checked by the caller)
        before = len(self.thread.messages)
        steps = result.steps if isinstance(result, ChatResult) else ()
        return any(step.thread.messages[before : before + 1] == (self.response.message,) for step in steps)


def _ended_by_itself(result: ChatResult | StepResult) -> bool:
    return not result.cancelled if isinstance(result, StepResult) else result.halted_reason != "cancelled"
