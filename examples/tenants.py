"""Many customers in one process, each with a key of its own that no other ever uses.

`keys.override` holds for the block and everything that it starts, as a context variable does: requests of different
customers run side by side without seeing each other's key.
"""

from __future__ import annotations

import trio

import allm
from allm import fake
from allm.providers import OpenAI
from allm.testing import RecordedRequest, Reply, WireServer

KEYS = {"ada": "sk-ada", "bob": "sk-bob", "eve": "sk-eve"}


def tell_key(request: RecordedRequest) -> Reply:
    """A server that says who has asked."""
    return Reply.script("openai", [fake.text(f"billed to {request.headers['authorization'][-3:]}")])


async def serve(engine: allm.Engine, customer: str, answers: dict[str, str]) -> None:
    """One request of a customer."""
    with allm.keys.override(openai=KEYS[customer]):
        answers[customer] = allm.unwrap(await allm.generate(engine, "Hello"))


async def main() -> None:
    """Serve all customers at once."""
    answers: dict[str, str] = {}
    async with WireServer(default=tell_key) as server:  # in the place of OpenAI, so that the keys need not be real
        engine = allm.Engine(adapter=OpenAI(base_url=server.url("openai"), endpoint="chat_completions"), model="demo")
        async with trio.open_nursery() as nursery:
            for customer in KEYS:
                nursery.start_soon(serve, engine, customer, answers)
    for customer in KEYS:
        print(f"{customer}: {answers[customer]}")


if __name__ == "__main__":
    trio.run(main)
