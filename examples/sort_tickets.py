"""Sort support tickets: several closed questions about each, many at once, failures kept beside the answers."""

from __future__ import annotations

import json

import demo
import trio

import allm

TICKETS = [
    "I was charged twice! Please fix it today.",
    "The app crashes when I open a PDF.",
    "Thank you, the new search is great.",
    "When will my refund arrive?",
]
QUESTIONS = {
    "urgent": ["yes", "no"],
    "topic": allm.Question(["billing", "bug", "praise"], "What is it about?"),
}


def judge(asked: demo.Asked) -> str:
    """The demo model knows a few words."""
    text = asked.text.lower()
    topic = "bug" if "crash" in text else "praise" if "thank" in text else "billing"
    return json.dumps({"urgent": "yes" if "today" in text or "crash" in text else "no", "topic": topic})


async def main() -> None:
    """Ask about every ticket, at most two at the same time."""
    found: dict[str, allm.Classification | allm.AllmError] = {}
    async with demo.engine(judge, limiter=trio.CapacityLimiter(2)) as engine:

        async def sort(ticket: str) -> None:
            try:
                found[ticket] = await allm.classify(engine, ticket, QUESTIONS)
            except allm.AllmError as error:
                found[ticket] = error

        async with trio.open_nursery() as nursery:
            for ticket in TICKETS:
                nursery.start_soon(sort, ticket)
    for ticket in TICKETS:
        match found[ticket]:
            case allm.AllmError() as error:
                print("failed:", error)
            case result:
                print(f"{result['topic']:8} {'!' if result['urgent'] == 'yes' else ' '} {ticket}")


if __name__ == "__main__":
    trio.run(main)
