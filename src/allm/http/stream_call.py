"""One provider call whose response is a stream of events: read, decode, emit.

A vendor supplies three pure parts: the request (`StreamCall`), a `WireDecoder`, and `classify` for error responses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol

import attrs
import trio

from allm.data.errors import AdapterError, StreamError
from allm.data.events import AdapterEvent, Emit, Failed, MessageCompleted
from allm.data.json.text import JsonTextError, loads_lenient
from allm.http.answer_limits import DEFAULT_ANSWER_LIMITS, AnswerLimits
from allm.http.call import HttpCall, OpenCall, open_call
from allm.http.errors import malformed
from allm.http.sse import MAX_EVENT_BYTES, Run, SSEDecoder

__all__ = ["StreamCall", "WireDecoder", "stream_events"]

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Largest plain JSON response, in bytes; one with generated images has some tens of megabytes."""
_ENDS = (MessageCompleted, Failed)
BOM = b"\xef\xbb\xbf"
_CLOSING = {b"{": b"}", b"[": b"]", b"<": b">"}
DRAIN_SECONDS = 0.25
"""How long to wait for the end of the HTTP body after the provider's own end marker, so that the connection can be
reused. The end is normally in the same packet."""


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


@attrs.frozen(kw_only=True)
class StreamCall(HttpCall):
    """A prepared call whose response is a stream of events.

    Attributes:
        new_decoder: Makes a fresh decoder for each attempt.
        max_event_bytes: Largest server-sent event accepted, in bytes.
        raw_chunks: Also emit each wire event as it arrived, as a `RawChunk`.
        answer_limits: How much the answer may hold.
    """

    new_decoder: Callable[[], WireDecoder] = attrs.field(repr=False)
    max_event_bytes: int = MAX_EVENT_BYTES
    raw_chunks: bool = False
    answer_limits: AnswerLimits = DEFAULT_ANSWER_LIMITS


async def stream_events(call: StreamCall, emit: Emit) -> None:
    """Make the call and emit its events, all events of one network read as one burst.

    Raises:
        AdapterError: The call failed; with the provider's name, and the key masked.
    """
    async with open_call(call) as opened:
        decoder = call.new_decoder()
        decoder.raw_chunks, decoder.limits = call.raw_chunks, call.answer_limits
        decoder.begin(opened.headers)
        reader = _Reader(call, opened, decoder, emit)
        try:
            await reader.read()
        except (AdapterError, trio.Cancelled):
            await reader.cut()  # noqa: ASYNC102  (in a cancelled scope of its own: it never waits)
            raise


