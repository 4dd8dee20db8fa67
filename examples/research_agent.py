"""An agent whose tool runs agents of its own side by side, all under one budget.

The budget holds for whatever is started in its block, so it need not be passed on. The usage of the turn has that of
the agents inside.
"""

from __future__ import annotations

import demo
import trio

import allm
from allm import fake

NOTES = {
    "owls": "Owls turn their heads by 270 degrees.",
    "bats": "Bats hear what they cannot see.",
    "moths": "Moths have ears for bats.",
}
AGENT = "You plan research. Ask for all topics in one call, then answer in a few sentences."
SUB_AGENT = "Look your topic up, then report in one sentence."


@allm.tool
async def look_up(topic: str) -> str:
    """Look a topic up in the notes."""
    return NOTES.get(topic.lower(), "Nothing is known about that.")


@allm.tool
async def research(topics: list[str], turn: allm.ToolContext) -> dict[str, str]:
    """Give each topic to a researcher, and collect their reports.

    Args:
        topics: One word each.
    """
    print("looking into", ", ".join(topics))
    reports: dict[str, str] = {}

    async def report(topic: str) -> None:
        prompt = [allm.system(SUB_AGENT), allm.user(topic)]
        reports[topic] = allm.unwrap(await allm.chat(turn.engine, prompt, tools=[look_up]))

    async with trio.open_nursery() as nursery:
        for topic in topics:
            nursery.start_soon(report, topic)
    return {topic: reports[topic] for topic in topics}


def think(asked: demo.Asked) -> list[object] | str:
    """The demo model, in both parts."""
    if "research" in asked.tools:
        return "Done. " + asked.results[0] if asked.results else [fake.tool_call("research", {"topics": list(NOTES)})]
    return asked.results[0] if asked.results else [fake.tool_call("look_up", {"topic": asked.text})]


async def main() -> None:
    """Ask one question."""
    async with demo.engine(think) as engine:
        prompt = [allm.system(AGENT), allm.user("What do owls, bats and moths have of the night?")]
        with allm.budget(tokens=100_000, calls=30) as budget:  # or usd=0.50
            result = await allm.chat(engine, prompt, tools=[research])
    print(allm.unwrap(result) if result.error is None else f"no answer: {result.error}")
    for number, step in enumerate(result.steps):
        print(f"step {number}: {tokens(step.response.usage)} tokens, and {tokens(step.tool_usage)} inside its tools")
    print(f"together: {tokens(result.usage)} tokens in {budget.spent.calls} requests")
    print(f"counted by the budget: {budget.spent.tokens} tokens; {budget.remaining.calls} requests are left")


def tokens(usage: allm.Usage | None) -> int:
    """Of prompts and answers."""
    return 0 if usage is None else (usage.input_tokens or 0) + (usage.output_tokens or 0)


if __name__ == "__main__":
    trio.run(main)
