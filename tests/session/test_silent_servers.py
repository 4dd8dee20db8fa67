"""A database that stops answering: in real time, since the drivers wait in threads."""

from __future__ import annotations

import contextlib
import functools
from urllib.parse import urlsplit

import attrs
import pytest
import trio

import allm
from allm.session.stores.backend import Change
from conversations import in_status

HEAD = '{"v":1,"type":"Session","$messages":0}'


class Proxy:
    """Forwards bytes to a server and back, until one direction is blocked."""

    def __init__(self, url):
        self.parts = urlsplit(url)
        self.blocked = None

    async def serve(self, task_status=trio.TASK_STATUS_IGNORED):
        async with trio.open_nursery() as nursery:
            listen = functools.partial(trio.serve_tcp, self.handle, 0, host="127.0.0.1")
            listeners = await nursery.start(listen)
            port = listeners[0].socket.getsockname()[1]
            user = f"{self.parts.username}@" if self.parts.username else ""
            task_status.started(self.parts._replace(netloc=f"{user}127.0.0.1:{port}").geturl())

    async def handle(self, stream):
        async def copy(source, sink, way):
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                async for data in source:
                    if self.blocked != way:
                        await sink.send_all(data)
            nursery.cancel_scope.cancel()

        async with (
            await trio.open_tcp_stream(self.parts.hostname, self.parts.port) as server,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(copy, stream, server, "asking")
            nursery.start_soon(copy, server, stream, "answering")


@pytest.mark.parametrize("store_url", ["postgres", "redis"], indirect=True)
@pytest.mark.parametrize("way", ["asking", "answering"])
async def test_a_server_that_falls_silent(store_url, new_id, nursery, monkeypatch, way):
    """The operation fails after a time without a retry, and the store works afterwards."""
    monkeypatch.setattr(f"allm.session.stores.{store_url.partition(':')[0].removesuffix('ql')}.BOUND", 2.0)
    proxy = Proxy(store_url)
    session = attrs.evolve(await in_status("completed"), id=new_id)
    async with allm.session.open_store(await nursery.start(proxy.serve)) as store:
        await store.save(session)
        proxy.blocked = way
        with pytest.raises(allm.SessionError) as caught:
            await store._backend.write(new_id, Change(head=HEAD), version=1, token=None)
        assert caught.value.reason == "unavailable"
        with pytest.raises(allm.SessionError) as caught:
            async with store.turn(new_id):
                pass
        assert caught.value.reason == "unavailable"
        proxy.blocked = None
        _, version = await store.load(new_id)
        if store_url.startswith("redis"):  # a transaction whose end was not asked for does not count
            assert version == (2 if way == "answering" else 1)
    nursery.cancel_scope.cancel()
