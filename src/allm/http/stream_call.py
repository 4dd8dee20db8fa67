"""One provider call whose response is a stream of events: read, decode, emit.

A vendor supplies three pure parts: the request (`StreamCall`), a `WireDecoder`, and `classify` for error responses.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol, cast

import attrs
import trio

from allm.data.attrs_classes import define, frozen
from allm.data.errors import AdapterError, StreamError
from allm.data.events import AdapterEvent, Emit, Failed, MessageCompleted
from allm.data.json.text import JsonTextError, loads_lenient
from allm.http.answer_limits import DEFAULT_ANSWER_LIMITS, AnswerLimits
from allm.http.call import HttpCall, OpenCall, drain, open_call
from allm.http.errors import malformed
from allm.http.sse import FEW_EVENTS, MAX_EVENT_BYTES, Run, ServerSentEvent, Splitter, SSEDecoder

__all__ = ["StreamCall", "WireDecoder", "stream_events"]

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Largest plain JSON response, in bytes; one with generated images has some tens of megabytes."""
_ENDS = (MessageCompleted, Failed)
BOM = b"\xef\xbb\xbf"
_CLOSING = {b"{": b"}", b"[": b"]", b"<": b">"}
DRAIN_SECONDS = 0.25
"""How long to wait for the end of the HTTP body after the provider's own end marker, so that the connection can be
reused. The end is normally in the same packet."""
_TOGETHER = 64
"""Most reads that are decoded together; twice as many cost hardly less each."""
_MISSES = 16
"""Runs that did not fit, one after the other, after which a read is tried but once: the service writes other events."""
_TOGETHER_BYTES = 64 * 1024


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


@frozen(kw_only=True)
class StreamCall(HttpCall):
    """A prepared call whose response is a stream of events.

    Attributes:
        new_decoder: Makes a fresh decoder for each attempt.
        max_event_bytes, new_splitter: Largest event accepted, in bytes; makes what splits the body into such events.
        raw_chunks: Also emit each wire event as it arrived, as a `RawChunk`.
        answer_limits: How much the answer may hold.
    """

    new_decoder: Callable[[], WireDecoder] = attrs.field(repr=False)
    max_event_bytes: int = MAX_EVENT_BYTES
    new_splitter: Callable[[int], Splitter] = attrs.field(default=SSEDecoder, repr=False)
    raw_chunks: bool = False
    answer_limits: AnswerLimits = DEFAULT_ANSWER_LIMITS


