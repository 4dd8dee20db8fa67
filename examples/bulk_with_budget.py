"""Many requests under a budget in dollars: the run ends before it costs more, says so, and goes on with a larger one.

A budget needs prices. `allm` knows those of many models; for others, such as one that you host, put them in.

    python examples/bulk_with_budget.py [labels.sqlite]     # a journal to go on with; default: a temporary one
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import demo
import trio

import allm

REVIEWS = [f"Review {number}: the kettle is {word}." for number in range(20) for word in ("great", "loud", "broken")]
PROMPT = "Is this review good or bad? Answer with one word.\n\n"
MOST_TOKENS = 200  # of an answer, with what the model thinks: the price of so many must be left before a call begins


def judge(asked: demo.Asked) -> str:
    """The demo model."""
    return "good" if "great" in asked.text else "bad"


async def label(engine: allm.Engine, journal: Path, budget: float) -> bool:
    """Label what the journal does not have yet; says whether all have a label."""
    labels: dict[int, str] = {}
    prompts = [PROMPT + review for review in REVIEWS]
    async with allm.bulk(
        engine, prompts, limit=4, journal=journal, budget=budget, max_failures=10, max_tokens=MOST_TOKENS
    ) as run:
        try:
            async for item in run:
                if item.response is None:
                    print(f"no label for {item.request!r}: {item.error}", file=sys.stderr)
                elif item.response.finish_reason != "stop":  # thought, refused or wrote for too long
                    print(f"no label for {item.request!r}: {item.response.finish_reason}", file=sys.stderr)
                else:
                    labels[item.index] = item.response.output_text
        except allm.BulkError as error:  # never a loop that just ends: a part is not taken for the whole
            print(f"ended early [{error.reason}]: {error}")
        print(f"a budget of ${budget}: {len(labels)} of {run.total} labels for ${run.spent:.6f}")
        print("within the budget:", run.spent <= budget)
    return len(labels) == len(REVIEWS)


async def main(journal: Path) -> None:
    """A budget that is too small, and then one that is not; the second counts what the first has paid."""
    async with demo.engine(judge) as engine:
        provider, model = str(engine.adapter.provider), str(engine.model)
        known = allm.models.lookup(provider, model)
        if known is None or not known.prices:
            prices = allm.models.Prices(input=1.0, output=4.0)  # dollars for a million tokens
            allm.models.put(allm.models.ModelInfo(provider=provider, id=model, prices=(prices,)))
        if not await label(engine, journal, budget=0.003):
            await label(engine, journal, budget=0.1)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(sys.argv[1]) if sys.argv[1:] else Path(folder) / "labels.sqlite"
        trio.run(main, path, restrict_keyboard_interrupt_to_checkpoints=True)  # Ctrl-C cuts nothing between two awaits
