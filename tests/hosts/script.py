"""The operations in a plain thread, and a script that runs one: `python -m hosts.script cancel URL STORE`."""

from __future__ import annotations

import os
import signal
import sys
import threading

import allm
import allm.blocking
from hosts.calls import Call, saw


def generate(call):
    call.note(allm.unwrap(allm.blocking.generate(call.engine, "Hi")))


def stream(call):
    with allm.blocking.stream_generate(call.engine, "Hi") as events:
        call.note("".join(events.text()))


def break_(call):
    events = allm.blocking.stream_generate(call.engine, "Hi")
    for event in events:
        if isinstance(event, allm.TextDelta):
            break
    call.note(events.result().output_text)


def cancel(call):
    try:
        with allm.blocking.stream_generate(call.engine, "Hi") as events:
            for piece in events.text():
                call.seen(piece)
    except KeyboardInterrupt:
        call.note(events.result().output_text)


def deadline(call):
    response = allm.blocking.generate(call.engine, "Hi", request_timeout=3)  # enough for the first piece
    assert response.error.reason == "timeout", response.error
    call.note(response.output_text)


def tools(call):
    here, places, ended = threading.get_ident(), [], []

    @allm.tool
    async def double(n: int) -> int:
        """Double."""
        places.append(threading.current_thread().name == "allm trio")
        return 2 * n

    @allm.tool
    def triple(n: int) -> int:
        """Triple."""
        places.append(threading.get_ident() != here)
        return 3 * n

    @allm.tool
    async def wait() -> str:
        """Wait."""
        import trio

        try:
            os.kill(os.getpid(), signal.SIGINT)
            await trio.sleep_forever()
        finally:
            ended.append(True)

    result = allm.blocking.chat(call.engine, "Hi", tools=[double, triple])
    try:
        allm.blocking.chat(call.engine, "Hi", tools=[wait])
    except KeyboardInterrupt:
        results = [message.text for message in result.thread.messages if message.role == "tool"]
        call.note([result.output_text, sorted(results), places, ended])


def session(call):
    try:
        with (
            allm.blocking.session.open_store(call.store) as store,
            store.turn("a") as lease,
            lease.stream_start(call.engine, "Hi") as events,
        ):
            for piece in events.text():
                call.seen(piece)
    except KeyboardInterrupt:
        call.note(events.outcome()[1].output_text)


def reply(call):
    with allm.blocking.session.open_store(call.store) as store, store.turn("a") as lease:
        call.note(lease.reply(call.engine, "Go on").output_text)


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

if __name__ == "__main__":
    name, url, store = sys.argv[1:]
    OPERATIONS[name](Call(url=url, store=store, seen=saw))
