"""Folds: events in, result out. Every blocking call is a fold over the events of the matching stream.

Any prefix of a stream folds to a valid value. For a model call: the text so far, incomplete calls marked as such, and
`finish_reason` None until the end is seen. For a step: the partial response, with a result message for each of its
calls, which says "cancelled" if the call had not ended. For a turn: the finished steps and the partial one after them.
So the conversation can always be sent again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, cast

import attrs

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError, AllmError, StreamError
from allm.data.events import (
    AskUserRequested,
    ChatCompleted,
    Failed,
    MessageCompleted,
    MessagesAdded,
    MessageStarted,
    RawChunk,
    StepCompleted,
    ToolCallDelta,
    ToolExecutionCompleted,
    ToolExecutionStarted,
    ToolHalted,
    ToolProgress,
    ToolResultEncoded,
    UsageReported,
)
from allm.data.logprobs import TokenLogprob
from allm.data.message import Message, Thread
from allm.data.message_builder import MessageBuilder
from allm.data.response import FinishReason, Response, Usage
from allm.data.results import ChatResult, StepResult, unique_calls
from allm.data.tool_control import error_message
from allm.execution.journal import Unfinished
from allm.execution.stream.fold import DELTAS, Fold, Hidden
from allm.execution.stream.inbox import Inbox, with_messages
from allm.execution.telemetry_facts import response_facts
from allm.runtime.costs import Tally

__all__ = ["ChatFold", "StepFold", "StreamCollector", "fold_burst", "message_with_results", "total_usage"]


@define(eq=False)
class StreamCollector:
    """Folds the events of one model call.

    Attributes:
        output_type: The type that `response.parsed()` gives.

    Adding an event after `MessageCompleted` or `Failed` is a programming error.
    """

    output_type: Any = None
    _builder: MessageBuilder = attrs.field(factory=MessageBuilder, init=False)
    _usage: Usage | None = attrs.field(default=None, init=False)
    _finish_reason: FinishReason | None = attrs.field(default=None, init=False)
    _raw_finish_reason: str | None = attrs.field(default=None, init=False)
    _id: str | None = attrs.field(default=None, init=False)
    _model: str | None = attrs.field(default=None, init=False)
    _request_id: str | None = attrs.field(default=None, init=False)
    _headers: dict[str, str] = attrs.field(factory=dict, init=False)
    _service_tier: str | None = attrs.field(default=None, init=False)
    _logprobs: tuple[TokenLogprob, ...] | None = attrs.field(default=None, init=False)
    _abandoned: Usage | None = attrs.field(default=None, init=False)
    _error: AllmError | None = attrs.field(default=None, init=False)
    _metadata: dict[str, Any] = attrs.field(factory=dict, init=False)
    ended: bool = attrs.field(default=False, init=False)

    def add(self, event: Any) -> None:
        """Fold one event.

        Raises:
            StreamError: `already_done`.
            TypeError: It is not an `AdapterEvent`.
        """
        if self.ended:
            raise StreamError(
                f"{type(event).__name__} came after the end of the response: an adapter's last event is "
                "MessageCompleted or Failed",
                reason="already_done",
            )
        if not self._builder.add(event):
            fold = _CALL_EVENTS.get(type(event))
            if fold is None:
                raise TypeError(f"{type(event).__name__} is not an event of a response; expected an allm.AdapterEvent")
            fold(self, event)

    def more(self, kind: type[Any], block_id: str, texts: list[str]) -> None:
        """Fold several deltas of one block at once.

        Args:
            kind: Their class: `TextDelta`, `ReasoningDelta` or `ToolCallDelta`.
            block_id: Their `id`.
            texts: The text of each.
        """
        self._builder.extend(kind, block_id, texts)

    def response(self) -> Response:
        """The response so far."""
        return Response(
            message=self._builder.message(),
            finish_reason=self._finish_reason,
            raw_finish_reason=self._raw_finish_reason,
            usage=self._usage or Usage(),
            model=self._model,
            id=self._id,
            request_id=self._request_id,
            headers=self._headers,
            service_tier=self._service_tier,
            logprobs=self._logprobs,
            error=self._error,
            abandoned_usage=self._abandoned,
            metadata=self._metadata,
            output_type=self.output_type,
        )

    result = response  # the name in the `Fold` protocol

    def failure(self) -> AllmError | None:
        """The failure that ended the response."""
        return self._error

    def facts(self) -> dict[str, Any]:
        """Attributes for telemetry."""
        return response_facts(self.response())

    def _started(self, event: MessageStarted) -> None:
        self._id = event.id or self._id
        self._model = event.model or self._model
        self._request_id = event.request_id or self._request_id
        self._headers = event.headers or self._headers
        self._abandoned = event.abandoned_usage or self._abandoned

    def _usage_reported(self, event: UsageReported) -> None:
        self._usage = event.usage if self._usage is None else self._usage.merge(event.usage)
        self._service_tier = event.service_tier or self._service_tier

    def _completed(self, event: MessageCompleted) -> None:
        self._id = event.id or self._id
        self._model = event.model or self._model
        self._service_tier = event.service_tier or self._service_tier
        self._logprobs = event.logprobs
        self._finish_reason = event.finish_reason
        self._raw_finish_reason = event.raw_finish_reason
        self._metadata = {**self._metadata, **event.metadata}
        # `event.message` is not used: the result is the fold of the events that were shown, so that the conformance
        # suite finds a decoder whose deltas and message differ. Building the message costs microseconds, once.
        self.ended = True

    def _ignored(self, event: RawChunk) -> None:
        """Raw chunks are for the consumer; a `Response` has no field for them."""

    def _failed(self, event: Failed) -> None:
        self._finish_reason = "error"
        self._raw_finish_reason = event.raw_finish_reason
        self._error = event.error
        if isinstance(event.error, AdapterError):
            self._request_id = self._request_id or event.error.request_id
            self._headers = self._headers or event.error.headers
        self.ended = True


_CALL_EVENTS: dict[type, Callable[[StreamCollector, Any], None]] = {
    MessageStarted: StreamCollector._started,
    UsageReported: StreamCollector._usage_reported,
    MessageCompleted: StreamCollector._completed,
    RawChunk: StreamCollector._ignored,
    Failed: StreamCollector._failed,
}


def total_usage(steps: Iterable[StepResult]) -> Usage:
    """The sum of the usage of several steps, including abandoned attempts and what tools have used themselves."""
    used = ((step.response.abandoned_usage, step.response.usage, step.tool_usage) for step in steps)
    return reduce(operator.add, (usage for all_of in used for usage in all_of if usage is not None), Usage())


def message_with_results(message: Message, results: dict[str, Message], why: str = "cancelled") -> list[Message]:
    """`message`, unless it is empty, and one result for each of its calls; a missing result becomes the error `why`."""
    if not message.content:
        return []
    text, calls = "this call did not run to completion", unique_calls(message.tool_calls)
    return [message, *(results.get(call.id) or error_message(call, why, text) for call in calls)]


@define(eq=False)
class StepFold:
    """Folds the events of one step that starts from `thread`.

    Attributes:
        tools: What calls have used that the step's tools made themselves; the same for all folds of the step.
    """

    thread: Thread
    output_type: Any = None
    tools: Tally = attrs.field(factory=Tally)
    _collector: StreamCollector = attrs.field(init=False)
    _results: dict[str, Message] = attrs.field(factory=dict, init=False)
    _earlier_response: Response | None = attrs.field(default=None, init=False)
    _step: StepResult | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._collector = StreamCollector(self.output_type)

    def add(self, event: Any) -> None:
        """Fold one event."""
        fold = _STEP_EVENTS.get(type(event))
        if fold is None:
            self._collector.add(event)
        else:
            fold(self, event)

    def more(self, kind: type[Any], block_id: str, texts: list[str]) -> None:
        """See `StreamCollector`."""
        self._collector.more(kind, block_id, texts)

    @property
    def response(self) -> Response:
        """The response so far."""
        return self._earlier_response or self._collector.response()

    def result(self) -> StepResult:
        """The step, or the part of it that has arrived."""
        if self._step is not None:
            return self._step
        response = self.response
        messages = message_with_results(response.message, self._results)
        return StepResult(
            thread=self.thread.add(*messages),
            response=response,
            tool_results=tuple(message for message in messages if message.role == "tool"),
            cancelled=response.error is None,
            tool_usage=self.tools.usage,
        )

    def failure(self) -> AllmError | None:
        """The failure that ended the step's response."""
        return self._step.response.error if self._step is not None else self._collector.failure()

    def facts(self) -> dict[str, Any]:
        """Attributes for telemetry."""
        return response_facts(self.response)

    def begin_with(self, unfinished: Unfinished) -> None:
        """Start from a response that arrived earlier, instead of a model call."""
        self._earlier_response = unfinished.response
        self._results = {call_id: outcome.message for call_id, outcome in unfinished.outcomes.items()}

    def _result(self, event: ToolResultEncoded | AskUserRequested | ToolHalted) -> None:
        self._results[event.tool_call.id] = event.message

    def _ignored(self, _event: Any) -> None:
        pass

    def _added(self, event: MessagesAdded) -> None:
        self.thread = self.thread.add(*event.messages)

    def _completed(self, event: StepCompleted) -> None:
        self._step = event.step


