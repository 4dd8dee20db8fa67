"""The ways to ask for an answer that fits a schema: natively, as the call of a tool, in the instructions."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

import allm
from allm import fake, models
from allm.adapters import AdapterOptions
from allm.data.types.output import answer_schema
from allm.models import ModelInfo

MODES = ("native", "tool", "prompted")


@dataclass
class Trip:
    """A trip."""

    city: str


@allm.tool
def clock() -> str:
    """Tells the time."""
    return "noon"


def answer_of(request, text):
    """A script that answers a request with `text`, by the way in which it asks."""
    tools = [tool.name for tool in request.tools if tool.name.startswith("answer_")]
    return [fake.tool_call(tools[0], raw_arguments=text) if tools else fake.text(text)]


@pytest.fixture(autouse=True)
def _nothing_put_in():
    yield
    models.clear()


@pytest.mark.parametrize(
    ("facts", "tools", "mode"),
    [
        ({}, False, "native"),
        ({"json_schema": True}, True, "native"),
        ({"json_schema": False}, False, "tool"),
        ({"json_schema_with_tools": False}, False, "native"),
        ({"json_schema_with_tools": False}, True, "tool"),
        ({"json_schema": False, "tools": False}, False, "prompted"),
        ({"json_schema": False, "forced_tool_choice": False}, False, "prompted"),
    ],
)
async def test_the_catalog_chooses(facts, tools, mode):
    """The first way that the model has; what is not known counts as yes."""
    models.put(ModelInfo(provider="fake", id="alpha", **facts))
    adapter = allm.providers.Fake(respond=lambda request: answer_of(request, '{"city": "Zug"}'))
    engine = allm.Engine(adapter=adapter, model="alpha", tools=[clock] if tools else [])
    response = await allm.generate(engine, "Where?", response_format=Trip)
    assert response.parsed() == Trip("Zug")
    [sent] = adapter.requests
    found = "native" if sent.response_format else "tool" if len(sent.tools) > tools else "prompted"
    assert found == mode
    if mode == "tool":
        assert sent.tool_choice == ("required" if tools else "answer_Trip")


@pytest.mark.parametrize(
    ("facts", "schema", "mode", "path"),
    [
        ({"json_schema": False}, Trip, "native", "response_format"),
        ({"tools": False}, Trip, "tool", "output_mode"),
        ({"forced_tool_choice": False}, Trip, "tool", "output_mode"),
        ({}, allm.json_schema("numbers", {"type": "array"}), "tool", "output_mode"),
    ],
)
async def test_a_mode_that_the_model_does_not_have(facts, schema, mode, path):
    """Forced, it is refused before anything is sent, with the ways that there are; without force it is not taken."""
    models.put(ModelInfo(provider="fake", id="alpha", **facts))
    adapter = allm.providers.Fake(respond=lambda request: answer_of(request, '{"city": "Zug"}'))
    engine = allm.Engine(adapter=adapter, model="alpha")
    with pytest.raises(allm.ValidationError, match="'alpha'") as caught:
        await allm.generate(engine, "Where?", response_format=schema, output_mode=mode)
    assert caught.value.errors == (((path,), "unsupported_capability"),)
    assert "output_mode=" in str(caught.value)
    assert adapter.requests == []
    assert (await allm.generate(engine, "Where?", response_format=schema)).error is None


@pytest.mark.parametrize("mode", ["auto", *MODES])
async def test_without_a_schema_the_mode_is_nothing(mode):
    """As when it is a default of the engine."""
    adapter = allm.providers.Fake(respond=lambda _: [fake.text("hi")])
    engine = allm.Engine(adapter=adapter, params={"output_mode": mode})
    assert (await allm.generate(engine, "Hi")).output_text == "hi"
    assert (await allm.generate(engine, "Hi", response_format="json")).output_text == "hi"
    assert [request.response_format for request in adapter.requests] == [None, "json"]


ITSELF: dict = {"type": "object", "properties": {}}
ITSELF["properties"]["a"] = ITSELF
NO_JSON = {"type": "object", "properties": {"a": {"type": "string", "default": object()}}}


@pytest.mark.parametrize("schema", [ITSELF, NO_JSON], ids=["contains itself", "no JSON"])
@pytest.mark.parametrize("mode", ["auto", *MODES])
@pytest.mark.parametrize(
    ("vendor", "model"), [("OpenAI", "gpt-5.4"), ("Anthropic", "claude-haiku-4-5"), ("Gemini", "gemini-3-pro")]
)
def test_a_schema_that_cannot_be_written(vendor, model, mode, schema):
    """It is refused before anything is sent, whichever way it would go."""
    engine = allm.Engine(adapter=getattr(allm.providers, vendor)(api_key="k"), model=model)
    with pytest.raises(allm.ValidationError):
        allm.stream_generate(engine, "?", response_format=allm.json_schema("x", schema), output_mode=mode)


async def test_instructions_come_behind_those_of_the_caller():
    """In the system messages that the conversation begins with."""
    adapter = allm.providers.Fake(script=[fake.text('```json\n{"city": "Zug"}\n```')])
    messages = [allm.system("Be brief."), allm.user("Where?")]
    response = await allm.generate(allm.Engine(adapter=adapter), messages, response_format=Trip, output_mode="prompted")
    assert response.parsed() == Trip("Zug")
    [sent] = adapter.requests
    assert [message.role for message in sent.messages] == ["system", "system", "user"]
    assert json.loads(sent.messages[1].text.partition("\n\n")[2]) == answer_schema(Trip)


# --- the answer as a call ------------------------------------------------------------------------------------------


async def called(*items, tools=(), **options):
    """The response to a script, asked for as a tool."""
    engine = allm.Engine(adapter=allm.providers.Fake(script=items), tools=tools)
    return await allm.generate(engine, "Where?", response_format=Trip, output_mode="tool", **options)


async def test_of_several_answers_the_first_one_counts():
    """A model may call the tool twice in one response."""
    twice = [fake.tool_call("answer_Trip", {"city": city}) for city in ("Zug", "Ulm")]
    response = await called(*twice)
    assert (response.output_text, response.finish_reason) == ('{"city":"Zug"}', "stop")


async def test_a_sentence_before_the_answer():
    """In a block of its own; `parsed()` finds the answer, and nothing is lost."""
    response = await called(fake.text("I know. "), fake.tool_call("answer_Trip", {"city": "Zug"}))
    assert (response.output_text, response.parsed()) == ('I know. {"city":"Zug"}', Trip("Zug"))
    retried = await called(fake.text("I know. "), fake.tool_call("answer_Trip", {"city": "Zug"}), validation_retries=1)
    assert retried == response
    spoken = await called(fake.text("I know. "), fake.text("Not much."))
    with pytest.raises(allm.ValidationError, match=r"begins with 'I know\. Not"):
        spoken.parsed()


async def test_calls_of_other_tools_stay_calls():
    """Beside the answer, and alone."""
    both = await called(fake.tool_call("clock", {}), fake.tool_call("answer_Trip", {"city": "Zug"}), tools=[clock])
    alone = await called(fake.tool_call("clock", {}), tools=[clock])
    assert (both.parsed(), [call.name for call in both.tool_calls]) == (Trip("Zug"), ["clock"])
    assert both.finish_reason == alone.finish_reason == "tool_calls"
    assert alone.output_text == ""


async def test_an_answer_that_is_cut_off():
    """As far as it came, with the reason."""
    response = await called(fake.tool_call("answer_Trip", raw_arguments='{"city": "Z'), fake.finish("length"))
    assert (response.output_text, response.finish_reason, response.tool_calls) == ('{"city": "Z', "length", ())
    with pytest.raises(allm.ValidationError, match="not JSON for Trip"):
        response.parsed()


async def test_the_name_of_the_tool_is_free_and_short_enough():
    """A tool of the caller's may have the same name."""
    adapter = allm.providers.Fake(respond=lambda _: [fake.text("{}")])
    engine = allm.Engine(adapter=adapter, tools=[allm.Tool("answer_Trip", "")])
    await allm.generate(engine, "?", response_format=Trip, output_mode="tool")
    await allm.generate(engine, "?", response_format=allm.json_schema("x" * 64, {}), output_mode="tool")
    assert [request.tools[-1].name for request in adapter.requests] == ["_answer_Trip", f"answer_{'x' * 57}"]


