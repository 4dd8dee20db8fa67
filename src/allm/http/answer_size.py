"""What one answer may hold: it is counted as it arrives, refused beyond the limits, and made fit to be saved.

Every event of every adapter passes here on its way to the consumer, those that are held back included. The text of a
block that completes is counted once, whether it came in deltas, whole, or both. Most events are deltas of the block
that the last one belonged to, so these are only added up until another event comes.

A conversation is saved as a document, which has limits (`data/json/text.py`), while a provider may send any JSON.
`storable` sees to it that whatever an answer holds can be saved:

- Arguments beyond the limits are no arguments: the call keeps their text, as it does where they are no JSON, and the
  model is told so instead of the tool being run.
- Data that goes back to the provider, such as the result of a server-side tool, cannot be left out without making the
  next request invalid, so the answer fails.
- A note about the answer, which goes nowhere, is replaced by a sentence.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from math import inf
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.content import ToolCall
from allm.data.errors import AdapterError
from allm.data.events import (
    AdapterEvent,
    CitationAdded,
    Failed,
    HostedCallCompleted,
    HostedCallStarted,
    ImageCompleted,
    MessageCompleted,
    MessageStarted,
    ProviderPartCompleted,
    RawChunk,
    ReasoningCompleted,
    ReasoningDelta,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from allm.data.file_ref import FileRef
from allm.data.json.text import dumps, measure, text_bytes, value_problem
from allm.http.answer_limits import AnswerLimits

__all__ = ["WITH_OPEN_DATA", "AnswerSize", "storable"]

_WRITTEN = ("text", "reasoning", "call")
_LIMITED = {"text": "text_bytes", "reasoning": "reasoning_bytes"}
_DELTAS: dict[type, tuple[str, str]] = {
    TextDelta: ("text", "text_bytes"),
    ReasoningDelta: ("reasoning", "reasoning_bytes"),
    ToolCallDelta: ("call", "argument_bytes"),
}
"""For each kind of delta, the kind of its block, and what limits it besides `total_bytes`."""


@functools.lru_cache(maxsize=64)
def _room(limits: AnswerLimits) -> dict[str, float]:
    """The limits as numbers. Kept, because each call asks, and few limits are in use."""
    given: dict[str, int | None] = attrs.asdict(limits)
    return {name: inf if limit is None else limit for name, limit in given.items()}


@define(eq=False)
class AnswerSize:
    """The size of one answer so far.

    Attributes:
        limits: What it may hold.
        provider: Named in errors.
        shows_raw_chunks: Whether the consumer gets the raw chunks, which are no part of the answer.
        is_full: The answer has exceeded a limit.
    """

    limits: AnswerLimits
    provider: str | None = None
    shows_raw_chunks: bool = False
    is_full: bool = attrs.field(default=False, init=False)
    _request_id: str | None = attrs.field(default=None, init=False)
    _blocks: dict[tuple[str, str], int] = attrs.field(factory=dict[tuple[str, str], int], init=False)
    _room: dict[str, float] = attrs.field(init=False)  # what is left of each limit
    _counts: dict[str, int] = attrs.field(factory=dict[str, int], init=False)  # sizes of the fields of the usage
    # Deltas of one block that `_blocks` and `_room` do not have yet: their type, its id, and their bytes.
    _growing: type | None = attrs.field(default=None, init=False)
    _growing_id: str = attrs.field(default="", init=False)
    _unbooked: int = attrs.field(default=0, init=False)
    _written: int = attrs.field(default=0, init=False)  # bytes, without those
    _most_unbooked: float = attrs.field(default=0, init=False)  # the bytes that certainly exceed no limit

    def __attrs_post_init__(self) -> None:
        self._room = dict(_room(self.limits))

    def written(self) -> int:
        """Bytes of what the model wrote so far: texts, reasoning and arguments."""
        return self._written + self._unbooked

    def grow(self, events: tuple[Any, ...]) -> bool:
        """Count a burst that only has more deltas of the same block, and room for them; False: `admit` has to see it.

        Most bursts are such: they cost one addition for each event.
        """
        kind: Any = self._growing
        block_id, size = self._growing_id, self._unbooked
        for event in events:
            if type(event) is kind and event.id == block_id:
                delta = event.arguments_delta if kind is ToolCallDelta else event.delta
                size += len(delta) if delta.isascii() else text_bytes(delta)
            elif type(event) is not RawChunk or not self.shows_raw_chunks:
                return False
        if size > self._most_unbooked:
            return False
        self._unbooked = size
        return True

    def admit(self, events: tuple[AdapterEvent, ...]) -> tuple[AdapterEvent, ...]:
        """Count a burst, and return it as a conversation can keep it.

        From the first event on that the answer has no room for, it is replaced by `Failed` with `answer_too_large`.
        """
        if self._unbooked and self._growing is not None:
            self._grow(_DELTAS[self._growing][0], self._growing_id, self._unbooked)
        self._growing, self._unbooked = None, 0
        admitted, place, has_room = list[AdapterEvent](), 0, True
        try:
            while place < len(events):
                event = events[place]
                kept = storable(event) if type(event) in WITH_OPEN_DATA else event
                if (count := _COUNTED.get(type(kept))) is not None:
                    count(self, kept)
                admitted.append(kept)
                place += 1
                if has_room and place < len(events) and type(event) is type(events[place]) and type(event) in _DELTAS:
                    more, has_room = self._more_of(event, events, place)
                    admitted += events[place : place + more]
                    place += more
        except AdapterError as error:
            error.provider, error.request_id = self.provider, self._request_id
            self.is_full = True
            return (*admitted, Failed(error))
        if events:
            self._expect_more_of(events[-1])
        return tuple(admitted)

    def _more_of(self, event: Any, events: tuple[Any, ...], start: int) -> tuple[int, bool]:
        """Count the deltas that follow one of the same block at once: how many, and whether there is room for all."""
        kind, end, size = type(event), start, 0
        while end < len(events) and type(events[end]) is kind and events[end].id == event.id:
            delta = events[end].arguments_delta if kind is ToolCallDelta else events[end].delta
            size += _bytes(delta)
            end += 1
        self._expect_more_of(event)
        most, self._growing = self._most_unbooked, None
        if size > most:
            return 0, False  # the event that is too much is found one by one
        self._grow(_DELTAS[kind][0], event.id, size)
        return end - start, True

    def _expect_more_of(self, event: Any) -> None:
        """Add up what comes from now on, as long as it is more of the block that `event` is a delta of."""
        if type(event) in _DELTAS:
            kind, limit = _DELTAS[type(event)]
            room = self._room[limit] - (self._blocks[kind, event.id] if kind == "call" else 0)
            self._growing, self._growing_id = type(event), event.id
            self._most_unbooked = min(room, self._room["total_bytes"])

    # --- sums ---

    def _add(self, name: str, amount: int) -> None:
        left = self._room[name] = self._room[name] - amount
        if left < 0:
            raise self.limits.exceeded(name)

    def _grow(self, kind: str, block_id: str, size: int, *, whole: bool = False) -> None:
        """A block has `size` bytes more, or, if it came `whole`, at least that many in all."""
        key = (kind, block_id)
        if (before := self._blocks.get(key, -1)) < 0:
            self._begin(kind, block_id)
            before = 0
        more = max(0, size - before) if whole else size
        self._blocks[key] = after = before + more
        self._written += more if kind in _WRITTEN else 0
        if (name := _LIMITED.get(kind)) is not None:
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
        found = measure(data) if self.limits.values is None else measure(data, most=self.limits.values)
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

    def _citation(self, event: CitationAdded) -> None:
        citation = event.citation
        texts = (citation.quote, citation.title, citation.url, citation.file_id)
        self._add("values", 1)
        self._add("total_bytes", sum(_bytes(text) for text in texts if text) + self._data(citation.data))

    def _reasoning_delta(self, event: ReasoningDelta) -> None:
        self._grow("reasoning", event.id, _bytes(event.delta))

    def _reasoning_completed(self, event: ReasoningCompleted) -> None:
        self._grow("reasoning", event.id, _bytes(event.text), whole=True)
        opaque = sum(map(len, filter(None, (event.signature, event.encrypted_content, event.item_id))))
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

    def _hosted(self, event: HostedCallStarted | HostedCallCompleted) -> None:
        call = event.call
        size = sum(self._data(value) for value in (call.data, call.input, call.output))
        self._grow(type(event).__name__, event.id, size + _bytes(call.id + call.kind), whole=True)

    def _image(self, event: ImageCompleted) -> None:
        _, data = event.part.image.source
        self._grow("image", event.id, 0 if isinstance(data, FileRef) else len(data), whole=True)
        self._add("total_bytes", self._data(event.part.metadata))

    def _usage(self, event: UsageReported) -> None:
        """Reports are cumulative, so that only those of new fields add up."""
        for name, value in event.usage.extra.items():
            if (size := measure(value).size + _bytes(name)) > (before := self._counts.get(name, 0)):
                self._counts[name] = size
                self._add("total_bytes", size - before)


_COUNTED: dict[type, Callable[[AnswerSize, Any], None]] = {
    MessageStarted: AnswerSize._started,
    TextDelta: AnswerSize._text_delta,
    TextCompleted: AnswerSize._text_completed,
    CitationAdded: AnswerSize._citation,
    ReasoningDelta: AnswerSize._reasoning_delta,
    ReasoningCompleted: AnswerSize._reasoning_completed,
    ToolCallStarted: AnswerSize._call_started,
    ToolCallDelta: AnswerSize._call_delta,
    ToolCallCompleted: AnswerSize._call_completed,
    ProviderPartCompleted: AnswerSize._provider_part,
    HostedCallStarted: AnswerSize._hosted,
    HostedCallCompleted: AnswerSize._hosted,
    ImageCompleted: AnswerSize._image,
    UsageReported: AnswerSize._usage,
}


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else text_bytes(text)


# --- what can be kept ---


def storable(event: Any) -> Any:
    """The event as it can be kept; the same one if it can be kept as it is, which most can.

    Raises:
        AdapterError: `answer_too_large`: it holds opaque data that cannot be kept.
    """
    step = _KEPT.get(type(event))
    return event if step is None else step(event)


def _kept_call(event: ToolCallCompleted) -> AdapterEvent:
    if event.metadata:
        _check("fields of a tool call", event.metadata)
    changes = _without_arguments(event)
    return attrs.evolve(event, **changes) if changes else event


def _without_arguments(call: ToolCallCompleted | ToolCall) -> dict[str, Any]:
    if call.arguments is None or value_problem(call.arguments) is None:
        return {}
    raw = call.raw_arguments
    return {"arguments": None, "raw_arguments": dumps(dict(call.arguments)).decode() if raw is None else raw}


def _kept_part(event: ProviderPartCompleted) -> AdapterEvent:
    _check("an item", event.part.data)
    return event


def _kept_hosted(event: HostedCallStarted | HostedCallCompleted) -> AdapterEvent:
    _check("an item", event.call.data)
    for value in (event.call.input, event.call.output):
        _check("a call of its own tools", {"value": value})
    return event


def _kept_text(event: TextCompleted | ReasoningCompleted) -> AdapterEvent:
    if event.metadata:
        _check("fields of a text", event.metadata)
    return event


def _kept_citation(event: CitationAdded) -> AdapterEvent:
    if event.citation.data:
        _check("a citation", event.citation.data)
    return event


def _kept_image(event: ImageCompleted) -> AdapterEvent:
    if event.part.metadata:
        _check("fields of an image", event.part.metadata)
    return event


def _check(what: str, data: Mapping[str, Any]) -> None:
    problem = value_problem(data)
    if problem is not None:
        message = (
            f"the provider sent {what} that {problem}, more than a conversation can keep; without it the conversation "
            "could not be sent again, so the answer ends here, and what came before is kept"
        )
        raise AdapterError(message, reason="answer_too_large")


def _kept_usage(event: UsageReported) -> AdapterEvent:
    extra = _notes(event.usage.extra)
    return event if extra is None else attrs.evolve(event, usage=attrs.evolve(event.usage, extra=extra))


def _kept_message(event: MessageCompleted) -> AdapterEvent:
    changes: dict[str, Any] = {}
    metadata = {key: _notes(value) if isinstance(value, Mapping) else None for key, value in event.metadata.items()}
    if any(notes is not None for notes in metadata.values()):
        kept = {key: value if metadata[key] is None else metadata[key] for key, value in event.metadata.items()}
        changes["metadata"] = kept
    content = event.message.content
    calls = [] if isinstance(content, str) else [part for part in content if isinstance(part, ToolCall)]
    unfit = {id(call): change for call in calls if (change := _without_arguments(call))}
    if unfit:
        kept_parts = [attrs.evolve(part, **unfit.get(id(part), {})) for part in event.message.parts]
        changes["message"] = attrs.evolve(event.message, content=kept_parts)
    return attrs.evolve(event, **changes) if changes else event


def _notes(notes: Mapping[str, Any]) -> dict[str, Any] | None:
    """The notes with a sentence in the place of each that cannot be kept; None: all can."""
    problems = {key: problem for key, value in notes.items() if (problem := value_problem(value)) is not None}
    if not problems:
        return None
    return {key: f"left out: it {problems[key]}" if key in problems else value for key, value in notes.items()}


_KEPT: dict[type, Callable[[Any], AdapterEvent]] = {
    ToolCallCompleted: _kept_call,
    ProviderPartCompleted: _kept_part,
    HostedCallStarted: _kept_hosted,
    HostedCallCompleted: _kept_hosted,
    TextCompleted: _kept_text,
    CitationAdded: _kept_citation,
    ReasoningCompleted: _kept_text,
    ImageCompleted: _kept_image,
    UsageReported: _kept_usage,
    MessageCompleted: _kept_message,
}

WITH_OPEN_DATA = frozenset(_KEPT)
"""Types of the events that may hold data of any shape: no other needs `storable`."""
