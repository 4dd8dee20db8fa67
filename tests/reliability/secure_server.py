"""A loopback server with TLS that plays one reply over HTTP/2, or over HTTP/1.1 by passing bytes on to a WireServer."""

from __future__ import annotations

import contextlib
import functools
import ssl

import attrs
import h2.config
import h2.connection
import h2.events
import h2.exceptions
import trio
import trustme

from allm.testing import Stall

GONE = (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError)


@attrs.define(eq=False)
class SecureServer:
    """Serve with `await nursery.start(server.serve)`.

    Attributes:
        plain: The WireServer; its `default` is the reply over HTTP/2 too.
        url: The base URL, with the host name of the certificate.
        trusting: TLS settings of a client that trusts the certificate.
        protocols: What each connection speaks.
        ended: How each HTTP/2 stream ended: "completed" or "client_closed".
    """

    plain: object
    protocols: list = attrs.field(factory=list)
    ended: list = attrs.field(factory=list)
    connections: int = 0
    url: str = ""
    trusting: ssl.SSLContext = None

    async def serve(self, task_status=trio.TASK_STATUS_IGNORED):
        authority = trustme.CA()
        own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        own.set_alpn_protocols(["h2", "http/1.1"])
        authority.issue_cert("localhost", "127.0.0.1").configure_cert(own)
        self.trusting = ssl.create_default_context()
        authority.configure_trust(self.trusting)
        handle = functools.partial(self._handle, own)
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(functools.partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
            self.url = f"https://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            task_status.started()

    async def _handle(self, context, raw):
        stream = trio.SSLStream(raw, context, server_side=True, https_compatible=True)
        self.connections += 1
        try:
            await stream.do_handshake()
            protocol = stream.selected_alpn_protocol() or "http/1.1"
            self.protocols.append(protocol)
            await (self._speak_http2 if protocol == "h2" else self._pass_on)(stream)
        except GONE:
            pass
        finally:
            self.connections -= 1
            await trio.aclose_forcefully(stream)

    async def _pass_on(self, stream):
        host, _, port = self.plain.base_url.removeprefix("http://").partition(":")

        async def copy(source, sink):
            with contextlib.suppress(*GONE):
                while data := await source.receive_some(65536):
                    await sink.send_all(data)
            nursery.cancel_scope.cancel()

        async with await trio.open_tcp_stream(host, int(port)) as inner, trio.open_nursery() as nursery:
            nursery.start_soon(copy, stream, inner)
            nursery.start_soon(copy, inner, stream)

    async def _speak_http2(self, stream):
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        connection.initiate_connection()
        playing: dict[int, trio.CancelScope] = {}
        sending = trio.Lock()

        async def flush():
            async with sending:
                if data := connection.data_to_send():
                    await stream.send_all(data)

        async def play(number, reply):
            with trio.CancelScope() as playing[number]:
                connection.send_headers(number, [(":status", str(reply.status)), *reply.headers.items()])
                for piece in reply.pieces():
                    connection.send_data(number, piece.data)
                    await flush()
                if isinstance(reply.fault, Stall):
                    await trio.sleep_forever()
                connection.end_stream(number)
                await flush()
                self.ended.append("completed")

        async with trio.open_nursery() as nursery:
            await flush()
            while data := await stream.receive_some(65536):
                for event in connection.receive_data(data):
                    if isinstance(event, h2.events.StreamEnded):
                        nursery.start_soon(play, event.stream_id, self.plain.default)
                    elif isinstance(event, h2.events.StreamReset):
                        playing[event.stream_id].cancel()
                        self.ended.append("client_closed")
                await flush()
            nursery.cancel_scope.cancel()
