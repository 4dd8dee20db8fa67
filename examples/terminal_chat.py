"""A chat in the terminal that remembers: it streams, Ctrl-C ends an answer and not the program, Ctrl-D leaves.

    python examples/terminal_chat.py [conversation.json]

Run it again with the same file, and the model knows what was said, also the half of an answer that was stopped.
"""

from __future__ import annotations

import signal
import sys

import demo
import trio

import allm
from allm import fake


async def answer(engine: allm.Engine, session: allm.Session, text: str) -> allm.Session:
    """Show an answer while it arrives; Ctrl-C keeps what has been seen."""
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:

            async def stop() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(stop)
            async with allm.session.stream_reply(engine, session, text) as events:
                async for piece in events.text(raise_on_error=False):
                    print(piece, end="", flush=True)
            nursery.cancel_scope.cancel()
    session, result = events.outcome()
    print("" if result.error is None else f"\n{result.error}")
    return session


async def main(path: trio.Path | None) -> None:
    """Talk until the input ends."""
    session = allm.Session(id="terminal")
    if path is not None and await path.exists():
        session = allm.from_json(await path.read_text("utf-8"), allm.Session)
        print(f"({len(session.thread.messages)} messages so far)")
    async with demo.engine(word_by_word) as engine:
        while text := await trio.to_thread.run_sync(read_line, abandon_on_cancel=True):
            session = await answer(engine, session, text)
            if path is not None:
                await path.write_text(allm.to_json(session), "utf-8")


def word_by_word(asked: demo.Asked) -> list[object]:
    """The demo model has a pace at which Ctrl-C can stop it."""
    words = f"You said: {asked.text}".split(" ")
    return [item for word in words for item in (fake.delay(0.1), fake.text(f"{word} "))]


def read_line() -> str | None:
    """What the user says; None at the end of the input."""
    try:
        return input("> ") or "go on"
    except EOFError:
        return None


if __name__ == "__main__":
    trio.run(main, trio.Path(sys.argv[1]) if sys.argv[1:] else None)
