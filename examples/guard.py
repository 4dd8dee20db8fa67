"""What may leave the house: one wrapper refuses requests, another takes addresses out of what is sent.

They are around the adapter, so they see every request: of chats, sessions and agents, with the results of tools in it.
"""

from __future__ import annotations

import re

import attrs
import demo
import trio

import allm
from allm import fake
from allm.adapters import AdapterOptions, AdapterWrapper, with_texts

ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+")


class Guarded(AdapterWrapper):
    """Refuses requests about what is secret; nothing is sent then."""

    def changed(self, request: allm.Request, options: AdapterOptions) -> allm.Request:
        """Look at the whole conversation."""
        if any("project owl" in message.text.lower() for message in request.messages):
            what = "Project Owl is not for other ears"
            raise allm.AdapterError(what, reason="content_filter", provider=self.provider)
        return super().changed(request, options)


class Redacted(AdapterWrapper):
    """Sends no e-mail address."""

    def changed(self, request: allm.Request, options: AdapterOptions) -> allm.Request:
        """Change what is sent; the program's conversation stays as it is."""
        return with_texts(super().changed(request, options), lambda text: ADDRESS.sub("[address]", text))


@allm.tool
async def find_customer(name: str) -> str:
    """Find a customer."""
    return f"{name}, {name.lower()}@example.com, orders tea"


def answer(asked: demo.Asked) -> list[object] | str:
    """The demo model repeats what it was sent."""
    if asked.results:
        return f"I was told: {asked.text} And by the tool: {asked.results[0]}."
    return [fake.tool_call("find_customer", {"name": "Bob"})]


async def main() -> None:
    """One question that may be sent, and one that may not."""
    async with demo.engine(answer, tools=[find_customer]) as engine:
        engine = attrs.evolve(engine, adapter=Guarded(Redacted(engine.adapter)))
        result = await allm.chat(engine, "I am ann@example.com. What does Bob order?")
        print(allm.unwrap(result))
        kept = [message.text for message in result.thread.messages if message.role == "user"]
        print("in the program:", kept[0])
        try:
            await allm.chat(engine, "How is Project Owl?")
        except allm.AdapterError as error:
            print("not sent:", error.message)


if __name__ == "__main__":
    trio.run(main)