@pytest.mark.parametrize(
    ("given", "sent"), [(None, "required"), ("auto", "required"), ("none", "answer_Trip"), ("clock", "clock")]
)
async def test_which_tool_has_to_be_called(given, sent):
    """One of the caller's first, or the answer's; a tool that the call names comes before both."""
    adapter = allm.providers.Fake(script=[fake.text("{}")])
    options = {"tools": [clock], "tool_choice": given, "response_format": Trip, "output_mode": "tool"}
    await allm.generate(allm.Engine(adapter=adapter), "?", **options)
    assert adapter.requests[0].tool_choice == sent


# --- turns and sessions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "calls"), [("native", 2), ("tool", 3), ("prompted", 2)])
async def test_a_turn_with_tools(mode, calls):
    """The tools run first. The answer as a tool is asked for in a last call: a forced model would go on calling."""
    scripts = [[fake.tool_call("clock", {})], [fake.text("Noon.")]][: calls - 1]
    final = fake.tool_call("answer_list_Trip", {"value": [{"city": "Zug"}]})
    final = final if mode == "tool" else fake.text('{"value": [{"city": "Zug"}]}')
    adapter = allm.providers.Fake(scripts=[*scripts, [final]])
    engine = allm.Engine(adapter=adapter, tools=[clock])
    result = await allm.chat(engine, "Where?", response_format=list[Trip], output_mode=mode)
    assert result.parsed() == [Trip("Zug")]
    assert (result.halted_reason, len(adapter.requests), len(result.steps)) == ("completed", calls, calls)
    last = result.thread.messages[-1]
    assert (last.role, json.loads(last.text)) == ("assistant", {"value": [{"city": "Zug"}]})


