"""The fold of a turn: any prefix of its events gives a conversation that can be sent again.

A prefix keeps the finished steps and the partial answer after them. Every tool call of that answer has a result
message: its own if it had ended, else one that says it was cancelled.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any

import attrs

from allm.data.content import ToolCall
from allm.data.errors import AllmError
from allm.data.events import (
    AskUserRequested,
    ChatCompleted,
    StepCompleted,
    ToolExecutionCompleted,
    ToolExecutionStarted,
    ToolHalted,
    ToolProgress,
    ToolResultEncoded,
)
from allm.data.message import Message
from allm.data.response import Response, Usage
from allm.data.results import ChatResult, StepResult
from allm.data.thread import Thread
from allm.execution.journal import Unfinished
from allm.execution.stream.collector import StreamCollector
from allm.execution.tool_runner import error_message

__all__ = ["ChatFold", "StepFold", "answered", "total_usage"]


def total_usage(responses: Iterable[Response]) -> Usage:
    """The sum over several answers, and over the attempts that were abandoned for them."""
    used = ((response.abandoned_usage, response.usage) for response in responses)
    return reduce(operator.add, (usage for both in used for usage in both if usage is not None), Usage())


def answered(message: Message, results: dict[str, Message], why: str = "cancelled") -> list[Message]:
    """`message` if it holds anything, and one result for each of its calls; a missing one says `why`."""
    if not message.content:
        return []
    text = "this call was not run to its end"
    return [message, *(results.get(call.id) or error_message(call, why, text) for call in _unique(message.tool_calls))]


def _unique(calls: Iterable[ToolCall]) -> Iterable[ToolCall]:
    return {call.id: call for call in calls}.values()


@attrs.define(eq=False)
class StepFold:
    """Folds the events of one step."""

    thread: Thread
    output_type: type | None = None
    _collector: StreamCollector = attrs.field(init=False)
    _results: dict[str, Message] = attrs.field(factory=dict, init=False)
    _answer: Response | None = attrs.field(default=None, init=False)
    _step: StepResult | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._collector = StreamCollector(self.output_type)

    def add(self, event: Any) -> None:
        """Fold one event."""
        step = _STEPS.get(type(event))
        if step is None:
            self._collector.add(event)
        else:
            step(self, event)

    def result(self) -> StepResult:
        """The step, or what there is of it."""
        if self._step is not None:
            return self._step
        response = self._answer or self._collector.response()
        messages = answered(response.message, self._results)
        return StepResult(
            thread=self.thread.add(*messages),
            response=response,
            tool_results=tuple(message for message in messages if message.role == "tool"),
            metadata={"halted_reason": "error" if response.error else "cancelled"},
        )

    def facts(self) -> dict[str, Any]:
        """What telemetry says of it."""
        response = self.result().response
        return {"finish_reason": response.finish_reason, "usage": response.usage, "error": response.error}

    def begin_with(self, unfinished: Unfinished) -> None:
        """The step begins with an answer that is there already."""
        self._answer = unfinished.response
        self._results = {call_id: outcome.message for call_id, outcome in unfinished.outcomes.items()}

    def _result(self, event: ToolResultEncoded | AskUserRequested | ToolHalted) -> None:
        self._results[event.tool_call.id] = event.message

    def _nothing(self, _event: Any) -> None:
        pass

    def _completed(self, event: StepCompleted) -> None:
        self._step = event.step


_STEPS: dict[type, Callable[[StepFold, Any], None]] = {
    ToolResultEncoded: StepFold._result,
    AskUserRequested: StepFold._result,
    ToolHalted: StepFold._result,
    ToolExecutionStarted: StepFold._nothing,
    ToolExecutionCompleted: StepFold._nothing,
    ToolProgress: StepFold._nothing,
    StepCompleted: StepFold._completed,
}


@attrs.define(eq=False)
class ChatFold:
    """Folds the events of a turn that starts from `thread`."""

    thread: Thread
    output_type: type | None = None
    _steps: list[StepResult] = attrs.field(factory=list, init=False)
    _current: StepFold = attrs.field(init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _result: ChatResult | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._current = StepFold(self.thread, self.output_type)

    def add(self, event: Any) -> None:
        """Fold one event."""
        kind = type(event)
        if kind is ChatCompleted:
            self._result = event.result
        elif kind is StepCompleted:
            self._steps.append(event.step)
            self._current = StepFold(event.step.thread, self.output_type)
            self._begun = False
        else:
            self._begun = True
            self._current.add(event)

    @property
    def current(self) -> StepFold:
        """The fold of the step that is running or comes next."""
        return self._current

    def begin_with(self, unfinished: Unfinished) -> None:
        """The turn begins with an answer that is there already."""
        self._current.begin_with(unfinished)
        self._begun = True

    def next_step(self, thread: Thread) -> None:
        """The next step starts from `thread`, which is not the last one's (a message was added between them)."""
        self._current = StepFold(thread, self.output_type)

    def result(self) -> ChatResult:
        """The turn, or what there is of it: then `halted_reason` is `cancelled` (`error` after a failure)."""
        if self._result is not None:
            return self._result
        steps = list(self._steps)
        error: AllmError | None = None
        thread = self._current.thread
        responses = [step.response for step in steps]
        if self._begun:
            partial = self._current.result()
            thread = partial.thread
            error = partial.response.error
            responses.append(partial.response)
        return ChatResult(
            thread=thread,
            final_response=responses[-1] if responses else None,
            steps=steps,
            halted_reason="error" if error is not None else "cancelled",
            usage=total_usage(responses),
            metadata={"error": error} if error is not None else {},
        )

    def facts(self) -> dict[str, Any]:
        """What telemetry says of it."""
        result = self.result()
        return {
            "halted_reason": result.halted_reason,
            "steps": len(result.steps),
            "usage": result.usage,
            "error": result.metadata.get("error"),
        }
