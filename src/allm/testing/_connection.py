"""One client connection of the server: h11 over a Trio socket stream.

    read a request --> play its reply --> next cycle, while both sides keep the connection alive
                           |
                           +-- a second task keeps receiving: end of file means that the client left, and cancels the
                               reply; anything else is the next request, which h11 buffers

The caller that accepted the connection closes it.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import final

import attrs
import h11
import trio

from allm.execution.nurseries import start_task
from allm.testing.faults import (
    BEFORE_HEAD,
    Cut,
    Garbage,
    GarbageHead,
    HalfClose,
    KeepAlive,
    Reset,
    Stall,
    TruncatedChunk,
    WrongLength,
)
from allm.testing.recorded import RecordedRequest
from allm.testing.replies import Piece, Reply

__all__ = ["Connection"]

WRITE_SIZE = 16_384  # most bytes of pieces that share one write
RECEIVE_SIZE = 65_536
LINGER_ZERO = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)  # close() then resets instead of finishing


@final
@attrs.define(eq=False)
class Connection:
    """Reads requests and plays their replies.

    `answer` returns the reply to a request, and is called once for each. `changed` is called when a request has its
    outcome.
    """

    stream: trio.SocketStream
    number: int
    answer: Callable[[RecordedRequest], Reply]
    changed: Callable[[], object]
    _http: h11.Connection = attrs.field(init=False, factory=lambda: h11.Connection(h11.SERVER))
    _chunked: bool = attrs.field(init=False, default=True)
    _unchecked: bool = attrs.field(init=False, default=False)
    _client_left: bool = attrs.field(init=False, default=False)

    async def serve(self) -> None:
        """Serve until one side ends the connection; the caller closes the stream."""
        with suppress(trio.BrokenResourceError):  # the client has left
            try:
                while (request := await self._read_request()) is not None:
                    await self._reply(request, self.answer(request))
                    if self._client_left or self._http.states != {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
                        return
                    self._http.start_next_cycle()
            except h11.RemoteProtocolError as error:
                await self._refuse(error)

    async def _read_request(self) -> RecordedRequest | None:
        """The next request with its whole body, or None if the client left."""
        head: h11.Request | None = None
        body: list[bytes] = []
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                self._http.receive_data(await self.stream.receive_some(RECEIVE_SIZE))
            elif isinstance(event, h11.Request):
                head = event
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage) and head is not None:
                return _recorded(head, b"".join(body), self.number)
            else:
                return None

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        """Send an error to a client that does not speak HTTP/1.1."""
        body = f"not an HTTP/1.1 request: {error}\n".encode()
        headers = [("content-length", str(len(body))), ("connection", "close")]
        self._http = h11.Connection(h11.SERVER)
        head = self._bytes(h11.Response(status_code=error.error_status_hint, headers=headers))
        await self.stream.send_all(head + body)

    async def _reply(self, request: RecordedRequest, reply: Reply) -> None:
        """Play `reply` until its end or until the client leaves, and set the request's outcome."""
        async with trio.open_nursery() as nursery:
            start_task(nursery, self._watch, nursery.cancel_scope)
            try:
                await self._play(request, reply)
            except trio.BrokenResourceError:
                self._client_left = True
            nursery.cancel_scope.cancel()
        if request.outcome is None:
            request.outcome = "client_closed"
        self.changed()

    async def _watch(self, playing: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError):
            while data := await self.stream.receive_some(RECEIVE_SIZE):
                self._http.receive_data(data)
        self._client_left = True
        playing.cancel()

    async def _play(self, request: RecordedRequest, reply: Reply) -> None:
        fault = reply.fault
        await trio.sleep(reply.first_delay)
        if isinstance(fault, GarbageHead):
            await self.stream.send_all(fault.data)
        elif fault is None or isinstance(fault, WrongLength) or fault.after > BEFORE_HEAD:
            await self._send(request, reply)
        match fault:
            case None:
                request.outcome = "completed"
            case Stall():
                await trio.sleep_forever()
            case HalfClose():
                self.stream.socket.shutdown(socket.SHUT_WR)
                await trio.sleep_forever()
            case TruncatedChunk():
                await self.stream.send_all(b"%x\r\n{" % RECEIVE_SIZE)  # one byte of many that are announced
                request.outcome = "faulted"
            case KeepAlive():
                while True:
                    await self._write(request, [Piece(0.0, fault.comment)])
                    await trio.sleep(fault.interval)
            case Reset():
                self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
                request.outcome = "faulted"
            case _:
                request.outcome = "faulted"

    async def _send(self, request: RecordedRequest, reply: Reply) -> None:
        """Send the response's head, its body up to the fault and, if the message ends properly, its end."""
        fault, pieces = reply.fault, reply.pieces()
        ends = fault is None or isinstance(fault, Garbage) or (isinstance(fault, Cut) and fault.clean)
        length = sum(len(piece.data) for piece in pieces) if ends else len(reply.body)
        if isinstance(fault, WrongLength):
            length += fault.by
        await self.stream.send_all(self._head(reply, length))
        if reply.flush:
            await _let_others_run()
        waiting: list[Piece] = []
        size = 0
        for piece in pieces:
            if waiting and (reply.flush or piece.delay or size >= WRITE_SIZE):
                await self._write(request, waiting)
                waiting, size = [], 0
                if reply.flush:
                    await _let_others_run()
            if piece.delay:
                await trio.sleep(piece.delay)
            waiting.append(piece)
            size += len(piece.data)
        await self._write(request, waiting, ends=ends)

    async def _write(self, request: RecordedRequest, pieces: list[Piece], *, ends: bool = False) -> None:
        """Send each piece as one HTTP chunk, all in one write, with the end of the message in the last one."""
        if self._chunked:  # without h11, which takes 20 µs per chunk: a byte-by-byte reply has tens of thousands
            data = [b"%x\r\n%b\r\n" % (len(piece.data), piece.data) for piece in pieces if piece.data]
        elif self._unchecked:  # h11 would refuse to send another length than it announced
            data = [piece.data for piece in pieces]
        else:
            data = [self._bytes(h11.Data(data=b"".join(piece.data for piece in pieces)))]
        if ends:
            data.append(self._bytes(h11.EndOfMessage()))
        await self.stream.send_all(b"".join(data))
        request.bytes_sent += sum(len(piece.data) for piece in pieces)

    def _head(self, reply: Reply, length: int) -> bytes:
        headers = list(reply.headers.items())
        if reply.framing == "content-length":
            headers.append(("content-length", str(length)))
        elif reply.framing == "close":
            self._http.their_http_version = b"1.0"  # makes h11 end the body by closing, as for an old client
        self._unchecked = isinstance(reply.fault, WrongLength)
        self._chunked = reply.framing == "chunked" and self._http.their_http_version != b"1.0"
        return self._bytes(h11.Response(status_code=reply.status, headers=headers))

    def _bytes(self, event: h11.Response | h11.Data | h11.EndOfMessage) -> bytes:
        return self._http.send(event) or b""


async def _let_others_run() -> None:
    """Yield long enough for a client in the same Trio run to read what was written: to wake, and to call `recv`."""
    for _ in range(2):
        await trio.lowlevel.checkpoint()


def _recorded(head: h11.Request, body: bytes, connection: int) -> RecordedRequest:
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return RecordedRequest(
        method=head.method.decode("ascii"),
        path=head.target.decode("latin-1"),
        headers=headers,
        body=body,
        connection=connection,
    )
