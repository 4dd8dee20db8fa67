"""The tool calls of a Chat Completions answer, put together from their pieces.

OpenAI names a call by its `index` in every piece, and gives its id and name in the first one only. What others do:
every call has index 0; there is no index, or no id, or neither, and each call comes whole; two calls have the same id;
the id comes late; the name comes with every piece; every piece has a new id, which means nothing as no name comes with
it.

How a piece finds its call. Its place is its index; without one, its position in the array of its chunk.

1. It belongs to the call with the same id and index, or with the same id, if it has neither index nor name.
2. Else to the last call at its place, unless it brings a name, and an id that is not that call's: then it begins
   another.
3. Else it begins a call.
4. A piece with a name and arguments for a call that has both and is whole begins another one all the same: that is how
   calls without ids follow each other at index 0.

5. A piece without name, id, index and text has fields that belong to the last call, which are sent late.

A call is announced, and gets its id, when its name is known; what came before waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.adapters import Pieces, UniqueIds, as_count, as_object, as_objects, as_text, dumps
from allm.data.events import AdapterEvent, ToolCallDelta, ToolCallStarted
from allm.providers.openai.argument_end import ArgumentEnd
from allm.providers.openai.chat_fields import FIELDS, merge_fields, settled
from allm.providers.openai.shared_encode import CUSTOM_CALL

__all__ = ["CallDecoder"]

Index = int | str | None

_OF_A_CALL = frozenset({"index", "id", "type", "function", "custom"})
_OF_A_FUNCTION = frozenset({"name", "arguments", "input", "parsed", "parsed_arguments"})


@attrs.frozen
class _Piece:
    """One element of `tool_calls`."""

    sent_id: str | None
    index: Index
    position: int
    name: str | None
    text: str | None  # more of the arguments
    custom: bool  # they are free text
    fields: dict[str, Any]  # that only the service knows

    @property
    def place(self) -> tuple[Index, int]:
        return (self.index, self.position if self.index is None else 0)


def _read(delta: dict[str, Any], position: int) -> _Piece:
    sent = delta.get("index")
    count = as_count(sent)
    custom = _is_custom(delta)
    function = as_object(delta.get("custom" if custom else "function"))
    text = function.get("arguments", function.get("input"))
    if isinstance(text, dict):  # Ollama sends the object itself
        text = dumps(text).decode()
    return _Piece(
        as_text(delta.get("id")),
        as_text(sent) if count is None else count,
        position,
        as_text(function.get("name")),
        as_text(text),
        custom,
        _fields_of(delta),
    )


def _fields_of(delta: Mapping[str, Any]) -> dict[str, Any]:
    """What a piece of a call has beyond the call; those of its function are under `function`."""
    fields = {key: value for key, value in delta.items() if key not in _OF_A_CALL and value}
    inner = as_object(delta.get("function"))
    if not _OF_A_FUNCTION.issuperset(inner):
        fields["function"] = {key: value for key, value in inner.items() if key not in _OF_A_FUNCTION and value}
    return fields


def _is_custom(delta: dict[str, Any]) -> bool:
    """Whether a piece is of a call with free text: some servers send both objects, one of them empty."""
    custom, function = as_object(delta.get("custom")), as_object(delta.get("function"))
    if not custom or not function:
        return bool(custom) and delta.get("type") != "function"
    return delta.get("type") == "custom" or (any(custom.values()) and not any(function.values()))


def _is_late(piece: _Piece) -> bool:
    return piece.sent_id is None and piece.index is None and piece.name is None and piece.text is None


@attrs.define(eq=False)
class _Call:
    place: int  # among the calls of the answer
    sent_id: str | None
    index: Index
    id: str | None = None  # its own, unique in the answer, once it is announced
    name: str = ""
    custom: bool = False
    fields: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)
    pieces: Pieces = attrs.field(factory=Pieces, init=False)
    unread: Pieces = attrs.field(factory=Pieces, init=False)  # those that `end` has not seen
    waiting: list[str] = attrs.field(factory=list[str], init=False)  # pieces that came before the name
    end: ArgumentEnd = attrs.field(factory=ArgumentEnd, init=False)

    def is_whole(self) -> bool:
        """Whether its arguments need no more text."""
        new, self.unread = self.unread.text(), Pieces()
        return self.end.is_reached(new, self.pieces)

    def take(self, piece: _Piece) -> None:
        """Take what a piece says of the call."""
        self.sent_id = self.sent_id or piece.sent_id
        self.name = self.name or piece.name or ""
        self.custom = self.custom or piece.custom
        if piece.fields:
            merge_fields(self.fields, piece.fields)
        if piece.text is not None:
            self.pieces.add(piece.text)
            self.unread.add(piece.text)
            self.waiting.append(piece.text)


@attrs.define(eq=False)
class CallDecoder:
    """Decodes the calls of one answer."""

    begun: list[_Call] = attrs.field(factory=list[_Call], init=False)
    _latest: dict[tuple[Index, int], _Call] = attrs.field(factory=dict[tuple[Index, int], _Call], init=False)
    # The newest call that was sent with an id, and with an id and an index.
    _by_id: dict[tuple[str, Index] | str, _Call] = attrs.field(factory=dict[tuple[str, Index] | str, _Call], init=False)
    _announced_calls: dict[str, _Call] = attrs.field(factory=dict[str, _Call], init=False)
    _ids: UniqueIds = attrs.field(factory=UniqueIds, init=False)

    def decode(self, deltas: Any) -> list[AdapterEvent]:
        """The events of one `tool_calls`."""
        events: list[AdapterEvent] = []
        for position, delta in enumerate(as_objects(deltas)):
            piece = _read(delta, position)
            call = self._call_of(piece)
            call.take(piece)
            self._know(call)
            if call.name:
                events += self._announced(call)
        return events

    def more(self, index: int, texts: list[str]) -> str | None:
        """Take more arguments of the newest call with this index; its id, None if it has not been announced."""
        call = self._latest.get((index, 0))
        if call is None or call.id is None:
            return None
        call.pieces.extend(texts)
        call.unread.extend(texts)
        return call.id

    def complete(self) -> list[AdapterEvent]:
        """The events at the end of the answer: a call that never had a name is shown without one, and not lost."""
        unnamed = [call for call in self.begun if call.id is None and call.waiting]
        return [event for call in unnamed for event in self._announced(call)]

    def kept(self, call_id: str) -> dict[str, Any]:
        """What has to go back with the call: that its input is free text, and the fields of the service."""
        call = self._announced_calls[call_id]
        kind = {"type": CUSTOM_CALL} if call.custom else {}
        return {**kind, FIELDS: settled(call.fields)} if call.fields else kind

    def _call_of(self, piece: _Piece) -> _Call:
        """The call that a piece is for, by the rules above."""
        call = self._with_id(piece) or self._at_place(piece)
        if call is None and self.begun and _is_late(piece):
            return self.begun[-1]
        if call is None or self._follows(piece, call):
            call = _Call(len(self.begun), piece.sent_id, piece.index)
            self.begun.append(call)
        self._latest[piece.place] = call
        return call

    def _with_id(self, piece: _Piece) -> _Call | None:
        if piece.sent_id is None:
            return None
        late = piece.name is None and piece.index is None
        return self._by_id.get(piece.sent_id if late else (piece.sent_id, piece.index))

    def _know(self, call: _Call) -> None:
        """Let a call be found by its id, which may come late."""
        if call.sent_id is None:
            return
        for key in (call.sent_id, (call.sent_id, call.index)):
            known = self._by_id.get(key)
            if known is None or known.place < call.place:
                self._by_id[key] = call

    def _at_place(self, piece: _Piece) -> _Call | None:
        call = self._latest.get(piece.place)
        if call is None or piece.name is None or piece.sent_id is None or call.sent_id is None:
            return call
        return None  # `_with_id` has not found it: the piece has another id

    @staticmethod
    def _follows(piece: _Piece, call: _Call) -> bool:
        return piece.name is not None and piece.text is not None and bool(call.name) and call.is_whole()

    def _announced(self, call: _Call) -> list[AdapterEvent]:
        """The events of what waits."""
        events: list[AdapterEvent] = []
        if call.id is None:
            call.id = self._ids.new(call.sent_id)
            self._announced_calls[call.id] = call
            events.append(ToolCallStarted(call.id, call.name))
        events += [ToolCallDelta(call.id, text) for text in call.waiting]
        call.waiting.clear()
        return events
