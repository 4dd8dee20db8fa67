"""`warm_up` does what the first call would do, so that the first call does not."""

from __future__ import annotations

import threading

import pytest

import allm
from allm import fake
from allm.http import library
from allm.runtime import catalog, costs
from allm.testing import Reply, WireServer


@pytest.fixture
def unloaded():
    """As in a process that has made no call yet."""
    before = set(library.loaded)
    library.loaded.clear()
    yield
    library.loaded.update(before)


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
