"""`warm_up` does what the first call would do, so that the first call does not."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

import allm
from allm import fake
from allm.http import library
from allm.runtime import catalog, costs
from allm.testing import Reply, WireServer


async def test_the_first_call_after_it_loads_nothing(unloaded, monkeypatch):
    """Everything was loaded in a thread; nothing was sent."""
    threads = []
    for module, name in ((library, "_load"), (catalog, "bundled"), (costs, "_genai_prices")):
        known = getattr(module, name)

        def noting(*args, known=known, **kwargs):
            threads.append(threading.current_thread())
            return known(*args, **kwargs)

        monkeypatch.setattr(module, name, noting)
    async with WireServer() as server:
        server.default = Reply.script("openai", [fake.text("hi")])
        adapter = allm.providers.OpenAI(api_key="k", base_url=server.url("openai"), endpoint="chat_completions")
        engine = allm.Engine(adapter=adapter, model="m")
        await allm.warm_up(engine)
        assert server.requests == []
        assert len(threads) == 3
        assert threading.current_thread() not in threads
        monkeypatch.setattr(library, "_load", None)
        assert (await allm.generate(engine, "hi")).output_text == "hi"


async def test_an_engine_without_a_network(unloaded):
    """An adapter that sends nothing, or a client of the user's, needs no HTTP library."""
    await allm.warm_up(allm.Engine(adapter=allm.providers.Fake(script=[fake.text("hi")])))
    await allm.warm_up(allm.Engine())
    assert not library.loaded


async def test_an_environment_that_cannot_work(unloaded, monkeypatch):
    """It says so when the program starts."""
    monkeypatch.setenv("all_proxy", "socks4://127.0.0.1:9")
    with pytest.raises(allm.EngineError, match="all_proxy") as caught:
        await allm.warm_up(allm.Engine(adapter=allm.providers.OpenAI(api_key="k", base_url="http://example.invalid")))
    assert caught.value.reason == "invalid_environment"


AFTER_IT = """
import sys, attrs, trio, allm
from allm import fake

@attrs.frozen
class City:
    name: str

@allm.tool
async def find(name: str) -> City:
    "Find a city."
    return City(name)

SCRIPTS = [[fake.tool_call("find", {"name": "Zug"})], [fake.text('{"name": "Zug"}')]]

async def main():
    engine = allm.Engine(adapter=allm.providers.Fake(scripts=SCRIPTS * 2), model="m")
    await allm.warm_up(engine)
    there = set(sys.modules)
    async with allm.stream(engine, "Where?", tools=[find], response_format=City) as events:
        async for event in events:
            pass
    assert events.result().final_response.parsed() == City("Zug")
    await allm.generate(engine, "Where?", response_format=City)
    print(*(name for name in set(sys.modules) - there if name.startswith("allm")))

trio.run(main)
"""


def test_a_turn_after_it_imports_nothing_of_ours():
    """Whatever calls import when they first need it is there, so that no import holds up the loop."""
    result = subprocess.run([sys.executable, "-c", AFTER_IT], capture_output=True, text=True, check=True)
    assert result.stdout.split() == []


async def test_what_is_no_engine_cannot_be_warmed_up():
    """The error is that of a call."""
    with pytest.raises(allm.EngineError, match=r"the first argument is str; expected an Engine: Engine.from_model"):
        await allm.warm_up("openai:gpt-5.4-mini")
