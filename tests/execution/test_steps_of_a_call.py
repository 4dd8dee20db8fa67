"""What a call costs besides its tokens, in steps of tasks and in questions to the catalog; never in time."""

from __future__ import annotations

from contextlib import contextmanager

import attrs
import trio

import allm
from allm import fake
from allm.runtime import catalog
from allm.testing import Reply, WireServer


@attrs.define(eq=False)
class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks."""

    count: int = 0

    def before_task_step(self, task):
        self.count += 1


@contextmanager
def counted():
    """The steps of the block."""
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps
    finally:
        trio.lowlevel.remove_instrument(steps)


class Nothing(allm.adapters.Adapter):
    """Answers at once."""

    provider = "nothing"

    def prepare(self, request, options):
        return request

    async def stream(self, prepared, emit):
        await emit(allm.MessageCompleted(allm.assistant("hi"), "stop"))


async def test_steps_of_a_call():
    """The producer has one; the caller starts it, is woken by the answer, and leaves the nursery."""
    engine = allm.Engine(adapter=Nothing(), model="m")
    with counted() as steps:
        for _ in range(100):
            await allm.generate(engine, "hi")
    assert steps.count <= 3 * 100 + 5


@allm.tool
async def nothing(n: int) -> str:
    """Do nothing."""
    return "ok"


async def steps_of_tools(count):
    """Steps of a turn with one batch of tools."""
    scripts = [[fake.tool_call("nothing", {"n": n}) for n in range(count)], [fake.text("done")]]
    engine = allm.Engine(adapter=allm.providers.Fake(scripts=scripts))
    with counted() as steps:
        result = await allm.chat(engine, "go", tools=[nothing])
    assert len(result.steps[0].tool_results) == count
    return steps.count


async def test_steps_of_a_tool():
    """One to be started in its order, one to run, one for the consumer; a full channel adds some."""
    few, many = await steps_of_tools(50), await steps_of_tools(250)
    assert many - few <= 3.2 * 200


async def test_the_catalog_is_searched_once_for_each_model(monkeypatch):
    """A call asks several times what its model can do; later calls with the same model search nothing."""
    searched = []
    find = catalog._find

    def noting(*args):
        searched.append(args[2])
        return find(*args)

    monkeypatch.setattr(catalog, "_find", noting)
    async with WireServer() as server:
        answer = [fake.text("hi"), fake.usage(input_tokens=1, output_tokens=1)]
        server.default = Reply.script("openai", answer, model="gpt-5.4")
        adapter = allm.providers.OpenAI(api_key="k", base_url=server.url("openai"), endpoint="chat_completions")
        engine = allm.Engine(adapter=adapter, model="gpt-5.4")
        assert (await allm.generate(engine, "hi")).usage.total_cost
        searched.clear()
        for _ in range(5):
            assert (await allm.generate(engine, "hi")).usage.total_cost
    assert searched == []


async def test_what_is_put_in_counts_at_once():
    """Also of a model that was asked for before."""
    assert allm.models.lookup("openai", "gpt-of-mine") is None
    allm.models.put(allm.models.ModelInfo(provider="openai", id="gpt-of-mine", tools=False))
    try:
        assert allm.models.lookup("openai", "gpt-of-mine").tools is False
    finally:
        allm.models.clear()
    assert allm.models.lookup("openai", "gpt-of-mine") is None