_STEP_EVENTS: dict[type, Callable[[StepFold, Any], None]] = {
    ToolResultEncoded: StepFold._result,
    AskUserRequested: StepFold._result,
    ToolHalted: StepFold._result,
    ToolExecutionStarted: StepFold._ignored,
    ToolExecutionCompleted: StepFold._ignored,
    ToolProgress: StepFold._ignored,
    MessagesAdded: StepFold._added,
    StepCompleted: StepFold._completed,
}


@define(eq=False)
class ChatFold:
    """Folds the events of a turn that starts from `thread`.

    Attributes:
        inbox: The messages that the user sends meanwhile; those that the events do not show are not lost either.
        tallies: The `tools` of each step, by its number; the same for all folds of the turn.
    """

    thread: Thread
    output_type: Any = None
    inbox: Inbox | None = None
    tallies: dict[int, Tally] = attrs.field(factory=dict[int, Tally])
    _steps: list[StepResult] = attrs.field(factory=list, init=False)
    _current: StepFold = attrs.field(init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _joined: set[int] = attrs.field(factory=set[int], init=False)
    _result: ChatResult | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._current = self._begin(self.thread)

    def _begin(self, thread: Thread) -> StepFold:
        return StepFold(thread, self.output_type, self.tallies.setdefault(len(self._steps), Tally()))

    def add(self, event: Any) -> None:
        """Fold one event."""
        kind = type(event)
        if kind is ChatCompleted:
            self._result = event.result
        elif kind is StepCompleted:
            self._steps.append(event.step)
            self._current = self._begin(event.step.thread)
            self._begun = False
        elif kind is MessagesAdded:
            self._current.add(event)
            self._joined.update(map(id, event.messages))
        else:
            self._begun = True
            self._current.add(event)

    def more(self, kind: type[Any], block_id: str, texts: list[str]) -> None:
        """See `StreamCollector`."""
        self._current.more(kind, block_id, texts)

    @property
    def current(self) -> StepFold:
        """The fold of the current or next step."""
        return self._current

    def begin_with(self, unfinished: Unfinished) -> None:
        """Start from a response that arrived earlier, instead of a model call."""
        self._current.begin_with(unfinished)
        self._begun = True

    def result(self) -> ChatResult:
        """The turn. While it is unfinished, `halted_reason` is `cancelled`, or `error` after a failure."""
        if self._result is not None:
            return self._result
        steps = list(self._steps)
        error: AllmError | None = None
        thread = self._current.thread
        begun = list(steps)
        if self._begun:
            partial = self._current.result()
            thread = partial.thread
            error = partial.response.error
            begun.append(partial)
        if self.inbox is not None and self.inbox.sent:
            thread = with_messages(thread, self.inbox.missing(self._joined))
        return ChatResult(
            thread=thread,
            final_response=begun[-1].response if begun else None,
            steps=steps,
            halted_reason="error" if error is not None else "cancelled",
            usage=total_usage(begun),
            error=error,
        )

    def failure(self) -> AllmError | None:
        """The failure that ended the turn."""
        return self._result.error if self._result is not None else self._current.failure()

    def facts(self) -> dict[str, Any]:
        """Attributes for telemetry."""
        result = self.result()
        return {
            "halted_reason": result.halted_reason,
            "steps": len(result.steps),
            "usage": result.usage,
            "error": result.error,
        }


def fold_burst(fold: Fold[Any], events: Iterable[Any]) -> None:
    """Fold events in their order, those that a filter hides too; the texts of one block at once."""
    kind: type[Any] = object  # of the newest event, if it is a delta
    block_id = ""
    texts: list[str] = []
    for event in events:
        if type(event) is kind and event.id == block_id:
            texts.append(event.arguments_delta if kind is ToolCallDelta else event.delta)
            continue
        if texts:
            fold.more(kind, block_id, texts)
            texts = []
        shown = cast("Any", event.event if type(event) is Hidden else event)
        fold.add(shown)
        kind = type(shown) if type(shown) in DELTAS else object
        block_id = "" if kind is object else shown.id
    if texts:
        fold.more(kind, block_id, texts)
