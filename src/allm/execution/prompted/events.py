"""The events of a reply that has its calls in its text: as if the model had made the calls natively."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.citation import Citation
from allm.data.events import (
    AdapterEvent,
    CitationAdded,
    Failed,
    MessageCompleted,
    MessageStarted,
    RawChunk,
    TextCompleted,
    TextDelta,
    ToolCallCompleted,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
)
from allm.data.json.text import parse_arguments
from allm.data.message_builder import MessageBuilder, UniqueIds
from allm.execution.prompted.reply import Piece, ReplyReader

__all__ = ["RepliesWithCalls"]

_ENDS = frozenset({"answered", "called", "cut_off"})
_WITHOUT_CONTENT = (MessageStarted, UsageReported, RawChunk)


@define(eq=False)
class _Block:
    """A text or a call that is growing."""

    id: str
    name: str = ""
    is_prose: bool = False
    pieces: list[str] = attrs.field(factory=list[str])


@define(eq=False)
class RepliesWithCalls:
    """The events of one attempt, with calls and text in place of the text that the model wrote.

    Args:
        reader: Reads it.
        taken: Ids of the calls in the conversation.
    """

    _reader: ReplyReader
    _ids: UniqueIds = attrs.field(converter=UniqueIds)
    _builder: MessageBuilder = attrs.field(factory=MessageBuilder, init=False)
    _text: _Block | None = attrs.field(default=None, init=False)
    _call: _Block | None = attrs.field(default=None, init=False)
    _read: dict[str, int] = attrs.field(factory=dict[str, int], init=False)  # characters of each block of the model's
    _blocks: int = attrs.field(default=0, init=False)
    _citations: list[Citation] = attrs.field(factory=list[Citation], init=False)
    _has_calls: bool = attrs.field(default=False, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    @classmethod
    def of(cls, tools: Container[str], taken: frozenset[str], *, is_json: bool, in_string: bool) -> RepliesWithCalls:
        """Those of a reply as `ReplyReader` reads it; `taken` are the ids of the calls in the conversation."""
        return cls(ReplyReader(tools, is_json=is_json, in_string=in_string), taken)

    def changed(self, events: Iterable[AdapterEvent]) -> Iterator[AdapterEvent]:
        """What the events become."""
        for event in events:
            for made in self._changed(event):
                self._builder.add(made)
                yield made

    def held(self) -> Iterator[AdapterEvent]:
        """Text that was held back of a reply that goes no further; a call in it stays incomplete."""
        if not self._ended:
            self._ended = True
            yield from self._made(piece for piece in self._reader.end() if piece[0] not in _ENDS)
            yield from self._cited()

    def _changed(self, event: AdapterEvent) -> Iterator[AdapterEvent]:
        if isinstance(event, TextDelta) and not event.refusal:
            self._read[event.id] = self._read.get(event.id, 0) + len(event.delta)
            yield from self._made(self._reader.read(event.delta))
        elif isinstance(event, TextCompleted) and not event.refusal:
            yield from self._made(self._reader.read(event.text[self._read.get(event.id, 0) :]))
            self._read[event.id] = len(event.text)
            if self._text is not None and self._text.is_prose:
                yield from self._text_completed(event.metadata, event.made_at)
        elif isinstance(event, CitationAdded):
            self._citations.append(event.citation)
        elif isinstance(event, MessageCompleted):
            yield from self._completed(event)
        elif isinstance(event, Failed):
            yield from self.held()
            yield event
        else:
            if self._text is not None and self._text.is_prose and not isinstance(event, _WITHOUT_CONTENT):
                yield from self._text_completed()  # what comes between two texts stays between them
            yield event

    def _completed(self, event: MessageCompleted) -> Iterator[AdapterEvent]:
        self._ended = True
        yield from self._made(self._reader.end())
        yield from self._text_completed()
        for cited in self._cited():
            self._builder.add(cited)
            yield cited
        finish = event.finish_reason
        if finish == "stop" and self._has_calls:
            finish = "tool_calls"
        message = attrs.evolve(event.message, content=self._builder.content())
        yield attrs.evolve(event, message=message, finish_reason=finish)

    def _cited(self) -> Iterator[CitationAdded]:
        """The citations, of the first text; their places are in all that the model wrote, which may be more."""
        block, length = "reply-0", self._builder.length_of("reply-0")
        same = self._blocks == 1 and length == sum(self._read.values())
        for citation in self._citations if self._blocks else ():
            yield CitationAdded(block, citation.within(length if same else -1))
        self._citations = []

    def _made(self, pieces: Iterable[Piece]) -> Iterator[AdapterEvent]:
        for kind, text in pieces:
            if kind in {"prose", "answer"}:
                is_prose = kind == "prose"
                if self._text is not None and self._text.is_prose is not is_prose:
                    yield from self._text_completed()
                if self._text is None:
                    self._text = _Block(f"reply-{self._blocks}", is_prose=is_prose)
                    self._blocks += 1
                self._text.pieces.append(text)
                yield TextDelta(self._text.id, text)
            elif kind == "answered":
                yield from self._text_completed()
            elif kind == "call":
                yield from self._text_completed()
                self._call = _Block(self._ids.new(None), text)
                self._has_calls = True
                yield ToolCallStarted(self._call.id, text)
            elif self._call is not None:
                yield self._of_call(self._call, kind, text)

    def _of_call(self, call: _Block, kind: str, text: str) -> ToolCallDelta | ToolCallCompleted:
        if kind == "arguments":
            call.pieces.append(text)
            return ToolCallDelta(call.id, text)
        raw = "".join(call.pieces)
        self._call = None
        return ToolCallCompleted(call.id, call.name, None if kind == "cut_off" else parse_arguments(raw), raw)

    def _text_completed(
        self, metadata: dict[str, Any] | None = None, made_at: str | None = None
    ) -> Iterator[TextCompleted]:
        block, self._text = self._text, None
        if block is not None:
            yield TextCompleted(block.id, "".join(block.pieces), metadata=metadata or {}, made_at=made_at)
