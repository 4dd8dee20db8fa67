"""`keep_last_turns` and `summarize`: functions for the option `compact`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import final

import attrs

from allm.data.attrs_classes import define
from allm.data.json.text import dumps
from allm.data.message import Message, Thread, user
from allm.execution.compaction import OnTrio
from allm.execution.generate import generate, unwrap
from allm.runtime.engine import Engine

__all__ = ["keep_last_turns", "summarize"]

PROMPT = (
    "Summarize the conversation below for somebody who goes on with it: what the user wants, what was found out and "
    "decided, names, numbers and open questions. Leave out what has no effect any more."
)


def keep_last_turns(n: int) -> Callable[[Thread], Thread]:
    """Send the last `n` turns, with the system messages; calls of tools and their results stay together.

        await allm.chat(engine, thread, compact=allm.compact.keep_last_turns(10))

    Args:
        n: How many turns, as in `Thread.last_turns`.

    Raises:
        ValidationError: `n` is no such number.
    """
    Thread().last_turns(n)
    return lambda thread: thread.last_turns(n)


def summarize(engine: Engine, *, keep: int = 2, prompt: str = PROMPT) -> Callable[[Thread], Awaitable[Thread]]:
    """Send a summary in place of all but the last turns.

        await allm.chat(engine, thread, compact=allm.compact.summarize(small_engine))

    The summary is the first message of the user. It is made again when the turns before those that are kept are others.

    Args:
        engine: Whose model writes it: it has to have room for the whole conversation.
        keep: How many turns are sent as they are.
        prompt: What the model is told; the conversation follows.

    Raises:
        ValidationError: `keep` is no number of turns.
    """
    Thread().last_turns(keep)
    return _Summary(engine, keep, prompt)


@final
@define(eq=False)
class _Summary(OnTrio):
    _engine: Engine
    _keep: int
    _prompt: str
    _of: tuple[Message, ...] = attrs.field(default=(), init=False)
    _text: str = attrs.field(default="", init=False)

    async def __call__(self, thread: Thread) -> Thread:
        """The thread with a summary of what is not kept.

        Raises:
            AllmError: The summary could not be made.
        """
        instructions = tuple(message for message in thread.messages if message.role == "system")
        spoken = tuple(message for message in thread.messages if message.role != "system")
        recent = tuple(message for message in thread.last_turns(self._keep).messages if message.role != "system")
        older = spoken[: len(spoken) - len(recent)]
        if not older:
            return thread
        if older != self._of:
            text = "\n\n".join(map(_shown, older))
            request = f"{self._prompt}\n\n<conversation>\n{text}\n</conversation>"
            self._text = unwrap(await generate(self._engine, request))
            self._of = older
        summary = user(f"<summary_of_the_conversation_so_far>\n{self._text}\n</summary_of_the_conversation_so_far>")
        return attrs.evolve(thread, messages=(*instructions, summary, *recent))


def _shown(message: Message) -> str:
    """A message as a text for another model."""
    calls = [f"{call.name}({dumps(call.arguments).decode()})" for call in message.tool_calls]
    return f"{message.role}: {' '.join([message.text, *calls]).strip() or '(a file)'}"