async def stream_events(call: StreamCall, emit: Emit) -> None:
    """Make the call and emit its events, all events of what was read together as one burst.

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
        except (Exception, trio.Cancelled):
            await reader.cut()  # noqa: ASYNC102  (in a cancelled scope of its own: it never waits)
            raise


@define(eq=False)
class _Reader:
    """Reads one body. Its first byte tells a JSON document from an event stream, since gateways mislabel both."""

    call: StreamCall
    opened: OpenCall
    decoder: WireDecoder
    emit: Emit
    sse: Splitter = attrs.field(init=False)  # what splits the body
    decode_run: Callable[[Run], tuple[int, list[AdapterEvent]]] | None = attrs.field(init=False)
    emit_now: EmitNow | None = attrs.field(init=False)
    decoded: list[AdapterEvent] = attrs.field(factory=list[AdapterEvent], init=False)  # and not emitted yet
    alive: bool = attrs.field(default=False, init=False)  # something came since, if only a sign of life
    ended: bool = attrs.field(default=False, init=False)  # the answer has, or has failed
    broken: bool = attrs.field(default=False, init=False)  # decoding failed, so the rest of the body is not read
    misses: int = attrs.field(default=0, init=False)  # runs that did not fit, since the last one that did
    gathered: list[bytes] = attrs.field(factory=list[bytes], init=False)  # reads that were not decoded yet
    size: int = attrs.field(default=0, init=False)  # their bytes
    reading: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    error: BaseException | None = attrs.field(default=None, init=False)  # raised where nothing could be raised

    def __attrs_post_init__(self) -> None:
        self.sse = self.call.new_splitter(self.call.max_event_bytes)
        # Not by isinstance, which takes a runtime-checkable protocol ten times as long.
        self.emit_now = cast("EmitNow", self.emit) if hasattr(self.emit, "now") and hasattr(self.emit, "room") else None
        self.decode_run = getattr(self.decoder, "decode_run", None)

    async def read(self) -> None:
        async with self.opened.response.chunks() as chunks:
            if await self._is_document(chunks):  # then all of it has been read
                return
            if self.emit_now is not None:
                await self._gather(chunks, self.emit_now)
            else:
                await self._one_by_one(chunks)
        if not self.ended:
            await self._end()

    async def _is_document(self, chunks: AsyncIterator[bytes]) -> bool:
        head = b""
        async for chunk in chunks:  # up to one that tells what the body is
            head += chunk
            if head.removeprefix(BOM).lstrip() and not BOM.startswith(head):  # else blank, or half a byte order mark
                break
        else:
            head = b""
        if head.removeprefix(BOM).lstrip()[:1] in _CLOSING:
            await self._document(head, chunks)
            return True
        self.gathered, self.size = [head], len(head)
        return False

    async def _one_by_one(self, chunks: AsyncIterator[bytes]) -> None:
        """Decode every read by itself."""
        while True:
            self._decode_gathered()
            await self._emit_decoded()
            if self.ended:
                break
            if (chunk := await anext(chunks, None)) is None:
                return
            self.gathered.append(chunk)
        if not self.broken:
            await drain(chunks, DRAIN_SECONDS)

    async def _gather(self, chunks: AsyncIterator[bytes], emit_now: EmitNow) -> None:
        """Decode together what can be read without waiting.

        A server is often ahead, and an HTTP library hands out one chunk of the body after the other, each with a few
        events. What there is of them is decoded before the next wait (`_Gathering`), where nothing can be awaited: so
        it is made sure that the consumer has room for them when the first one has come.
        """
        with self.reading:
            goes_on = True
            while goes_on and not self.ended:
                try:
                    goes_on = await _Gathering(self, chunks, emit_now)
                except Exception:
                    if not self.ended:
                        raise
                    goes_on = False  # the response is complete, so failures no longer matter
                self._decode_gathered()
                await self._emit_decoded()
            if goes_on and not self.broken:
                await drain(chunks, DRAIN_SECONDS)
        if self.error is not None:
            raise self.error

    def _before_waiting(self) -> None:
        """Emit what has been gathered, and end the wait that begins if the answer ends with it."""
        try:
            self._decode_gathered()
            if (self.decoded or self.alive) and self.emit_now is not None:
                self.emit_now.now(self._taken())
        except BaseException as error:  # noqa: ASYNC103  (raised when the wait has ended, which only Trio can do)
            self.error, self.ended, self.broken = error, True, True
        if self.ended:
            self.reading.deadline = trio.current_time() + (0 if self.broken else DRAIN_SECONDS)

    def _decode_gathered(self) -> None:
        if self.gathered and not self.ended:
            together, self.gathered, self.size = b"".join(self.gathered), [], 0
            self._decode(together)

    async def cut(self) -> None:
        """Emit what has been read and not been emitted, as far as the consumer has room for it."""
        try:
            self._decode_gathered()
        finally:
            events = [*self._taken(), *self._held_back()]
        if events:
            with trio.CancelScope(shield=True) as scope, suppress(StreamError):  # the answer has ended
                scope.cancel()
                await self.emit(*events)

    def _held_back(self) -> list[AdapterEvent]:
        cut: Callable[[], list[AdapterEvent]] | None = getattr(self.decoder, "cut", None)
        return [] if cut is None else cut()

    def _decode(self, data: bytes) -> None:
        """Decode what was read, up to the provider's end marker or a failure."""
        try:
            before, whole, after = self.sse.parts(data)
            if before:
                self._decode_events(self.sse.feed(before))
            if whole and not self.decoder.done:
                self._decode_whole(whole)
            if after and not self.decoder.done:
                self._decode_events(self.sse.feed(after))
        except AdapterError as error:
            # Emitted together with the events decoded before it, so that nothing that arrived is lost.
            self.decoded += (*self._held_back(), Failed(error))
            self.broken = True
        if self.decoded:
            self._finish(self.decoded[-1])
        self.ended = self.decoder.done or (bool(self.decoded) and isinstance(self.decoded[-1], _ENDS))

    def _decode_whole(self, data: bytes) -> None:
        """Decode whole events: in runs, and one by one what is of no run."""
        run = None if self.decode_run is None else self.sse.run(data)
        if run is not None:
            self._decode_run(run)
        elif self.decode_run is None or self.misses > _MISSES:
            self._decode_events(self.sse.feed(data))
        else:
            for some in self.sse.runs(data):
                if isinstance(some, bytes):
                    self._decode_events(self.sse.feed(some))
                else:
                    self._decode_run(some)
                if self.decoder.done:
                    return

    def _decode_run(self, run: Run) -> None:
        """Decode a run as far as it fits, then an event of another kind by itself, and so on."""
        while True:
            taken, events = self.decode_run(run)  # type: ignore[misc]  # it is there, or there would be no run
            self.decoded += events
            if taken == run.size:
                self.misses = 0
                return
            self.misses = 0 if taken >= FEW_EVENTS else self.misses + 1
            other, run = run.after(taken)
            self._decode_events((other,))
            if self.decoder.done or not run.size:
                return
            if run.size < FEW_EVENTS or self.misses > _MISSES:
                self._decode_events(run.events())
                return

    def _decode_events(self, events: Iterable[ServerSentEvent]) -> None:
        decoder = self.decoder
        for name, data in events:
            if _is_blank(data):
                continue
            self.decoded += decoder.decode(name, data)
            self.alive = self.alive or not decoder.idle
            if decoder.done:
                break

    async def _emit_decoded(self) -> None:
        """Emit what was decoded as one burst; an empty one still counts as progress for the time limits."""
        if self.decoded or self.alive:
            await self.emit(*self._taken())

    def _taken(self) -> list[AdapterEvent]:
        events, self.decoded, self.alive = self.decoded, [], False
        return events

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
            what = f"the stream ended in the middle of an event ({error.message})"
            raise AdapterError(what, reason="stream_truncated") from error


