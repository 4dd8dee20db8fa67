"""What `stream_call` needs of a vendor's decoder, and of an `emit` where nothing can be awaited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from allm.data.events import AdapterEvent
from allm.http.answer_limits import AnswerLimits

__all__ = ["EmitNow", "WireDecoder"]


class WireDecoder(Protocol):
    """Turns one provider's wire format into events; pure, no I/O.

    Attributes:
        done: The provider's end marker was seen; nothing more is decoded.
        idle: The latest event only kept the connection open: no sign that the answer goes on.
        raw_chunks: Show each event of the wire as it came, too (`RawChunk`). Set before `begin`.
        limits: How much of the answer may be held in here before events show it. Set before `begin`.
    """

    done: bool
    idle: bool
    raw_chunks: bool
    limits: AnswerLimits

    def begin(self, headers: Mapping[str, str], /) -> None:
        """The HTTP headers of the response have arrived; their names are in lower case."""

    def decode(self, name: str, data: bytes, /) -> list[AdapterEvent]:
        """The events of one server-sent event. A failure is a `Failed` event or a raised `AdapterError`."""
        ...

    def decode_document(self, document: Any, /) -> list[AdapterEvent]:
        """The events of a plain JSON answer, `MessageCompleted` included."""
        ...

    def end(self, stray: str, /) -> list[AdapterEvent]:
        """The body ended without the end marker; `stray` is the text outside any SSE field."""
        ...


class EmitNow(Protocol):
    """What an `emit` can do besides that can also take events where nothing can be awaited."""

    def room(self) -> bool:
        """Whether `now` has room for a burst. Nobody else sends, so there is room until a burst is emitted."""
        ...

    def now(self, events: list[AdapterEvent], /) -> None:
        """Emit a burst for which there is room."""
