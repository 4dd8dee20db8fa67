"""Which of two models is better for the job? Ask both all questions of a data set, and let a third one judge.

    export ALLM_MODEL=openai:gpt-5.4-mini ALLM_MODEL_2=anthropic:claude-haiku-4-5
    python examples/compare_models.py [cases.jsonl]

Each line of the file has a question and what a good answer says: {"question": "...", "expected": "..."}. ALLM_JUDGE
names the judge, by default the first model. It sees one answer at a time, with what was expected: a judge that sees two
prefers the one that it reads first.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import attrs
import demo
import trio

import allm

CASES = [
    {"question": "What is the capital of Australia?", "expected": "Canberra"},
    {"question": "How many legs has a spider?", "expected": "eight"},
    {"question": "Is 91 a prime number?", "expected": "no, it is 7 times 13"},
]
VERDICT = {"right": allm.Question(["yes", "no"], "Does the answer say what was expected, and nothing that is wrong?")}


@attrs.define
class Score:
    """How a model did."""

    right: int = 0
    failed: int = 0
    tokens: int = 0
    seconds: float = 0.0


async def examine(engine: allm.Engine, judge: allm.Engine, cases: list[Mapping[str, str]]) -> Score:
    """Ask a model everything, four questions at a time."""
    score = Score()
    limit = trio.CapacityLimiter(4)

    async def one(case: Mapping[str, str]) -> None:
        async with limit:
            start = trio.current_time()
            response = await allm.generate(engine, case["question"])
            score.seconds += trio.current_time() - start
            score.tokens += (response.usage and response.usage.output_tokens) or 0
            try:
                answer = f"{case['question']}\n\nExpected: {case['expected']}\n\nAnswer: {allm.unwrap(response)}"
                verdict = await allm.classify(judge, answer, VERDICT)
            except allm.AllmError as error:  # no answer, or no verdict: not the same as a wrong answer
                score.failed += 1
                print(f"{engine.model}, {case['question']!r}: {error}", file=sys.stderr)
            else:
                score.right += verdict["right"] == "yes"

    async with trio.open_nursery() as nursery:
        for case in cases:
            nursery.start_soon(one, case)
    return score


def careful(asked: demo.Asked) -> str:
    """A demo model that knows the answers."""
    return next(case["expected"] for case in CASES if case["question"] == asked.text)


def hasty(asked: demo.Asked) -> str:
    """A demo model that knows one of them."""
    return "It is Canberra." if "Australia" in asked.text else "Yes, two."


def strict(asked: demo.Asked) -> str:
    """The demo judge looks for the words."""
    expected, _, answer = asked.text.partition("Expected: ")[2].partition("\n\nAnswer: ")
    return json.dumps({"right": "yes" if expected in answer else "no"})


async def main(cases: list[Mapping[str, str]]) -> None:
    """Examine both, and compare."""
    first, second = os.environ.get("ALLM_MODEL"), os.environ.get("ALLM_MODEL_2")
    async with (
        demo.engine(careful, name="careful") as one,
        demo.engine(hasty, name="hasty", model=second or first) as other,
        demo.engine(strict, name="strict", model=os.environ.get("ALLM_JUDGE") or first) as judge,
    ):
        print(f"{'model':24} right failed tokens seconds")
        for engine in (one, other):
            score = await examine(engine, judge, cases)
            right = f"{score.right}/{len(cases)}"
            print(f"{engine.model:24} {right:>5} {score.failed:6} {score.tokens:6} {score.seconds:7.2f}")


if __name__ == "__main__":
    given = Path(sys.argv[1]).read_text("utf-8").splitlines() if sys.argv[1:] else map(json.dumps, CASES)
    trio.run(main, [json.loads(line) for line in given])
