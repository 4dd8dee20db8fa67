"""`no_leaks` as a context manager: what counts as left behind, and what does not."""

from __future__ import annotations

import asyncio
import functools
import socket
import threading

import httpcore
import httpx
import pytest
import trio

import allm
from allm import fake
from allm.providers import OpenAI
from allm.testing import Reply, WireServer, no_leaks

HELLO = Reply.script("openai", [fake.text("Hello")])


async def ask(server, client=None):
    adapter = OpenAI(api_key="test", base_url=server.url("openai"), http_client=client)
    assert (await allm.generate(allm.Engine(adapter=adapter, model="m"), "hi")).output_text == "Hello"


async def test_idle_connections_may_stay():
    """Of a client that is older than the block, of one that is made in it, and of the library's own."""
    async with WireServer(HELLO) as server, httpx.AsyncClient() as client:
        for _ in range(2):
            async with no_leaks():
                await ask(server, client)
                await ask(server)
        async with no_leaks():
            newer = httpx.AsyncClient()
            await ask(server, newer)
        await newer.aclose()


@pytest.mark.parametrize("warm", [False, True], ids=["cold pool", "warm pool"])
async def test_a_connection_that_nothing_uses_again_is_found(warm, found_soon):
    """Beside connections that rest in a pool, a lost one is still seen."""
    async with WireServer(HELLO) as server:
        if warm:
            await ask(server)
        lost = []
        with pytest.raises(AssertionError, match=r"socket \d+ \(127.0.0.1:\d+ connected to 127.0.0.1:\d+\) is open"):
            async with no_leaks():
                await ask(server)
                lost.append(await trio.open_tcp_stream("127.0.0.1", int(server.base_url.rpartition(":")[2])))
        await lost[0].aclose()


async def test_a_connection_that_was_taken_out_of_its_pool_is_found(found_soon):
    """It was open before the block, and rested."""
    async with WireServer(HELLO) as server, httpx.AsyncClient() as client:
        await ask(server, client)
        pool = client._transport._pool
        [lost] = pool.connections
        with pytest.raises(AssertionError, match="connected to"):
            async with no_leaks():
                pool._connections.clear()
        await lost.aclose()


async def test_an_entry_of_a_pool_that_nothing_uses_is_found(found_soon):
    """As a cancellation may leave it, without an open socket."""
    async with httpcore.AsyncConnectionPool() as pool:
        with pytest.raises(AssertionError, match="an entry in the pool of an HTTP client is neither idle nor closed"):
            async with no_leaks():
                origin = httpcore.Origin(b"http", b"127.0.0.1", 9)
                pool._connections.append(pool.create_connection(origin))
        pool._connections.clear()


async def test_a_server_in_the_same_task_is_not_of_the_block():
    """Its tasks are started by itself, in a nursery that is older."""
    async with WireServer(HELLO) as server, no_leaks():
        stream = await trio.open_tcp_stream("127.0.0.1", int(server.base_url.rpartition(":")[2]))
        await stream.aclose()


async def test_a_connection_that_is_replaced_is_not_a_leak():
    """As a pool of a database does it."""
    async with WireServer(HELLO) as server:
        port = int(server.base_url.rpartition(":")[2])
        old = await trio.open_tcp_stream("127.0.0.1", port)
        async with no_leaks():
            new = await trio.open_tcp_stream("127.0.0.1", port)
            await old.aclose()
        await new.aclose()


async def test_a_thread_that_is_about_to_end_is_waited_for():
    """One that was abandoned, as that of a tool which was cancelled, has a moment."""
    stop, leaving = threading.Event(), trio.Event()

    async def stop_later():
        await leaving.wait()
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        stop.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(stop_later)
        async with no_leaks():
            with trio.move_on_after(0.01) as scope:
                await trio.to_thread.run_sync(stop.wait, abandon_on_cancel=True)
            assert scope.cancelled_caught
            leaving.set()


@pytest.mark.parametrize("kind", [trio.Lock, trio.StrictFIFOLock, functools.partial(trio.Semaphore, 2, max_value=2)])
async def test_locks_are_looked_at(kind, found_soon):
    """Whichever kind; a lock that another task holds is its own affair."""
    lock = kind()
    with pytest.raises(AssertionError, match=r"is held by|more permits"):
        async with no_leaks():
            await lock.acquire()
    lock.release()
    async with no_leaks(), lock:
        pass


async def test_locks_of_other_tasks_are_not():
    """They may come and go while the block runs."""
    limiter, lock, wake = trio.CapacityLimiter(5), trio.Lock(), trio.Event()

    async def hold():
        await wake.wait()
        async with limiter, lock:
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        async with no_leaks():
            wake.set()
            await trio.testing.wait_all_tasks_blocked()
            assert limiter.borrowed_tokens == 1
        nursery.cancel_scope.cancel()


async def test_an_exception_of_the_block_comes_first():
    """It is why something was left."""
    with pytest.raises(ZeroDivisionError):
        async with no_leaks():
            made = socket.socket()
            raise ZeroDivisionError
    made.close()


def test_outside_of_trio(found_soon):
    """A plain `with` looks at files, sockets and threads."""
    with no_leaks():
        trio.run(trio.sleep, 0)
    with pytest.raises(AssertionError, match="not connected"), no_leaks():
        made = socket.socket()
    made.close()


async def test_the_wrong_form_is_refused_in_trio():
    """What ends needs a moment in which other tasks run."""
    with pytest.raises(RuntimeError, match="`async with`"), no_leaks():
        pass


def test_the_wrong_form_is_refused_outside_of_trio():
    """Also under another event loop."""

    async def main():
        async with no_leaks():
            pass

    with pytest.raises(RuntimeError, match='return "trio"'):
        asyncio.run(main())
