"""See what a program does and what it costs: a line for each call, and a recording to look at in a browser.

python examples/watch_costs.py run.jsonl && allm trace run.jsonl --open
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import demo
import trio

import allm
from allm import fake


@allm.tool
async def weather(city: str) -> str:
    """Tell the weather of today."""
    await trio.sleep(0.1)
    return f"{city}: 21 degrees"


def answer(asked: demo.Asked) -> list[object] | str:
    """The demo model asks for two cities at once."""
    if asked.results:
        return "Both are warm."
    return [fake.tool_call("weather", {"city": city}) for city in ("Zug", "Bern")]


def tell(event: allm.telemetry.TelemetryEvent) -> None:
    """A line for each span that has ended."""
    if event.phase == "stop":
        usage, error = event.attributes.get("usage"), event.attributes.get("error")
        counted = usage is not None and usage.input_tokens is not None
        used = f", {usage.input_tokens} tokens in, {usage.output_tokens} out" if counted else ""
        print(f"{event.name}: {event.duration:.3f} seconds{used}{'' if error is None else f', failed: {error.reason}'}")


async def main(path: Path) -> None:
    """Run a turn with tools, and record it."""
    detach = allm.telemetry.attach(tell)
    prices = (allm.models.Prices(input=1.0, output=4.0),)  # dollars for a million tokens
    allm.models.put(allm.models.ModelInfo(provider="openai", id="demo", prices=prices))
    async with demo.engine(answer, tools=[weather]) as engine:
        with allm.telemetry.record(path, content=True):
            result = await allm.chat(engine, "Where is it warmer, in Zug or in Bern?")
    detach()
    cost = None if result.usage is None else result.usage.total_cost  # None, too, if the model's price is not known
    print(f"The turn cost {'what nobody knows' if cost is None else f'${cost:.6f}'}; {path.name} has the rest.")
    print(allm.unwrap(result))


if __name__ == "__main__":
    if sys.argv[1:]:
        trio.run(main, Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as folder:
            trio.run(main, Path(folder) / "run.jsonl")
