"""The fold: events in, result out. Every blocking call is this fold over the stream that the streaming call shows.

Any prefix of a stream folds to a valid value: text as far as it came, calls marked when they are incomplete, and
`finish_reason` None while no end was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from allm.data.errors import AllmError, StreamError
from allm.data.events import Failed, MessageCompleted, MessageStarted, RawChunk, UsageReported
from allm.data.message_builder import MessageBuilder
from allm.data.response import FinishReason, Response, Usage

__all__ = ["StreamCollector"]


@attrs.define(eq=False)
class StreamCollector:
    """Folds the events of one model call.

    Attributes:
        output_type: The class that `response.parsed()` gives.

    Adding an event after `MessageCompleted` or `Failed` is a programmer's error.
    """

    output_type: type | None = None
    _assembly: MessageBuilder = attrs.field(factory=MessageBuilder, init=False)
    _usage: Usage = attrs.field(factory=Usage, init=False)
    _finish_reason: FinishReason | None = attrs.field(default=None, init=False)
    _raw_finish_reason: str | None = attrs.field(default=None, init=False)
    _id: str | None = attrs.field(default=None, init=False)
    _model: str | None = attrs.field(default=None, init=False)
    _request_id: str | None = attrs.field(default=None, init=False)
    _error: AllmError | None = attrs.field(default=None, init=False)
    _metadata: dict[str, Any] = attrs.field(factory=dict, init=False)
    ended: bool = attrs.field(default=False, init=False)

    def add(self, event: Any) -> None:
        """Fold one event.

        Raises:
            StreamError: `already_done`.
            TypeError: It is not an event of an answer.
        """
        if self.ended:
            raise StreamError(
                f"{type(event).__name__} came after the end of the answer: an adapter's last event is MessageCompleted "
                "or Failed",
                reason="already_done",
            )
        if not self._assembly.add(event):
            step = _STEPS.get(type(event))
            if step is None:
                raise TypeError(f"{type(event).__name__} is not an event of an answer; expected an allm.AdapterEvent")
            step(self, event)

    def response(self) -> Response:
        """The answer as far as it came."""
        return Response(
            message=self._assembly.message(),
            finish_reason=self._finish_reason,
            raw_finish_reason=self._raw_finish_reason,
            usage=self._usage,
            model=self._model,
            id=self._id,
            request_id=self._request_id,
            error=self._error,
            metadata=self._metadata,
            output_type=self.output_type,
        )

    def _started(self, event: MessageStarted) -> None:
        self._id = event.id or self._id
        self._model = event.model or self._model
        self._request_id = event.request_id or self._request_id

    def _usage_reported(self, event: UsageReported) -> None:
        self._usage = self._usage.merge(event.usage)

    def _completed(self, event: MessageCompleted) -> None:
        self._id = event.id or self._id
        self._model = event.model or self._model
        self._finish_reason = event.finish_reason
        self._raw_finish_reason = event.raw_finish_reason
        self._metadata = {**self._metadata, **event.metadata}
        # `event.message` is not taken: the fold of what was shown is the result, so that a decoder whose deltas and
        # message differ is found out by the conformance suite. Building it costs microseconds, once.
        self.ended = True

    def _passed_over(self, event: RawChunk) -> None:
        """It is shown, and says nothing that a result has a place for."""

    def _failed(self, event: Failed) -> None:
        self._finish_reason = "error"
        self._raw_finish_reason = event.raw_finish_reason
        self._error = event.error
        self._request_id = self._request_id or getattr(event.error, "request_id", None)
        self.ended = True


_STEPS: dict[type, Callable[[StreamCollector, Any], None]] = {
    MessageStarted: StreamCollector._started,
    UsageReported: StreamCollector._usage_reported,
    MessageCompleted: StreamCollector._completed,
    RawChunk: StreamCollector._passed_over,
    Failed: StreamCollector._failed,
}
