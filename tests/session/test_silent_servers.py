"""A database that stops answering: in real time, since the drivers wait in threads."""

from __future__ import annotations

import attrs
import pytest

import allm
from allm.session.stores.backend import Change
from conversations import in_status
from tcp_proxy import Proxy

HEAD = '{"v":1,"type":"Session","$messages":0}'


@pytest.mark.parametrize("store_url", ["postgres", "redis"], indirect=True)
@pytest.mark.parametrize("way", ["asking", "answering"])
async def test_a_server_that_falls_silent(store_url, new_id, nursery, monkeypatch, way):
    """The operation fails after a time without a retry, and the store works afterwards."""
    monkeypatch.setattr("allm.session.stores.saving.PATIENCE", 1.0)  # over when the first attempt is
    monkeypatch.setattr("allm.session.stores.store.SHIELD", 1.0)  # same
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


@pytest.mark.parametrize("store_url", ["postgres"], indirect=True)
async def test_a_worker_that_stands_still_in_a_transaction(store_url, store, new_id, monkeypatch):
    """The server ends its transaction, so that other workers get the session."""
    from allm.session.stores import postgres

    await store.save(allm.Session(id=new_id))
    monkeypatch.setattr(postgres, "BOUND", 2.0)
    stopped = postgres._connect(store_url)
    try:
        stopped.execute("BEGIN")
        stopped.execute("UPDATE allm_sessions SET version = version WHERE id = %s", (new_id,))
        async with store.turn(new_id) as turn:
            assert turn.version == 1
    finally:
        stopped.close()
