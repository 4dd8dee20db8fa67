"""What reaches the store in spite of failures: the journal of a running turn, and writes that are repeated.

Theory of operation. A turn without tool calls writes nothing: if its process dies, the old session is still there and
the turn can be repeated. Before the first tool of a response starts, the response is written, with the messages that
led to it; when a tool has ended, its result is written before the turn goes on. Saving the session empties the journal
in the same transaction. So entries in a journal mean that a turn was interrupted, and contain its newest response and
the results of its calls. Calls with a result are not run again; the others are, since it is unknown how far they got.

When a connection dies, nobody knows whether the write that was under way took effect. So every write that is repeated
here has the same effect once or twice: journal entries have places, and a change whose repeated write is refused is
compared with what the database has by then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import Problem, SessionError, ValidationError
from allm.data.message import Message, Thread, thread_problems
from allm.data.problems import refuse
from allm.data.response import Response
from allm.data.results import ChatResult, StepResult, ToolOutcome, UserAsked, first_halt, unique_calls
from allm.data.session import AnswerEntry, JoinedEntry, Session
from allm.execution.stream.folds import message_with_results
from allm.execution.stream.inbox import with_messages
from allm.session.stores.backend import Change, Record, StoreBackend
from allm.session.stores.writing import Row
from allm.session.turn import project

__all__ = [
    "PATIENCE",
    "SHIELD",
    "TurnJournal",
    "holds",
    "persistently",
    "shielded",
    "uncancelled",
    "with_users",
    "write_change",
]

T = TypeVar("T")

PATIENCE = 30.0
"""Seconds for which a failing write is repeated; a database takes a few to restart, and a replica up to 30 to take
over. Then the last attempt may still take as long as its backend waits."""
FIRST_PAUSE, LAST_PAUSE = 0.1, 2.0  # seconds between two attempts, doubled each time
SHIELD = 10.0
"""Seconds that saving may take under a shield; twice what a backend may wait for its database."""


@define(eq=False)
class TurnJournal:
    """The journal of one session, as read and as it grows; a `ToolJournal`.

    Attributes:
        thread: The conversation before the newest response.
        response: The newest response with tool calls; None while the journal is empty.
        outcomes: Outcomes of its calls that have ended, by call id.
        added: Messages that have followed the results, up to a model call that may not have ended.
    """

    _encode: Callable[
        [Sequence[AnswerEntry | JoinedEntry | ToolOutcome]], Awaitable[Sequence[Row]]
    ]  # shielded from cancellation
    _append: Callable[[Sequence[Row]], Awaitable[None]]
    thread: Thread
    response: Response | None = None
    outcomes: dict[str, ToolOutcome] = attrs.field(factory=dict)
    added: tuple[Message, ...] = ()

    def read(self, entries: Iterable[Any]) -> None:
        """Load the entries that an earlier run of the turn has written.

        Raises:
            ValidationError: They are no entries, or do not match.
        """
        for entry in entries:
            if isinstance(entry, AnswerEntry) and 0 <= entry.kept <= len(self._known()):
                messages = (*self._known()[: entry.kept], *entry.messages)
                self.thread = attrs.evolve(self.thread, messages=messages)
                self.response, self.outcomes, self.added = entry.response, {}, ()
            elif isinstance(entry, ToolOutcome) and self._asked(entry.message.tool_call_id):
                self.outcomes[entry.message.tool_call_id or ""] = entry
            elif isinstance(entry, JoinedEntry) and self.response is not None:
                self.added = (*self.added, *entry.messages)
            else:
                problem = Problem((), "unexpected_entry", "an entry of the journal does not match those before it")
                raise ValidationError([problem], reason="invalid_session")
        refuse(thread_problems(self.conversation), reason="invalid_thread")

    def _asked(self, call_id: str | None) -> bool:
        return self.response is not None and any(call.id == call_id for call in self.response.tool_calls)

    def _known(self) -> tuple[Message, ...]:
        """The conversation according to the entries so far; later entries are relative to it."""
        if self.response is None:
            return self.thread.messages
        return (*self.thread.messages, self.response.message)

    @property
    def conversation(self) -> Thread:
        """The conversation with the newest response, its results so far, and what followed them."""
        answer = () if self.response is None else (self.response.message,)
        results = (outcome.message for outcome in self.outcomes.values())
        return self.thread.add(*answer, *results, *self.added)  # which knows what was checked of it

    async def record_response(self, thread: Thread, response: Response, outcomes: Mapping[str, ToolOutcome]) -> None:
        """See `ToolJournal`."""
        if self.response is not None and self.response.message == response.message and self.thread == thread:
            return  # the turn resumes a response that is already in the journal
        # Only the messages that the journal does not have yet are written, so that a long turn stays linear in size.
        known = self._known()
        kept = 0
        while kept < min(len(known), len(thread.messages)) and known[kept] == thread.messages[kept]:
            kept += 1
        entry = AnswerEntry(kept=kept, messages=thread.messages[kept:], response=response)
        rows = await self._encode([entry, *outcomes.values()])
        self.thread, self.response, self.outcomes, self.added = thread, response, dict(outcomes), ()
        await self._append(rows)

    async def record_outcome(self, outcome: ToolOutcome) -> None:
        """See `ToolJournal`."""
        rows = await self._encode([outcome])  # before it counts, since a session with it could not be saved either
        # It counts whether or not it can be recorded: what is known must not be replaced by "cancelled" when the turn
        # is saved, which may succeed over another connection.
        self.outcomes[outcome.message.tool_call_id or ""] = outcome
        await self._append(rows)

    async def record_messages(self, thread: Thread) -> None:
        """See `ToolJournal`. Before the first response nothing is recorded: the whole turn would be repeated."""
        if self.response is None:
            return
        added = thread.messages[len(self._known()) + len(self.outcomes) :]
        new = added[len(self.added) :]
        if new:
            rows = await self._encode([JoinedEntry(new)])
            self.added = added
            await self._append(rows)

    def settle(self, session: Session, result: ChatResult | StepResult) -> Session:
        """The session after a turn; if it was cut short, with the results and messages that nobody has read."""
        if self.response is None or _ended_by_itself(result):
            return session
        if self._was_read(result):
            return with_users(session, self.added)
        results = {call_id: outcome.message for call_id, outcome in self.outcomes.items()}
        messages = message_with_results(self.response.message, results)
        calls = unique_calls(self.response.tool_calls)
        ended = [self.outcomes[call.id] for call in calls if call.id in self.outcomes]
        step = StepResult(
            thread=self.thread.add(*messages, *self.added),
            response=self.response,
            tool_results=messages[1:],
            halt=first_halt(ended),
            cancelled=True,
        )
        return with_users(project(session, step), result.thread.messages)

    def _was_read(self, result: ChatResult | StepResult) -> bool:
        """Whether the consumer has read the step of the newest response in the journal."""
        assert self.response is not None  # noqa: S101  (checked by the caller)
        before = len(self.thread.messages)
        steps = result.steps if isinstance(result, ChatResult) else ()
        return any(step.thread.messages[before : before + 1] == (self.response.message,) for step in steps)


def with_users(session: Session, messages: Iterable[Message]) -> Session:
    """The session with those of the messages that the user sent into the turn and that it does not have."""
    known = set(map(id, session.thread.messages))
    missing = [message for message in messages if message.role == "user" and id(message) not in known]
    if not missing:
        return session
    asked = UserAsked(session.pending_questions) if session.pending_questions else None
    return attrs.evolve(session, thread=with_messages(session.thread, missing, asked))


def _ended_by_itself(result: ChatResult | StepResult) -> bool:
    return not result.cancelled if isinstance(result, StepResult) else result.halted_reason != "cancelled"


# --- writes -------------------------------------------------------------------------------------------------------


async def persistently(operation: Callable[[], Awaitable[T]], *, seconds: float | None = None) -> T:
    """Run `operation`, shielded from cancellation, and repeat it while the store is away.

    Args:
        operation: Has the same effect once or several times.
        seconds: How long to repeat it; None for `PATIENCE`.

    Raises:
        SessionError: What `operation` raised, if that cannot pass or if the time is over.
    """
    limit = PATIENCE if seconds is None else seconds
    failure: SessionError | None = None
    pause = FIRST_PAUSE
    with trio.move_on_after(limit, shield=True):
        while True:
            try:
                return await operation()
            except SessionError as error:
                if not error.retryable:
                    raise
                failure = error
            await trio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE)
    try:
        why = "it did not answer" if failure is None else failure.message
        raise SessionError(f"the store stayed away for {limit:g} s: {why}", reason="unavailable") from failure
    finally:
        del failure  # breaks the reference cycle between the frame and its exception


async def write_change(backend: StoreBackend, key: str, change: Change, *, version: int, token: str | None) -> bool:
    """`StoreBackend.write`, repeated while the store is away; a repeated write counts once.

    Raises:
        SessionError: As `persistently`.
    """
    attempts = 0

    async def attempt() -> bool:
        nonlocal attempts
        attempts += 1
        if await backend.write(key, change, version=version, token=token):
            return True
        # An earlier attempt may have been carried out although its reply was lost.
        return attempts > 1 and holds(await backend.read(key), change, version + 1)

    return await persistently(attempt)


def holds(record: Record | None, change: Change, version: int) -> bool:
    """Whether it was this change that made this version: each has a mark of its own in its head."""
    return record is not None and record.version == version and record.head == change.head


async def uncancelled(work: Callable[[], Awaitable[T]]) -> T:
    """Run `work` to its end even if the task is cancelled; it only computes, so it needs no time limit to end."""
    with trio.CancelScope(shield=True):
        return await work()
    raise AssertionError  # pragma: no cover  (for type checkers, which do not know that nobody cancels the scope)


async def shielded(operation: Callable[[], Awaitable[T]]) -> T:
    """Run `operation` to its end even if the task is cancelled, within a time limit.

    Raises:
        SessionError: `unavailable`: it took longer than the limit.
    """
    with trio.move_on_after(SHIELD, shield=True):
        return await operation()
    raise SessionError(f"the store did not answer within {SHIELD} s", reason="unavailable")
