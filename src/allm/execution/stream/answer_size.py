"""Counts what one answer holds as it arrives, and refuses what exceeds the limits of the engine.

Every event of every adapter passes here on its way to the consumer, those that are held back included. The text of a
block that completes is counted once, whether it came in deltas, whole, or both.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import attrs

from allm.data.errors import AdapterError
from allm.data.events import (
    ImageCompleted,
    MessageStarted,
    ProviderPartCompleted,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from allm.data.json.measure import measure
from allm.data.storable import storable
from allm.http.answer_limits import AnswerLimits

__all__ = ["AnswerSize"]

_LIMITED = {"text": "text_bytes", "reasoning": "reasoning_bytes"}


@attrs.define(eq=False)
class AnswerSize:
    """The size of one answer so far.

    Attributes:
        limits: What it may hold.
        provider: Named in errors.
    """

    limits: AnswerLimits
    provider: str | None = None
    _request_id: str | None = attrs.field(default=None, init=False)
    _blocks: dict[tuple[str, str], int] = attrs.field(factory=dict[tuple[str, str], int], init=False)
    _room: dict[str, float] = attrs.field(init=False)  # what is left of each limit
    _counts: dict[str, int] = attrs.field(factory=dict[str, int], init=False)  # sizes of the fields of the usage

    def __attrs_post_init__(self) -> None:
        limits: dict[str, int | None] = attrs.asdict(self.limits)
        self._room = {name: inf if limit is None else limit for name, limit in limits.items()}

    def admit(self, event: Any) -> Any:
        """Count an event, and return it as a conversation can keep it.

        Raises:
            AdapterError: `answer_too_large`.
        """
        step = _STEPS.get(type(event))
        if step is None:
            return storable(event)
        try:
            event = storable(event)
            step(self, event)
        except AdapterError as error:
            error.provider, error.request_id = self.provider, self._request_id
            raise
        return event

    # --- sums ---

    def _add(self, name: str, amount: int) -> None:
        left = self._room[name] = self._room[name] - amount
        if left < 0:
            raise self.limits.exceeded(name)

    def _grow(self, kind: str, block_id: str, size: int, *, whole: bool = False) -> None:
        """A block has `size` bytes more, or, if it came `whole`, at least that many in all."""
        key = (kind, block_id)
        before = self._blocks.get(key)
        if before is None:
            self._begin(kind, block_id)
            before = 0
        more = max(0, size - before) if whole else size
        after = self._blocks[key] = before + more
        name = _LIMITED.get(kind)
        if name is not None:
            self._add(name, more)
        elif kind == "call" and after > self._room["argument_bytes"]:  # a limit of each call
            raise self.limits.exceeded("argument_bytes")
        self._add("total_bytes", more)

    def _begin(self, kind: str, block_id: str) -> None:
        self._add("parts", 1)
        if kind == "call":
            self._add("tool_calls", 1)
        self._add("total_bytes", _bytes(block_id))

    def _data(self, data: Any) -> int:
        """Count the values of open data; returns its size."""
        if not data:
            return 0
        most = self.limits.values
        found = measure(data) if most is None else measure(data, most=most)
        self._add("values", found.values)
        return found.size

    # --- events ---

    def _started(self, event: MessageStarted) -> None:
        self._request_id = event.request_id or self._request_id

    def _text_delta(self, event: TextDelta) -> None:
        self._grow("text", event.id, _bytes(event.delta))

    def _text_completed(self, event: TextCompleted) -> None:
        self._grow("text", event.id, _bytes(event.text), whole=True)
        self._add("total_bytes", self._data(event.metadata))

    def _reasoning_delta(self, event: ReasoningDelta) -> None:
        self._grow("reasoning", event.id, _bytes(event.delta))

    def _reasoning_completed(self, event: ReasoningCompleted) -> None:
        self._grow("reasoning", event.id, _bytes(event.text), whole=True)
        opaque = len(event.signature or "") + len(event.encrypted_content or "") + len(event.item_id or "")
        self._add("total_bytes", opaque + self._data(event.metadata))

    def _call_started(self, event: ToolCallStarted) -> None:
        self._grow("call", event.id, 0)
        self._add("total_bytes", _bytes(event.name))

    def _call_delta(self, event: ToolCallDelta) -> None:
        self._grow("call", event.id, _bytes(event.arguments_delta))

    def _call_completed(self, event: ToolCallCompleted) -> None:
        size = max(_bytes(event.raw_arguments or ""), self._data(event.arguments))
        self._grow("call", event.id, size, whole=True)
        self._add("total_bytes", self._data(event.metadata))

    def _provider_part(self, event: ProviderPartCompleted) -> None:
        self._grow("provider", event.id, self._data(event.part.data), whole=True)

    def _image(self, event: ImageCompleted) -> None:
        _, data = event.part.image.source
        self._grow("image", event.id, len(data), whole=True)
        self._add("total_bytes", self._data(event.part.metadata))

    def _usage(self, event: UsageReported) -> None:
        """Reports are cumulative, so that only those of new fields add up."""
        for name, value in event.usage.extra.items():
            if (size := measure(value).size + _bytes(name)) > (before := self._counts.get(name, 0)):
                self._counts[name] = size
                self._add("total_bytes", size - before)


_STEPS: dict[type, Callable[[AnswerSize, Any], None]] = {
    MessageStarted: AnswerSize._started,
    TextDelta: AnswerSize._text_delta,
    TextCompleted: AnswerSize._text_completed,
    ReasoningDelta: AnswerSize._reasoning_delta,
    ReasoningCompleted: AnswerSize._reasoning_completed,
    ToolCallStarted: AnswerSize._call_started,
    ToolCallDelta: AnswerSize._call_delta,
    ToolCallCompleted: AnswerSize._call_completed,
    ProviderPartCompleted: AnswerSize._provider_part,
    ImageCompleted: AnswerSize._image,
    UsageReported: AnswerSize._usage,
}


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
