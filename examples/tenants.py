"""Many customers in one process, each with a key of its own that no other ever uses.

    ADA_KEY=sk-... BOB_KEY=sk-... EVE_KEY=sk-... ALLM_MODEL=openai:gpt-5.4-mini python examples/tenants.py

`keys.override` holds for the block and everything that it starts, as a context variable does: requests of different
customers run side by side without seeing each other's key. A customer whose key is refused is told; the others go on.
"""

from __future__ import annotations

import os

import demo
import trio

import allm

CUSTOMERS = ("ada", "bob", "eve")


def tell_key(asked: demo.Asked) -> str:
    """The demo model says who pays."""
    return f"billed to {asked.key}"


async def serve(engine: allm.Engine, customer: str, answers: dict[str, str]) -> None:
    """One request of a customer."""
    key = os.environ.get(f"{customer.upper()}_KEY", f"sk-{customer}")  # in your program: from where you keep secrets
    with allm.keys.override(**{str(engine.adapter.provider): key}):  # openai=key, where the provider is known
        response = await allm.generate(engine, "Hello")
    answers[customer] = response.output_text if response.error is None else f"no answer [{response.error.reason}]"


async def main() -> None:
    """Serve all customers at once."""
    answers: dict[str, str] = {}
    async with demo.engine(tell_key, api_key=None) as engine, trio.open_nursery() as nursery:
        for customer in CUSTOMERS:
            nursery.start_soon(serve, engine, customer, answers)
    for customer in CUSTOMERS:
        print(f"{customer}: {answers[customer]}")


if __name__ == "__main__":
    trio.run(main)
