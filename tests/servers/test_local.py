"""Local models for real: SmolLM2, whose weights `allm models pull` fetches, run by llama.cpp."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request

import attrs
import pytest
import trio

import allm
from allm.providers import Local
from allm.providers.local import server as servers
from allm.providers.local.weights import file_of

pytest.importorskip("xllamacpp", reason="xllamacpp is installed by `nox -s servers`")
try:
    file_of("smollm2-135m")
except allm.EngineError as error:
    pytest.skip(f"{error.message}; `nox -s servers` does so", allow_module_level=True)

ENGINE = allm.Engine.from_model("local:smollm2-135m").with_params(temperature=0, seed=1, max_tokens=120)


@attrs.frozen
class City:
    """A city."""

    name: str
    country: str
    is_capital: bool


@allm.tool
def get_weather(city: str) -> dict[str, str]:
    """The weather of a city."""
    return {"city": city, "sky": "sunny"}


def slots():
    """The state of the server's slots, one for each response that it can work on."""
    [server] = servers._servers.values()
    request = urllib.request.Request(  # noqa: S310
        f"{server.url}/slots", headers={"authorization": f"Bearer {server.key.reveal()}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


QUESTION = "What is the capital of France? Answer in one short sentence."


async def test_an_answer_streams():
    """Token by token, and it is right."""
    async with allm.stream_generate(ENGINE, QUESTION) as events:
        pieces = [piece async for piece in events.text()]
    response = events.result()
    assert "Paris" in allm.unwrap(response)
    assert len(pieces) > 3
    assert response.model == "smollm2-135m"
    assert response.usage.output_tokens >= len(pieces) - 1


async def test_an_answer_of_a_type():
    """A grammar leaves the model nothing else."""
    response = await allm.generate(ENGINE, "Which city is the capital of France?", response_format=City)
    assert isinstance(response.parsed(), City)


async def test_leaving_stops_the_model():
    """An answer of a thousand tokens is not computed to its end after the client has left."""
    async with allm.stream_generate(ENGINE, "Tell me a long story.", max_tokens=3000) as events:
        async for _ in events.text():
            break
    with trio.fail_after(30):
        while any(slot["is_processing"] for slot in await trio.to_thread.run_sync(slots)):  # noqa: ASYNC110
            await trio.sleep(0.02)  # the server can only be polled
    assert events.result().finish_reason is None


async def test_more_calls_than_are_computed_at_once():
    """They wait, and each gets its answer."""
    engine = attrs.evolve(ENGINE, adapter=Local(parallel_calls=2))
    responses = []

    async def ask():
        responses.append(await allm.generate(engine, "Say hello.", max_tokens=8))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(ask)
    assert [response.error for response in responses] == [None] * 5
    assert all(response.output_text for response in responses)


async def test_a_conversation_longer_than_the_context():
    """It is the error that every provider has for it."""
    engine = attrs.evolve(ENGINE, adapter=Local(context_size=256), retry=None)
    response = await allm.generate(engine, "many words " * 300)
    assert response.error.reason == "context_length_exceeded"
    assert not response.error.retryable


async def test_a_conversation_with_tools():
    """The model, which has no tools of its own, calls one, reads its result, answers, and goes on in a second turn."""

    def call_first(step):
        return allm.StepChanges(tool_choice="required" if step.last is None else "none")

    result = await allm.chat(ENGINE, "What is the weather in Paris?", tools=[get_weather], before_step=call_first)
    assert result.halted_reason == "completed"
    assert len(result.steps) == 2
    [call] = result.steps[0].response.tool_calls
    assert call.name == "get_weather"
    assert set(call.arguments) == {"city"}
    assert [message.role for message in result.thread.messages] == ["user", "assistant", "tool", "assistant"]
    assert json.loads(result.thread.messages[2].text) == {"city": call.arguments["city"], "sky": "sunny"}
    assert result.output_text

    again = await allm.chat(
        ENGINE, [*result.thread.messages, allm.user("Thank you. What is two plus two?")], tools=[get_weather]
    )
    assert again.steps[0].response.error is None
    assert allm.from_json(allm.to_json(again.thread)) == again.thread


COMMANDS = {
    "generate": (["generate", "-m", "local:smollm2-135m", QUESTION], "", "Paris"),
    "chat": (["chat", "-m", "local:smollm2-135m"], f"{QUESTION}\n", "Paris"),
    "demo": (["demo", "--fast"], "", "parsed: City("),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_on_the_command_line(name):
    """Without a key."""
    arguments, typed, expected = COMMANDS[name]
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_API_KEY")}
    command = [sys.executable, "-m", "allm", *arguments]
    told = subprocess.run(command, input=typed, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert expected in told.stdout
