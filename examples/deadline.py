"""Read as much of an answer as fits into two seconds, and keep what has arrived.

A deadline, Ctrl-C and a `break` all end the call in the same way: the connection is closed, and `result()` has what
had arrived.
"""

from __future__ import annotations

import demo
import trio

import allm
from allm import fake


def story(_asked: demo.Asked) -> list[object]:
    """A long answer, at the pace of a model."""
    return [item for number in range(1, 1000) for item in (fake.text(f"{number} "), fake.delay(0.05))]


async def main() -> None:
    """Count, but not for long."""
    async with demo.engine(story) as engine:
        with trio.move_on_after(2) as scope:
            async with allm.stream_generate(engine, "Count to a thousand.") as events:
                async for text in events.text():
                    print(text, end="", flush=True)
        response = events.result()
        print(f"\nin time: {not scope.cancelled_caught}; kept: {len(response.output_text.split())} numbers")


if __name__ == "__main__":
    trio.run(main, restrict_keyboard_interrupt_to_checkpoints=True)  # Ctrl-C waits for the next `await` of main
