"""Run a coroutine function once for each moment at which it could be cancelled, and look what is left each time."""

from __future__ import annotations

import inspect
import random
import sys
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from typing import Any, Generic, TypeVar, final

import attrs

from allm.data.message import Message, Thread, unanswered_tool_calls
from allm.data.results import ChatResult, StepResult, UserAsked
from allm.data.session import Session
from allm.testing.groups import plain
from allm.testing.leaks import AsyncGenerators, Holdings, after_settling, tasks_left
from allm.testing.steps import StepCounter, instrumented

__all__ = ["CancelReport", "CancelTrial", "cancel_everywhere"]

T = TypeVar("T")
MOMENTS_PER_STEP = 4
# Trio's own source of chance. Without it everything works, and the order of a pass is left to chance.
_LOTS: random.Random = getattr(sys.modules.get("trio._core._run"), "_r", random.Random())  # noqa: S311


@attrs.frozen(kw_only=True, eq=False)
class CancelTrial(Generic[T]):
    """One run of the function, as `check` sees it.

    Attributes:
        number: 0 for the first run, which is not cancelled; the others count from 1.
        cancelled: Whether the run was cancelled before its end.
        caught: Whether the cancellation ended it; False if it came too late, after the last checkpoint.
        result: What the function returned; None if it did not get so far.
        stage: What `around` yielded for this run.
    """

    number: int
    cancelled: bool
    caught: bool
    result: T | None
    stage: Any


@attrs.frozen(kw_only=True)
class CancelReport(Generic[T]):
    """What `cancel_everywhere` did.

    Attributes:
        trials: Runs that were cancelled.
        steps: Task steps of the run that was not.
        result: What that run returned.
    """

    trials: int
    steps: int
    result: T


async def cancel_everywhere(
    async_fn: Callable[..., Awaitable[T]],
    *args: Any,
    around: Callable[[], AbstractAsyncContextManager[Any]] | None = None,
    check: Callable[[CancelTrial[T]], object] | None = None,
    max_steps: int = 5000,
    seed: int = 0,
) -> CancelReport[T]:
    """Cancel a function at every moment that it has, each time in a new run, and check that nothing is left.

        report = await cancel_everywhere(lambda: my_workflow(engine))

    First the function runs once to its end. Then it runs again and is cancelled before it starts, then after its first
    task step, then before its second, and so on, until a run ends before its cancellation comes. Steps of all tasks
    that it starts count. After each run there must be no task of it, no open file, socket or connection, no busy
    thread, no token of a limiter or lock, no async generator that is not closed, and in its result no tool call without
    an answer. A connection may rest in the pool of an HTTP client, and what the first run opens may stay open.

    Args:
        async_fn: The function. It must work more than once.
        *args: Its arguments; the value of `around`, if given, comes first.
        around: Opens an async context manager around each run, which is not cancelled: a new server, a new database.
        check: Called with a `CancelTrial` after each run; may be async. What it returns, such as the session that a
            store has now, is searched for tool calls without an answer; it may raise an AssertionError.
        max_steps: Most task steps of the function.
        seed: Another number has Trio run tasks that are ready together in another order.

    Raises:
        AssertionError: Something was left: which moment it was, where the task stood, and what is left.
        Exception: Whatever the function or `check` raised, not in a group; a note says when the cancellation came.
    """
    if not callable(async_fn):
        raise TypeError(
            f"cancel_everywhere runs a function many times, and got {type(async_fn).__name__}: pass an async function "
            "or a lambda, such as `cancel_everywhere(lambda: my_workflow(engine))`"
        )
    runs = _Runs(async_fn, args, around, check, seed)
    known = Holdings.now()
    rehearsal = await runs.trial(MOMENTS_PER_STEP * max_steps, known, number=0)
    if rehearsal.scope.cancel_called:
        raise AssertionError(f"the function took more than {max_steps} task steps: make it shorter, or raise max_steps")
    steps, result = rehearsal.steps, runs.result
    known = Holdings.now()  # with the pools and locks that it made
    for number in range(1, MOMENTS_PER_STEP * max_steps):
        counter = await runs.trial(number - 1, known, number=number)
        if not counter.scope.cancel_called:
            return CancelReport(trials=number - 1, steps=steps, result=result)
    raise AssertionError(f"the function took {steps} task steps once, and later more than {max_steps}")


