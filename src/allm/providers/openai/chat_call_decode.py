"""The tool calls of a Chat Completions answer, put together from their pieces.

OpenAI names a call by its `index` in every piece, and gives its id and name in the first one only. What others do:
every call has index 0; there is no index, or no id, or neither, and each call comes whole; two calls have the same id;
the id comes late; the name comes with every piece; every piece has a new id, which means nothing as no name comes with
it. So a piece belongs to the call with its index and id, else to the last one at its index, and begins a new call only
if it brings a name.
"""

from __future__ import annotations

from typing import Any

import attrs

from allm.data.events import AdapterEvent, ToolCallDelta, ToolCallStarted
from allm.data.json.text import dumps, parse_arguments
from allm.data.json.wire import as_object, as_objects, as_text

__all__ = ["CallDecoder"]

Index = int | str | None


@attrs.define(eq=False)
class _Call:
    id: str  # unique in the answer
    sent_id: str | None
    index: Index
    name: str = ""
    started: bool = False
    pieces: list[str] = attrs.field(factory=list[str], init=False)
    waiting: list[str] = attrs.field(factory=list[str], init=False)  # pieces that came before the name

    def is_whole(self) -> bool:
        """Whether its arguments need no more text."""
        last = self.pieces[-1] if self.pieces else ""
        return last.rstrip().endswith("}") and parse_arguments("".join(self.pieces)) is not None


@attrs.define(eq=False)
class CallDecoder:
    """Decodes the calls of one answer.

    Attributes:
        custom: Ids of calls whose input is free text.
    """

    custom: set[str] = attrs.field(factory=set[str], init=False)
    _calls: list[_Call] = attrs.field(factory=list[_Call], init=False)
    _latest: dict[tuple[Index, int], _Call] = attrs.field(factory=dict[tuple[Index, int], _Call], init=False)

    def decode(self, deltas: Any) -> list[AdapterEvent]:
        """The events of one `tool_calls`."""
        events: list[AdapterEvent] = []
        for position, delta in enumerate(as_objects(deltas)):
            self._take(delta, position, events)
        return events

    def complete(self) -> list[AdapterEvent]:
        """The answer ended: a call that never had a name is one of no tool, and not lost."""
        events: list[AdapterEvent] = []
        for call in self._calls:
            if not call.started and call.waiting:
                _send(call, events)
        return events

    def _take(self, delta: dict[str, Any], position: int, events: list[AdapterEvent]) -> None:
        custom = as_object(delta.get("custom"))
        function = as_object(delta.get("function")) or custom
        name, piece = as_text(function.get("name")), function.get("arguments", function.get("input"))
        if isinstance(piece, dict):  # Ollama sends the object itself
            piece = dumps(piece).decode()
        piece = as_text(piece)
        call = self._call(delta, position, name, piece)
        if custom:
            self.custom.add(call.id)
        call.name = call.name or name or ""
        if piece is not None:
            call.pieces.append(piece)
            call.waiting.append(piece)
        if call.name:
            _send(call, events)

    def _call(self, delta: dict[str, Any], position: int, name: str | None, piece: str | None) -> _Call:
        """The call that a piece is for."""
        index, sent_id = delta.get("index"), as_text(delta.get("id"))
        index = index if isinstance(index, (int, str)) else None
        place = (index, position if index is None else 0)
        call = None
        if sent_id is not None:
            same = (call for call in reversed(self._calls) if call.sent_id == sent_id and call.index == index)
            call = next(same, None)
        latest = self._latest.get(place)
        if call is None and latest is not None:
            other_id = sent_id is not None and latest.sent_id is not None
            call = None if other_id and name is not None else latest
        if call is None or (name is not None and piece is not None and call.name and call.is_whole()):
            call = _Call(self._new_id(sent_id), sent_id, index)
            self._calls.append(call)
        if call.sent_id is None and sent_id is not None:
            call.sent_id = sent_id
            if not call.started:
                call.id = self._new_id(sent_id)
        self._latest[place] = call
        return call

    def _new_id(self, sent_id: str | None) -> str:
        taken = {call.id for call in self._calls}
        number = len(taken)
        new_id = sent_id or f"call_{number}"
        while new_id in taken:
            number += 1
            new_id = f"{sent_id or 'call'}_{number}"
        return new_id


def _send(call: _Call, events: list[AdapterEvent]) -> None:
    if not call.started:
        call.started = True
        events.append(ToolCallStarted(call.id, call.name))
    events += [ToolCallDelta(call.id, piece) for piece in call.waiting]
    call.waiting.clear()
