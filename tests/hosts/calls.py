"""What each host does with the library: the same operations on Trio, on asyncio and in a plain thread.

A call reads from a provider that, in some operations, never says more than "Half". It tells its host when it has seen
that, and notes at its end what it has.
"""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager, suppress

import attrs
import trio

import allm
import allm.aio

SOON = 0.05  # seconds


def printed(value):
    """Tell the parent process, as one line of JSON."""
    print(json.dumps(value), flush=True)  # noqa: T201


def saw(_piece):
    printed("seen")


class OnTrio:
    """What differs on Trio."""

    facade = allm

    @staticmethod
    @asynccontextmanager
    async def deadline():
        """Give a function that begins the time limit of the block."""
        with trio.CancelScope() as scope:
            yield lambda: setattr(scope, "deadline", trio.current_time() + SOON)

    @staticmethod
    async def cancelled(function):
        """Run a function, which is given what cancels it."""
        with trio.CancelScope() as scope:
            await function(scope.cancel)

    sleep_forever = staticmethod(trio.sleep_forever)


class OnAsyncio:
    """What differs on asyncio."""

    facade = allm.aio

    @staticmethod
    @asynccontextmanager
    async def deadline():
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as limit:
                yield lambda: limit.reschedule(loop.time() + SOON)

    @staticmethod
    async def cancelled(function):
        task = asyncio.create_task(function(lambda: task.cancel()))  # noqa: PLW0108  (it is not there yet)
        with suppress(asyncio.CancelledError):
            await task

    @staticmethod
    async def sleep_forever():
        await asyncio.get_running_loop().create_future()


LOOPS = {"trio": OnTrio, "asyncio": OnAsyncio}


@attrs.frozen(kw_only=True)
class Call:
    """One operation: its provider and its store, and whom it tells what."""

    url: str
    loop: type = OnTrio
    store: str = ""
    seen: object = saw
    note: object = printed

    @property
    def facade(self):
        return self.loop.facade

    @property
    def engine(self):
        adapter = allm.providers.OpenAI(api_key="k", base_url=self.url, endpoint="chat_completions")
        return allm.Engine(adapter=adapter, model="m")


@asynccontextmanager
async def answer(call):
    """An answer, whose text is noted when its block has been left."""
    try:
        async with call.facade.stream_generate(call.engine, "Hi") as events:
            yield events
    finally:
        call.note(events.result().output_text)


@asynccontextmanager
async def turn(call):
    """The same with the first turn of a session."""
    async with call.facade.session.open_store(call.store) as store, store.turn("a") as lease:
        try:
            async with lease.stream_start(call.engine, "Hi") as events:
                yield events
        finally:
            call.note(events.outcome()[1].output_text)


async def generate(call):
    response = await call.facade.generate(call.engine, "Hi")
    call.note(allm.unwrap(response))


async def stream(call):
    async with call.facade.stream_generate(call.engine, "Hi") as events:
        pieces = [piece async for piece in events.text()]
    call.note("".join(pieces))


async def break_(call):
    async with answer(call) as events:
        async for _ in events.text():
            break


async def cancel(call):
    async with answer(call) as events:
        async for piece in events.text():
            call.seen(piece)


async def deadline(call):
    async with answer(call) as events, call.loop.deadline() as begin:
        async for _ in events.text():
            begin()


async def tools(call):
    """Note the answer, where tools ran, and that one has ended when the cancellation of its turn goes on."""
    here, places, ended = threading.get_ident(), [], []

    @allm.tool
    async def double(n: int) -> int:
        """Double."""
        places.append(threading.get_ident() == here)
        return 2 * n

    @allm.tool
    def triple(n: int) -> int:
        """Triple."""
        places.append(threading.get_ident() != here)
        return 3 * n

    result = await call.facade.chat(call.engine, "Hi", tools=[double, triple])

    async def cut(cancel):
        @allm.tool
        async def wait() -> str:
            """Wait."""
            try:
                cancel()
                await call.loop.sleep_forever()
            finally:
                ended.append(True)

        await call.facade.chat(call.engine, "Hi", tools=[wait])

    await call.loop.cancelled(cut)
    results = [message.text for message in result.thread.messages if message.role == "tool"]
    call.note([result.output_text, sorted(results), places, ended])


async def session(call):
    async with turn(call) as events:
        async for piece in events.text():
            call.seen(piece)


async def reply(call):
    async with call.facade.session.open_store(call.store) as store, store.turn("a") as lease:
        result = await lease.reply(call.engine, "Go on")
    call.note(result.output_text)


OPERATIONS = {
    "generate": generate,
    "stream": stream,
    "break": break_,
    "cancel": cancel,
    "deadline": deadline,
    "tools": tools,
    "session": session,
    "reply": reply,
}


async def run(operation, call):
    """Run an operation on the loop of the call."""
    await OPERATIONS[operation](call)
