"""Conversations in a database that several workers share: one answers at a time, and a killed one loses nothing.

    ALLM_STORE=postgresql://user@host/database python examples/two_workers.py    # default: a SQLite file

Two workers take messages for the same conversation. `store.turn` gives it to one of them. The other waits, and is told
what was said meanwhile (`SessionConflict`): its message was meant for an older state, so the program decides. Here it
is sent all the same.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import demo
import trio

import allm


async def worker(name: str, engine: allm.Engine, url: str, inbox: trio.MemoryReceiveChannel[str]) -> None:
    """Answer messages; in production each worker is a process."""
    async with allm.session.open_store(url) as store, inbox:
        async for message in inbox:
            print(f"{name}: {await answer(store, engine, message)}")


async def answer(store: allm.session.SessionStore, engine: allm.Engine, message: str) -> str:
    """Say a message in the conversation, however often another worker is first."""
    while True:
        try:
            async with store.turn("customer-7") as turn:
                return allm.unwrap(await turn.reply(engine, message))
        except allm.SessionConflict as conflict:
            print(f"  somebody else has saved version {conflict.version}")


async def main(url: str) -> None:
    """Two workers, five messages."""
    async with demo.engine() as engine, trio.open_nursery() as nursery:
        send, receive = trio.open_memory_channel[str](0)
        async with send, receive:
            for name in ("first", "second"):
                nursery.start_soon(worker, name, engine, url, receive.clone())
            for number in range(5):
                await send.send(f"message {number}")
    async with allm.session.open_store(url) as store:
        session, version = await store.load("customer-7")
        print(f"{len(session.thread.messages)} messages, saved {version} times, {session.status}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, os.environ.get("ALLM_STORE") or f"sqlite:///{Path(folder) / 'chat.db'}")