def _is_blank(data: bytes) -> bool:
    return not data or data.isspace()  # some gateways send blank events to keep the connection alive


@frozen(eq=False)
class _Gathering:
    """Reads until there is enough to decode, no room for it, or the answer has ended; False at the end of the body.

    It is a loop of `await anext(chunks)`, which passes on to Trio what that yields. Trio has not heard of the wait yet
    when `_before_waiting` runs: so that must neither wait nor raise.
    """

    reader: _Reader
    chunks: AsyncIterator[bytes]
    emit_now: EmitNow

    def __await__(self) -> Generator[Any, Any, bool]:
        reader, chunks = self.reader, self.chunks
        while not (
            reader.ended
            or len(reader.gathered) >= _TOGETHER
            or reader.size >= _TOGETHER_BYTES
            or (len(reader.gathered) == 1 and not self.emit_now.room())
        ):
            try:
                step: Generator[Any, Any, bytes] = chunks.__anext__().__await__()
                wait = step.send(None)
                reader._before_waiting()
                while True:
                    try:
                        outcome = yield wait
                    except BaseException as error:  # noqa: ASYNC103  (the iterator's to handle)
                        wait = step.throw(error)
                    else:
                        wait = step.send(outcome)
            except StopIteration as done:
                reader.gathered.append(done.value)
                reader.size += len(done.value)
            except StopAsyncIteration:
                return False
        return True
