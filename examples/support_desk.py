"""A support bot that hands over to a person: small refunds are paid at once, a large one waits until somebody decides.

    python examples/support_desk.py                                     # all of it, in a temporary database
    python examples/support_desk.py ask 17 "Order 7-114 arrived broken. I want my 80 francs back."
    python examples/support_desk.py waiting                             # what waits for a person
    python examples/support_desk.py decide 17 no "It was dropped."      # or: yes

Each command is a process of its own: a conversation waits in ALLM_STORE, by default the file desk.db, for days if need
be. Here the person who decides sees the call that is stored. In a page, send its `fingerprint` along and back, so that
nobody approves another call than they saw (docs/sessions.md).
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import demo
import trio

import allm
from allm import fake

INSTRUCTIONS = "You are the support of a shop. Look an order up before you refund it. Answer in a sentence or two."
ORDERS = {"7-114": 80, "7-115": 12}  # francs that were paid
MOST = 50  # francs that nobody is asked for


@allm.tool
async def find_order(number: str) -> str:
    """Find out what was paid for an order."""
    return f"{ORDERS[number]} francs were paid" if number in ORDERS else "there is no such order"


@allm.tool(manual_when=lambda call: call.arguments["francs"] > MOST)
async def refund(number: str, francs: int) -> str:
    """Pay money back for an order."""
    if not 0 < francs <= ORDERS.get(number, 0):  # whoever has asked: the shop's rules hold
        raise allm.ToolError("that is more than was paid for this order", reason="invalid_arguments")
    return f"{francs} francs for {number} are on their way"


def answer(asked: demo.Asked) -> list[object] | str:
    """The demo model looks the order up, refunds it, and says how that went."""
    number = "7-115" if "7-115" in asked.text else "7-114"
    if not asked.results:
        return [fake.tool_call("find_order", {"number": number})]
    if len(asked.results) == 1:
        return [fake.tool_call("refund", {"number": number, "francs": ORDERS[number]})]
    return f"I have an answer for you: {asked.results[-1]}."


async def ask(store: allm.session.SessionStore, engine: allm.Engine, customer: str, text: str) -> None:
    """Take a message of a customer."""
    async with store.turn(f"customer/{customer}") as turn:
        if turn.session.status == "awaiting_tools":
            print(f"{customer}: A colleague is looking at it. We will write to you.")
        elif turn.session.thread.messages:
            tell(customer, await turn.reply(engine, text))
        else:
            tell(customer, await turn.start(engine, [allm.system(INSTRUCTIONS), allm.user(text)]))


async def decide(store: allm.session.SessionStore, engine: allm.Engine, customer: str, *words: str) -> None:
    """Allow what waits, or say why not, and go on with the conversation."""
    async with store.turn(f"customer/{customer}") as turn:
        session = turn.session
        for call in session.pending_tool_calls:
            if words[0] == "yes":
                session = allm.session.approve(session, call.id, shown=allm.session.fingerprint(call))
            else:
                session = allm.session.deny(session, call.id, " ".join(words[1:]) or "This is not possible.")
        await turn.save(session)
        tell(customer, await turn.continue_(engine))


async def waiting(store: allm.session.SessionStore) -> None:
    """Show what waits for a person."""
    for name in await store.ids("customer/"):
        session, _ = await store.load(name)
        for call in session.pending_tool_calls:
            print(f"{name} waits: {call.name} {call.arguments}")


def tell(customer: str, result: allm.ChatResult) -> None:
    """What the customer reads."""
    if result.halted_reason == "manual_tool_calls":
        print(f"{customer}: Somebody has to agree to that. We will write to you.")
    else:
        print(f"{customer}: {allm.unwrap(result)}")


async def main(url: str, *commands: list[str]) -> None:
    """Run commands, as so many processes would."""
    for name, *words in commands:
        async with allm.session.open_store(url) as store, demo.engine(answer, tools=[find_order, refund]) as engine:
            match name:
                case "ask" if words[1:]:
                    await ask(store, engine, words[0], " ".join(words[1:]))
                case "decide" if words[1:]:
                    await decide(store, engine, *words)
                case "waiting" if not words:
                    await waiting(store)
                case _:
                    sys.exit(__doc__)


if __name__ == "__main__":
    if sys.argv[1:]:
        trio.run(main, os.environ.get("ALLM_STORE", "sqlite:///desk.db"), sys.argv[1:])
    else:
        with tempfile.TemporaryDirectory() as folder:
            small, large = "The cup of order 7-115 is broken.", "Order 7-114 arrived broken. I want my 80 francs back."
            days = (["ask", "16", small], ["ask", "17", large], ["waiting"], ["ask", "17", "Hello?"])
            trio.run(main, f"sqlite:///{Path(folder) / 'desk.db'}", *days, ["decide", "17", "yes"], ["waiting"])