@pytest.mark.parametrize(
    ("facts", "mode"), [({"forced_tool_choice": False}, "tool"), ({"json_schema": False}, "native")]
)
async def test_a_last_call_that_cannot_be(facts, mode):
    """It is refused before the tools run."""
    models.put(ModelInfo(provider="fake", id="alpha", **facts))
    adapter = allm.providers.Fake(respond=lambda _: [fake.tool_call("clock", {})])
    engine = allm.Engine(adapter=adapter, model="alpha", tools=[clock])
    options = {"response_format": Trip, "output_mode": mode, "structured_finalize": True}
    with pytest.raises(allm.ValidationError) as caught:
        await allm.chat(engine, "Where?", **options)
    assert [tag for _, tag in caught.value.errors] == ["unsupported_capability"]
    assert adapter.requests == []


@pytest.mark.parametrize("mode", MODES)
async def test_a_session_that_is_stored(mode):
    """The answer is text in the conversation, whichever way it came; after a reload it can be read and gone on from."""
    final = '{"value": [{"city": "Zug"}]}'
    adapter = allm.providers.Fake(respond=lambda request: answer_of(request, final))
    engine = allm.Engine(adapter=adapter)
    options = {"response_format": list[Trip], "output_mode": mode}
    async with allm.session.open_store("memory://") as store:
        async with store.turn("trip") as lease:
            result = await lease.start(engine, "Where?", **options)
            assert result.parsed() == [Trip("Zug")]
        async with store.turn("trip") as lease:
            messages = lease.session.thread.messages
            assert [(message.role, message.text) for message in messages] == [("user", "Where?"), ("assistant", final)]
            assert (await lease.reply(engine, "And then?", **options)).parsed() == [Trip("Zug")]
        session, _ = await store.load("trip")
    again = allm.from_json(allm.to_json(session))
    assert [message.role for message in again.thread.messages] == ["user", "assistant"] * 2
    response = allm.from_json(allm.to_json(result)).final_response
    assert response.parsed(list[Trip]) == [Trip("Zug")]


async def test_an_adapter_says_what_its_models_have():
    """Also one that does not derive from `Adapter`."""

    class Mine:
        provider = "mine"
        requires_model = False
        modes = ("prompted",)

        def output_modes(self, request, options):
            assert isinstance(options, AdapterOptions)
            return self.modes

        def prepare(self, request, options):
            return request

        async def stream(self, request, emit):
            content = "tool" if request.tools else "prompted" if request.response_format is None else "native"
            message = allm.assistant(content)
            await emit(allm.TextCompleted("t", content), allm.MessageCompleted(message, "stop"))

    adapter = Mine()
    for Mine.modes in (("prompted",), ("native",), ("tool", "prompted"), None):
        response = await allm.generate(allm.Engine(adapter=adapter), "?", response_format=Trip)
        assert response.output_text == (Mine.modes or ("native",))[0]
