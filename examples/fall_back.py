"""A second model for when the first is overloaded, and for when it is slow.

In your program the engines are of two providers:
`allm.fallback(allm.Engine.from_model("openai:..."), allm.Engine.from_model("anthropic:..."))`.
"""

from __future__ import annotations

import demo
import trio

import allm
from allm import fake
from allm.testing import Reply


def overloaded(_asked: demo.Asked) -> Reply:
    """A demo model that has no room."""
    return Reply.error("openai", 503, message="The model is overloaded.")


def slow(_asked: demo.Asked) -> list[object]:
    """A demo model that thinks for a minute."""
    return [fake.delay(60), fake.text("The slow one has an answer.")]


def ready(asked: demo.Asked) -> str:
    """A demo model that answers at once."""
    return f"{asked.text} Here I am."


def tell(event: allm.telemetry.TelemetryEvent) -> None:
    """A line for each engine that was asked, or left out."""
    model, error = event.attributes.get("model"), event.attributes.get("error")
    if event.name == "engine.attempt":
        print(f"  {model} is asked" + ("" if error is None else f", since the one before is {error.reason}"))
    elif event.name == "engine.skipped":
        print(f"  {model} is left out: {event.attributes['reason']}")


async def main() -> None:
    """Fall back, then hedge."""
    async with (
        demo.engine(overloaded, name="crowded") as crowded,
        demo.engine(slow, name="slow") as sleepy,
        demo.engine(ready, name="ready") as spare,
    ):
        detach = allm.telemetry.attach(tell)
        engine = allm.fallback(crowded, spare)
        for question in ("Anybody there?", "Still there?"):  # the second call knows who is down
            print(allm.unwrap(await allm.generate(engine, question)))
        engine = allm.hedge(sleepy, spare, after=0.2)  # seconds without content, after which one more is asked
        print(allm.unwrap(await allm.generate(engine, "Who is first?")))
        detach()


if __name__ == "__main__":
    trio.run(main)
