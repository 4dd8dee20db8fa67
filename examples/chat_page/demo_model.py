"""A model that needs no key: it answers word by word, asks for a tool, and says what a picture is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

import allm
from allm import fake
from allm.providers import Fake

HELP = (
    "I am a demo without a key. I answer word by word, so that there is something to see: stop me, reload the page, or "
    "open it in a second tab. Ask me to pay 5 francs, and I need your approval. Send me a picture, and I describe it. "
    "Say fail, and I do. You wrote: "
)


async def reading() -> None:
    """The pace of a fast reader: what a word takes."""
    await trio.sleep(0.06)


class DemoModel:
    """An adapter that plays answers at a pace: before each word it awaits a function."""

    provider = "demo"
    requires_model = False

    def __init__(self, pace: Callable[[], Awaitable[None]] = reading) -> None:
        self._pace = pace
        self._fake = Fake(respond=answer)

    def prepare(self, request: allm.Request, options: Any) -> Any:
        """See `StreamAdapter`."""
        return self._fake.prepare(request, options)

    async def stream(self, prepared: Any, emit: Any) -> None:
        """See `StreamAdapter`."""

        async def paced(*events: Any) -> None:
            for event in events:
                if isinstance(event, allm.TextDelta):
                    await self._pace()
                await emit(event)

        await self._fake.stream(prepared, paced)


def answer(request: allm.Request) -> list[Any]:
    """The items of an answer to the newest message."""
    last = request.messages[-1]
    if last.role == "tool":
        return words(f"That is settled: {last.text}.")
    images = [part.image for part in last.content if isinstance(part, allm.ImagePart)] if not last_is_text(last) else []
    if images:
        return words(" ".join(f"I see a picture of the type {image.mime_type}." for image in images))
    text = last.text
    if "pay" in text.lower():
        amount = next((int(word) for word in text.split() if word.isdigit()), 5)
        return [*words("I would pay that now."), fake.tool_call("pay", {"amount": amount})]
    if "fail" in text.lower():
        error = allm.AdapterError("the demo fails, as you asked it to", reason="overloaded", provider="demo")
        return [*words("I try,"), fake.error(error)]
    return words(HELP + text)


def last_is_text(message: allm.Message) -> bool:
    """Whether a message has nothing but text."""
    return isinstance(message.content, str)


def words(text: str) -> list[Any]:
    """A text as items, one for each word."""
    return [fake.text(word) for word in text.replace(" ", " \0").split("\0")]


@allm.tool(manual=True)
async def pay(amount: int) -> str:
    """Pay an invoice.

    Args:
        amount: In francs.
    """
    return f"paid {amount} francs"