@attrs.define(eq=False)
class _Reader:
    """Reads one body. Its first byte tells a JSON document from an event stream, since gateways mislabel both."""

    call: StreamCall
    opened: OpenCall
    decoder: WireDecoder
    emit: Emit
    sse: SSEDecoder = attrs.field(init=False)
    decode_run: Callable[[Run], list[AdapterEvent] | None] | None = attrs.field(init=False)
    broken: bool = attrs.field(default=False, init=False)  # decoding failed, so the rest of the body is not read

    def __attrs_post_init__(self) -> None:
        self.sse = SSEDecoder(self.call.max_event_bytes)
        self.decode_run = getattr(self.decoder, "decode_run", None)

    async def read(self) -> None:
        head, started = b"", False
        async with self.opened.response.chunks() as chunks:
            async for chunk in chunks:
                if not started:
                    head += chunk
                    start = head.removeprefix(BOM).lstrip()
                    if not start or BOM.startswith(head):  # blank so far, or half a byte order mark
                        continue
                    if start[:1] in b"{[<":
                        await self._document(head, chunks)
                        return
                    started, chunk = True, head
                if await self._feed(chunk):
                    if not self.broken:
                        await _drain(chunks)
                    return
        await self._end()

    async def cut(self) -> None:
        """Emit what the decoder has held back, if the consumer has room for it."""
        events = self._held_back()
        if events:
            with trio.CancelScope(shield=True) as scope, suppress(StreamError):  # the answer has ended
                scope.cancel()
                await self.emit(*events)

    def _held_back(self) -> list[AdapterEvent]:
        cut: Callable[[], list[AdapterEvent]] | None = getattr(self.decoder, "cut", None)
        return [] if cut is None else cut()

    async def _feed(self, chunk: bytes) -> bool:
        """Decode one read and emit its events as one burst; True at the provider's end marker or after a failure."""
        events: list[AdapterEvent] = []
        decoder, alive = self.decoder, False
        try:
            run = self.sse.run(chunk)
            quick = None if run is None or self.decode_run is None else self.decode_run(run)
            if quick is not None:
                events = quick
            else:
                for name, data in self.sse.feed(chunk) if run is None else run.events():
                    if _is_blank(data):
                        continue
                    events += decoder.decode(name, data)
                    alive = alive or not decoder.idle
                    if decoder.done:
                        break
        except AdapterError as error:
            # Emitted together with the events decoded before it, so that nothing that arrived is lost.
            events += (*self._held_back(), Failed(error))
            self.broken = True
        if events:
            self._finish(events[-1])
        if events or alive:  # an empty burst still counts as progress for the time limits
            await self.emit(*events)
        return decoder.done or (bool(events) and isinstance(events[-1], _ENDS))

    def _finish(self, last: AdapterEvent) -> None:
        if isinstance(last, Failed) and isinstance(last.error, AdapterError):
            self.opened.annotate(last.error)

    async def _document(self, head: bytes, chunks: Any) -> None:
        pieces, size = [head], len(head)
        async for chunk in chunks:
            pieces.append(chunk)
            size += len(chunk)
            if size > MAX_DOCUMENT_BYTES:
                raise malformed(self.call.provider, f"the response is longer than {MAX_DOCUMENT_BYTES} bytes", head)
        body = b"".join(pieces)
        try:
            document = loads_lenient(body)
        except JsonTextError as error:
            # Without the matching closing bracket the body was cut off; with it, the text is not JSON.
            if body.rstrip()[-1:] != _CLOSING.get(body.removeprefix(BOM).lstrip()[:1]):
                what = f"the response ended in the middle of its JSON ({error})"
                raise AdapterError(what, reason="stream_truncated") from error
            kind = self.opened.response.headers.get("content-type", "no content type")
            what = f"expected an event stream or JSON, got {kind} that is neither ({error})"
            raise malformed(self.call.provider, what, body) from error
        events = self.decoder.decode_document(document)
        self._finish(events[-1])
        await self.emit(*events)

    async def _end(self) -> None:
        events: list[AdapterEvent] = []
        try:
            for name, data in self.sse.close():
                events += [] if _is_blank(data) else self._decode_last(name, data)
            if not self.decoder.done:
                stray = b"\n".join(self.sse.stray).decode("utf-8", "replace")
                events += self.decoder.end(stray)
        except AdapterError as error:
            events += (*self._held_back(), Failed(error))
        if events:
            self._finish(events[-1])
            await self.emit(*events)

    def _decode_last(self, name: str, data: bytes) -> list[AdapterEvent]:
        """Decode the event that no blank line ended: it may be complete, or cut off with the body."""
        try:
            return self.decoder.decode(name, data)
        except AdapterError as error:
            if error.reason != "malformed_response":
                raise
            raise AdapterError(
                f"the stream ended in the middle of an event ({error.message})",
                reason="stream_truncated",
            ) from error


def _is_blank(data: bytes) -> bool:
    return not data or data.isspace()  # some gateways send blank events to keep the connection alive


async def _drain(chunks: Any) -> None:
    """Read to the end of the HTTP body; the response is complete, so failures no longer matter."""
    with trio.move_on_after(DRAIN_SECONDS):
        try:
            async for _ in chunks:
                pass
        except Exception:  # noqa: S110  (the connection is then closed instead of reused)
            pass
