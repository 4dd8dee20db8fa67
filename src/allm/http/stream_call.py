"""One provider call over HTTP, the same for every vendor: post, look at the status, decode, emit.

A vendor brings three pure things: the request (`HttpCall`), a `WireDecoder`, and `classify` for error answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs
import trio

from allm.data.errors import AdapterError
from allm.data.events import AdapterEvent, Emit, Failed, MessageCompleted
from allm.data.json.text import JsonTextError, loads
from allm.data.secret import Secret
from allm.http.decoder import WireDecoder
from allm.http.errors import HTTP_REDIRECT, Classify, annotate_error, error_from_response, malformed
from allm.http.response import HttpResponse
from allm.http.sse import MAX_EVENT_BYTES, SSEDecoder
from allm.http.transport import open_response

__all__ = ["HttpCall", "exchange"]

MAX_DOCUMENT_BYTES = 64 * 1024 * 1024
"""Largest plain JSON answer, in bytes; an answer with generated images has some tens of megabytes."""
_ENDS = (MessageCompleted, Failed)
BOM = b"\xef\xbb\xbf"
_CLOSING = {b"{": b"}", b"[": b"]", b"<": b">"}
DRAIN_SECONDS = 0.25
"""How long to wait for the end of the HTTP body after the provider's own end marker, so that the connection can be
used again. It normally is in the same packet."""


@attrs.frozen(kw_only=True)
class HttpCall:
    """A prepared call.

    Attributes:
        url: Without secrets.
        headers: Hidden from `repr`, as one of them carries the key.
        body: JSON bytes.
        new_decoder: Makes a fresh decoder for each attempt.
        flush_at_end: The format has no end marker, so that an event cut off by the end of the body counts.
    """

    provider: str
    url: str
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    body: bytes = attrs.field(repr=False)
    new_decoder: Callable[[], WireDecoder] = attrs.field(repr=False)
    classify: Classify = attrs.field(repr=False)
    secret: Secret | None = None
    client: Any = attrs.field(default=None, repr=False)
    max_event_bytes: int = MAX_EVENT_BYTES
    flush_at_end: bool = False


async def exchange(call: HttpCall, emit: Emit) -> None:
    """Make the call and emit its events.

    Raises:
        AdapterError: Whatever went wrong, with the provider's name filled in and the key masked.
    """
    try:
        async with open_response(
            "POST", call.url, headers=call.headers, content=call.body, client=call.client
        ) as response:
            if response.status >= HTTP_REDIRECT:
                raise await error_from_response(call, response)
            decoder = call.new_decoder()
            decoder.begin(response.headers)
            await _Reader(call, decoder, emit).read(response)
    except AdapterError as error:
        raise annotate_error(error, call) from error.__cause__


@attrs.define(eq=False)
class _Reader:
    """Reads one body. Its first byte tells a JSON document from an event stream: gateways mislabel both."""

    call: HttpCall
    decoder: WireDecoder
    emit: Emit
    sse: SSEDecoder = attrs.field(init=False)
    broken: bool = attrs.field(default=False, init=False)  # nothing more of this body is wanted

    def __attrs_post_init__(self) -> None:
        self.sse = SSEDecoder(self.call.max_event_bytes)

    async def read(self, response: HttpResponse) -> None:
        head, started = b"", False
        async with response.chunks() as chunks:
            async for chunk in chunks:
                if not started:
                    head += chunk
                    start = head.removeprefix(BOM).lstrip()
                    if not start or BOM.startswith(head):
                        continue
                    if start[:1] in b"{[<":
                        await self._document(head, chunks, response)
                        return
                    started, chunk = True, head
                if await self._feed(chunk):
                    if not self.broken:
                        await _drain(chunks)
                    return
        await self._end()

    async def _feed(self, chunk: bytes) -> bool:
        """Decode one read and emit it as one burst; True at the provider's end marker or after a failure."""
        events: list[AdapterEvent] = []
        decoder = self.decoder
        try:
            data = self.sse.one(chunk)
            if data is not None:
                events = decoder.decode("", data)
            else:
                for name, data in self.sse.feed(chunk):
                    events += [] if _is_blank(data) else decoder.decode(name, data)
                    if decoder.done:
                        break
        except AdapterError as error:
            # What was decoded before a failure is emitted with it: nothing that arrived is lost.
            events.append(Failed(error))
            self.broken = True
        if not events:
            return decoder.done
        self._finish(events[-1])
        await self.emit(*events)
        return decoder.done or isinstance(events[-1], _ENDS)

    def _finish(self, last: AdapterEvent) -> None:
        if isinstance(last, Failed) and isinstance(last.error, AdapterError):
            annotate_error(last.error, self.call)

    async def _document(self, head: bytes, chunks: Any, response: HttpResponse) -> None:
        pieces, size = [head], len(head)
        async for chunk in chunks:
            pieces.append(chunk)
            size += len(chunk)
            if size > MAX_DOCUMENT_BYTES:
                raise malformed(self.call.provider, f"the answer is longer than {MAX_DOCUMENT_BYTES} bytes", head)
        body = b"".join(pieces)
        try:
            document = loads(body)
        except JsonTextError as error:
            if body.rstrip()[-1:] != _CLOSING.get(body.removeprefix(BOM).lstrip()[:1]):
                what = f"the answer ended before its JSON did ({error})"
                raise AdapterError(what, reason="stream_truncated") from error
            kind = response.headers.get("content-type", "no content type")
            what = f"expected an event stream or JSON, got {kind} that is neither ({error})"
            raise malformed(self.call.provider, what, body) from error
        events = self.decoder.decode_document(document)
        self._finish(events[-1])
        await self.emit(*events)

    async def _end(self) -> None:
        events: list[AdapterEvent] = []
        try:
            if self.call.flush_at_end:
                for name, data in self.sse.close():
                    events += self._decode_last(name, data)
            if not self.decoder.done:
                stray = b"\n".join(self.sse.stray).decode("utf-8", "replace")
                events += self.decoder.end(stray)
        except AdapterError as error:
            events.append(Failed(error))
        if events:
            self._finish(events[-1])
            await self.emit(*events)

    def _decode_last(self, name: str, data: bytes) -> list[AdapterEvent]:
        """Decode the event that no blank line closed: whole, or cut off with the body."""
        try:
            return self.decoder.decode(name, data)
        except AdapterError as error:
            if error.reason != "malformed_response":
                raise
            raise AdapterError(
                f"the stream ended in the middle of an event: the answer is cut off ({error.message})",
                reason="stream_truncated",
            ) from error


def _is_blank(data: bytes) -> bool:
    return not data or data.isspace()  # some gateways keep the connection alive so


async def _drain(chunks: Any) -> None:
    """Read on to the end of the HTTP body; what goes wrong here no longer matters to the answer."""
    with trio.move_on_after(DRAIN_SECONDS):
        try:
            async for _ in chunks:
                pass
        except Exception:  # noqa: S110  the answer is complete, the connection is closed instead of reused
            pass
