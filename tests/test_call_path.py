"""How many of our modules one call passes through: whoever follows a call has to read that many files."""

from __future__ import annotations

import gc
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import allm
from allm import fake
from allm.providers import Anthropic, Gemini, OpenAI
from allm.testing import Reply, WireServer

SOURCE = f"{Path(allm.__file__).parent}/"
# The server runs in the same thread, and answers with a script.
OF_THE_SERVER = ("testing/", "fake", "data/script")
OF_ATTRS = ("data/attrs_classes",)  # how values compare, which attrs says

TEXT = [fake.text("Hello"), fake.usage(input_tokens=1, output_tokens=1)]
TURN = [[fake.tool_call("weather", {"city": "Zug"})], [fake.text("Sunny")]]
ADAPTERS = {
    "openai": lambda url: OpenAI(base_url=url, api_key="k", endpoint="chat_completions"),
    "openai_responses": lambda url: OpenAI(base_url=url, api_key="k", endpoint="responses"),
    "anthropic": lambda url: Anthropic(base_url=url, api_key="k"),
    "gemini": lambda url: Gemini(base_url=url, api_key="k"),
}


@allm.tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


async def passed_through(call: Callable[[], Awaitable[None]]) -> list[str]:
    """The modules whose functions run during a call, in order; a first call has imported and cached what it needs."""
    await call()
    found: dict[str, None] = {}

    def note(frame, event, _argument):
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(SOURCE):
            found[name.removeprefix(SOURCE).removesuffix(".py")] = None

    before = sys.getprofile()
    gc.collect()
    gc.disable()  # what earlier tests left would be finalized within the call, by functions of ours
    sys.setprofile(note)
    try:
        await call()
    finally:
        sys.setprofile(before)
        gc.enable()
    return [name for name in found if not name.startswith(OF_THE_SERVER + OF_ATTRS)]


def engine_of(server, wire, *scripts):
    """An engine for a server that plays the scripts twice."""
    server.add(*[Reply.script(wire, script) for script in scripts * 2])
    return allm.Engine(adapter=ADAPTERS[wire](server.url(wire)), model="m")


@pytest.mark.parametrize("wire", ADAPTERS)
async def test_one_model_call(wire):
    """With text and usage, and no option that asks for more."""
    async with WireServer() as server:
        engine = engine_of(server, wire, TEXT)

        async def call():
            assert (await allm.generate(engine, "Hi")).output_text == "Hello"

        found = await passed_through(call)
    found = [name for name in found if name != "execution/nurseries"]  # the server's: this call has one task
    assert {"execution/generate", "http/transport"} <= set(found)
    assert len(found) <= (31 if wire == "openai_responses" else 30), found


# A tool has more to its schema in Responses.
@pytest.mark.parametrize(
    ("wire", "most"), [("openai", 38), ("openai_responses", 41), ("anthropic", 38), ("gemini", 38)]
)
async def test_one_turn_with_a_tool(wire, most):
    """Two model calls and a call of a tool; in a session, twelve modules more to save it, and one to read it."""
    async with WireServer() as server, allm.session.open_store("memory://") as store:
        engine = engine_of(server, wire, *TURN)

        async def turn():
            assert (await allm.chat(engine, "Weather?", tools=[weather])).output_text == "Sunny"

        found = await passed_through(turn)
        assert "execution/tool_runner" in found
        assert len(found) <= most, found

        for names, more in (("ab", 12), ("ab", 13)):  # new sessions, and stored ones
            engine_of(server, wire, *TURN)
            ids = iter(names)

            async def turn_of_a_session(ids=ids):
                async with store.turn(next(ids)) as turn:
                    assert (await turn.reply(engine, "Weather?", tools=[weather])).output_text == "Sunny"

            found = await passed_through(turn_of_a_session)
            assert "session/stores/memory" in found
            assert ("session/stores/reading" in found) is (more == 13)
            assert len(found) <= most + more, found