@final
@attrs.define(eq=False)
class _Runs(Generic[T]):
    """The runs of one function."""

    async_fn: Callable[..., Awaitable[T]]
    args: tuple[Any, ...]
    around: Callable[[], AbstractAsyncContextManager[Any]] | None
    check: Callable[[CancelTrial[T]], object] | None
    seed: int
    result: Any = None

    async def trial(self, at: int, known: Holdings, *, number: int) -> StepCounter:
        """Run once and cancel at a moment; returns what was counted."""
        failure: BaseException
        counter = StepCounter(at=at, order=_draw)
        try:
            async with nullcontext() if self.around is None else self.around() as stage:
                await self._run(counter, known, number, stage)
        except (Exception, BaseExceptionGroup) as error:
            failure = plain(error)
        else:
            return counter
        if number:
            failure.add_note(_when(counter))
        raise failure  # outside the clause above, so that the group is not shown as its context

    async def _run(self, counter: StepCounter, known: Holdings, number: int, stage: Any) -> None:
        args = self.args if self.around is None else (stage, *self.args)
        before = Holdings.now(known)
        generators = AsyncGenerators(counter)
        self.result = None
        left: list[str] = []
        with instrumented(counter), generators.watched():
            with _drawn(self.seed), counter.scope:
                if number and not counter.at:
                    counter.scope.cancel(reason="cancel_everywhere")
                self.result = await self.async_fn(*args)
            counter.at, steps = 0, counter.steps  # what follows is not part of the run

            def find() -> list[str]:
                return [*tasks_left(counter), *before.left(counter), *generators.left()]

            # The first run may open what is kept for all of them, such as the connections of a pool.
            if number and (left := await after_settling(find)):
                before = before.with_new_pools()  # a client may have been made in this run; looking takes a while
                left = find()
            counter.steps = steps
        trial = CancelTrial[T](
            number=number,
            cancelled=counter.scope.cancel_called,
            caught=counter.scope.cancelled_caught,
            result=self.result,
            stage=stage,
        )
        checked = None if self.check is None else self.check(trial)
        if inspect.isawaitable(checked):
            checked = await checked
        left += _unanswered((self.result, checked))
        if left:
            when = f"a run that was cancelled (number {number})" if trial.cancelled else "a run that was not cancelled"
            raise AssertionError(f"{when} left behind:\n" + "\n".join(f"  - {one}" for one in left))


def _when(counter: StepCounter) -> str:
    if not counter.scope.cancel_called:
        return "The function had ended before it was cancelled."
    if counter.stack is None:
        return "The function was cancelled before it began."
    # The frames around the function are those of the test and of this module.
    own = [index for index, frame in enumerate(counter.stack) if frame.filename == __file__]
    frames = counter.stack[max(own, default=-1) + 1 :]
    place = "".join(traceback.format_list(frames)) or "  its end\n"
    return f"The cancellation came {counter.moment} of task {counter.cancelled_in!r}, which stood at:\n{place}".rstrip()


@contextmanager
def _drawn(seed: int) -> Generator[None]:
    """Let Trio run ready tasks in the same order in every run; it draws lots in each pass."""
    state = _LOTS.getstate()
    _LOTS.seed(seed)
    try:
        yield
    finally:
        _LOTS.setstate(state)


def _draw(is_reversed: bool) -> None:  # noqa: FBT001
    """Decide the order of the next pass, which is reversed if the number drawn is below a half."""
    seed = 0
    while (random.Random(seed).random() < 0.5) is not is_reversed:  # noqa: S311, PLR2004
        seed += 1
    _LOTS.seed(seed)


def _unanswered(value: Any) -> list[str]:
    """The tool calls without an answer in a result, session or conversation, or a collection of these."""
    match value:
        case Session(thread=thread, pending_tool_calls=waiting):
            return _calls_of(value, thread.messages, [call.id for call in waiting])
        case ChatResult() | StepResult():
            asked = [one.tool_call_id for one in value.halt.questions] if isinstance(value.halt, UserAsked) else []
            return _calls_of(value, value.thread.messages, [*asked, *(call.id for call in value.manual_tool_calls)])
        case Thread(messages=messages):
            return _calls_of(value, messages, [])
        case Mapping():
            return _unanswered(tuple(value.values()))
        case tuple() | list():
            if value and all(isinstance(one, Message) for one in value):
                return _calls_of(value, tuple(value), [])
            return [found for one in value for found in _unanswered(one)]
        case _:
            return []


def _calls_of(value: object, messages: tuple[Message, ...], waiting: Iterable[str]) -> list[str]:
    names = {call.id: call.name for message in messages for call in message.tool_calls}
    return [
        f"tool call {call_id!r} ({names[call_id]}) has no answer in the {type(value).__name__}"
        for call_id in unanswered_tool_calls(messages)
        if call_id not in waiting
    ]
