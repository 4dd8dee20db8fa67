"""`tool_mode="prompted"`: the tools of a model that has none of its own, in its instructions and its text."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import pytest
import trio

import allm
from allm import fake, models
from allm.models import ModelInfo
from allm.testing import cancel_everywhere

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
CALL = '{"tool": "weather", "arguments": {"city": "Zug"}}'
FAILURE = allm.AdapterError("gone", reason="network_error", provider="fake")
NOW = "\n\nNow answer the user, or call another tool."
ANSWER = '{"answer": "It is sunny."}'


@dataclass
class Trip:
    """A trip."""

    city: str


@allm.tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


@allm.tool
def clock() -> str:
    """Tell the time."""
    return "noon"


@pytest.fixture(autouse=True)
def _nothing_put_in():
    yield
    models.clear()


def engine_of(*replies, tools=(weather, clock), mode="prompted", **params):
    """An engine that answers with these texts, one for each call, and its adapter."""
    adapter = allm.providers.Fake(scripts=[[fake.text(reply)] for reply in replies])
    return allm.Engine(adapter=adapter, tools=tools, params={"tool_mode": mode, **params}), adapter


def schema_of(request):
    """The schema that a reply is held to."""
    return request.response_format.schema


KINDS = {"object": dict, "array": list, "string": str, "null": type(None)}


def accepts(request, reply):
    """Whether a reply fits the schema of the request, as far as these tests use JSON Schema."""
    return fits(json.loads(reply), schema_of(request), schema_of(request))


def fits(value, schema, document):
    if "$ref" in schema:
        assert schema["$ref"].startswith("#/")
        found = document
        for key in schema["$ref"][2:].split("/"):
            found = found[key.replace("%24", "$")]
        return fits(value, found, document)
    properties = schema.get("properties", {})
    return (
        ("anyOf" not in schema or any(fits(value, inner, document) for inner in schema["anyOf"]))
        and ("type" not in schema or isinstance(value, KINDS[schema["type"]]))
        and ("enum" not in schema or value in schema["enum"])
        and all(key in value for key in schema.get("required", ()))
        and (schema.get("additionalProperties") is not False or value.keys() <= properties.keys())
        and all(fits(value[key], inner, document) for key, inner in properties.items() if key in value)
        and ("items" not in schema or all(fits(item, schema["items"], document) for item in value))
    )


async def test_a_turn():
    """The calls are run, the results are told, and what is stored is as with native tools."""
    engine, adapter = engine_of(CALL, ANSWER)
    result = await allm.chat(engine, "Weather?")
    assert (result.output_text, result.halted_reason) == ("It is sunny.", "completed")
    thread = result.thread.messages
    assert [message.role for message in thread] == ["user", "assistant", "tool", "assistant"]
    [call] = thread[1].tool_calls
    assert (call.name, call.arguments, thread[2].tool_call_id) == ("weather", {"city": "Zug"}, call.id)
    assert result.steps[0].response.finish_reason == "tool_calls"
    first, second = adapter.requests
    assert first.tools == second.tools == ()
    assert [message.role for message in first.messages] == ["system", "user"]
    for told in (
        "weather: Tell the weather.",
        '"city":{"type":"string"}',
        "clock: Tell the time.",
        '{"answer": "<text>"}',
    ):
        assert told in first.messages[0].text
    assert [(message.role, message.text) for message in second.messages[1:]] == [
        ("user", "Weather?"),
        ("assistant", '{"tool":"weather","arguments":{"city":"Zug"}}'),
        ("user", "Result of weather: sunny in Zug" + NOW),
    ]
    assert accepts(first, CALL)
    assert accepts(first, ANSWER)
    assert not accepts(first, '{"tool": "weather", "arguments": {"town": "Zug"}}')
    assert not accepts(first, '{"tool": "clock", "arguments": {}, "answer": "x"}')


async def test_the_answer_streams():
    """Piece by piece, as it arrives, and partial_output too."""
    adapter = allm.providers.Fake(script=[fake.text(piece) for piece in ('{"ans', 'wer": "It', " is", " sun", 'ny."}')])
    engine = allm.Engine(adapter=adapter, tools=[weather], params={"tool_mode": "prompted"})
    async with allm.stream(engine, "Weather?") as events:
        assert [piece async for piece in events.text()] == ["It", " is", " sun", "ny."]


@pytest.mark.parametrize(
    ("choice", "taken", "refused"),
    [
        ("required", [CALL, '{"tool": "clock", "arguments": {}}'], [ANSWER]),
        ("clock", ['{"tool": "clock", "arguments": {}}'], [ANSWER, CALL]),
        ("auto", [CALL, ANSWER], ["{}"]),
    ],
)
async def test_tool_choice(choice, taken, refused):
    """What it rules out is not in the schema, nor in the instructions."""
    engine, adapter = engine_of(CALL)
    await allm.generate(engine, "Weather?", tool_choice=choice)
    [request] = adapter.requests
    assert request.tool_choice is None
    assert all(accepts(request, reply) for reply in taken)
    assert not any(accepts(request, reply) for reply in refused)
    text = request.messages[0].text
    assert ("answer" in text, "weather" in text) == (choice == "auto", choice != "clock")


async def test_no_tools_by_choice():
    """Then there are none: the text is the text."""
    engine, adapter = engine_of(CALL)
    response = await allm.generate(engine, "Weather?", tool_choice="none")
    assert (response.output_text, response.tool_calls) == (CALL, ())
    [request] = adapter.requests
    assert (len(request.messages), request.tools, request.response_format) == (1, (), None)


@pytest.mark.parametrize(("given", "is_offered"), [(None, False), (False, False), (True, True)])
async def test_several_calls_at_once(given, is_offered):
    """Are offered where they are asked for, and understood in any case."""
    both = f'{{"calls": [{CALL}, {{"tool": "clock", "arguments": {{}}}}]}}'
    engine, adapter = engine_of(both, ANSWER)
    result = await allm.chat(engine, "Weather?", parallel_tool_calls=given)
    assert [message.text for message in result.steps[0].tool_results] == ["sunny in Zug", "noon"]
    first, second = adapter.requests
    assert first.parallel_tool_calls is None
    assert accepts(first, both) is is_offered
    assert ('"calls"' in first.messages[0].text) is is_offered
    assert json.loads(second.messages[2].text) == json.loads(both)
    assert second.messages[3].text == "Result of weather: sunny in Zug\n\nResult of clock: noon" + NOW


async def test_malformed_arguments_are_reported():
    """As those of native calls are: the model reads what was wrong, next to what it wrote."""
    bad = '{"tool": "weather", "arguments": {"city": Zug}}'
    engine, adapter = engine_of(bad, '{"tool": "hammer", "arguments": {}}', ANSWER)
    result = await allm.chat(engine, "Weather?")
    assert [step.tool_results[0].is_error for step in result.steps[:2]] == [True, True]
    native = allm.providers.Fake(scripts=[[fake.tool_call("weather", raw_arguments='{"city": Zug}')], [fake.text("x")]])
    as_native = await allm.chat(allm.Engine(adapter=native, tools=[weather]), "Weather?")
    assert as_native.steps[0].tool_results[0].text == result.steps[0].tool_results[0].text
    *_, wrong, error = adapter.requests[1].messages
    assert wrong.text == '{"tool":"weather","arguments":{"city": Zug}}'
    assert error.text.startswith("Error of weather: ")
    assert "there is no tool 'hammer'" in adapter.requests[2].messages[-1].text


async def test_a_call_that_was_cut_off():
    """At the limit on tokens it is not run, and the conversation can go on: as with native tools."""
    adapter = allm.providers.Fake(scripts=[[fake.text(CALL[:35]), fake.finish("length")], [fake.text(ANSWER)]])
    engine = allm.Engine(adapter=adapter, tools=[weather], params={"tool_mode": "prompted"})
    result = await allm.chat(engine, "Weather?")
    assert result.steps[0].tool_results[0].is_error
    script = [fake.tool_call("weather", raw_arguments='{"'), fake.finish("length")]
    native = allm.Engine(adapter=allm.providers.Fake(scripts=[script, [fake.text("x")]]), tools=[weather])
    assert (await allm.chat(native, "Weather?")).halted_reason == result.halted_reason
    assert (await allm.chat(engine, result.thread.add(allm.user("Go on.")))).output_text == "It is sunny."


# --- with a format ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output_mode", ["auto", "native", "prompted"])
async def test_an_answer_of_a_type(output_mode):
    """In the same reply: the answer is held to the type, and there is no last call for it."""
    engine, adapter = engine_of(CALL, '{"answer": {"value": [{"city": "Zug"}]}}', output_mode=output_mode)
    async with allm.stream(engine, "Where?", response_format=list[Trip]) as events:
        seen = [event async for event in events]
    result = events.result()
    assert result.parsed() == [Trip("Zug")]
    assert "".join(event.delta for event in seen if isinstance(event, allm.TextDelta)) == result.output_text
    assert result.output_text == '{"value": [{"city": "Zug"}]}'
    assert len(adapter.requests) == 2
    told = adapter.requests[0].messages[0].text
    assert '{"answer": <JSON>}' in told
    assert '"value"' in told
    if output_mode == "prompted":
        assert adapter.requests[0].response_format is None
    else:
        assert accepts(adapter.requests[0], '{"answer": {"value": []}}')
        assert not accepts(adapter.requests[0], '{"answer": "Zug"}')


async def test_an_answer_without_our_object_around_it():
    """A model that is not held to the schema writes the JSON that it was asked for."""
    engine, _ = engine_of('```json\n{"city": "Zug"}\n```', output_mode="prompted")
    result = await allm.chat(engine, "Where?", response_format=Trip)
    assert result.parsed() == Trip("Zug")


async def test_an_answer_that_does_not_fit_is_asked_for_again():
    """`validation_retries` works, and the earlier answer goes back as the reply that it was."""
    engine, adapter = engine_of('{"answer": {"town": 1}}', '{"answer": {"city": "Zug"}}')
    result = await allm.chat(engine, "Where?", response_format=Trip, validation_retries=1)
    assert result.parsed() == Trip("Zug")
    assert adapter.requests[1].messages[-2].text == '{"answer":{"town": 1}}'


async def test_a_format_in_a_call_of_its_own():
    """`structured_finalize` asks for it without tools, and the calls before it are told as text."""
    engine, adapter = engine_of(CALL, ANSWER, '{"city": "Zug"}')
    result = await allm.chat(engine, "Where?", response_format=Trip, structured_finalize=True)
    assert result.parsed() == Trip("Zug")
    last = adapter.requests[2]
    assert (last.tools, last.response_format.name) == ((), "Trip")
    assert [message.role for message in last.messages] == ["user", "assistant", "user", "assistant", "user"]
    assert last.messages[3].text == "It is sunny."


async def test_any_json_object():
    """`response_format="json"`."""
    engine, adapter = engine_of('{"answer": {"a": 1}}')
    assert (await allm.generate(engine, "?", response_format="json")).output_text == '{"a": 1}'
    assert not accepts(adapter.requests[0], '{"answer": "a"}')


async def test_a_growing_answer():
    """`partial_output()` and `elements()` see the JSON of the answer alone."""
    text = 'Well:\n{"answer": {"value": [{"city": "Zug"}, {"city": "Ulm"}]}}'
    script = [fake.text(char) for char in text]
    engine = allm.Engine(adapter=allm.providers.Fake(scripts=[script, script]), tools=[weather])
    options = {"response_format": list[Trip], "tool_mode": "prompted"}
    async with allm.stream(engine, "Where?", **options) as events:
        assert [trip async for trip in events.elements(Trip)] == [Trip("Zug"), Trip("Ulm")]
    async with allm.stream(engine, "Where?", **options) as events:
        snapshots = [snapshot async for snapshot in events.partial_output()]
    assert snapshots[-1] == [{"city": "Zug"}, {"city": "Ulm"}]


NODE = {
    "type": "object",
    "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "kind": {"$ref": "#/$defs/Kind"}},
    "required": ["next", "kind"],
    "$defs": {"Kind": {"enum": ["a", "b"]}},
}
PLACE = {
    "type": "object",
    "properties": {
        "$ref": {"$ref": "#/definitions/Kind"},
        "default": {"$ref": "#/properties/%24ref"},
        "other": {"default": {"$ref": "#/nowhere"}},
    },
    "required": ["$ref"],
    "definitions": {"Kind": {"enum": ["c", "d"]}},
}


async def test_references_lead_where_they_should():
    """Schemas of tools and of the answer have definitions of the same names, and may refer to themselves."""
    tools = [allm.Tool("node", "", NODE), allm.Tool("place", "", PLACE)]
    engine, adapter = engine_of("hi", tools=tools)
    await allm.generate(engine, "?", response_format=allm.json_schema("n", NODE))
    [request] = adapter.requests
    node = {"next": {"next": None, "kind": "b"}, "kind": "a"}
    for good in ({"tool": "node", "arguments": node}, {"answer": node}, {"tool": "place", "arguments": {"$ref": "c"}}):
        assert accepts(request, json.dumps(good)), good
    for bad in ({**node, "kind": "c"}, {**node, "next": {"kind": "a"}}, {}):
        assert not accepts(request, json.dumps({"tool": "node", "arguments": bad}))
        assert not accepts(request, json.dumps({"answer": bad}))
    assert not accepts(request, json.dumps({"tool": "place", "arguments": {"$ref": "a"}}))
    assert NODE["properties"]["kind"] == {"$ref": "#/$defs/Kind"}


# --- the conversation -------------------------------------------------------------------------------------------------


async def test_a_conversation_goes_on_with_the_other_mode():
    """From native tools to prompted ones and back, with calls, results and ids that are right in both."""
    native = allm.providers.Fake(scripts=[[fake.tool_call("weather", {"city": "Zug"})], [fake.text("Sunny.")]] * 2)
    prompted, adapter = engine_of(CALL, ANSWER)
    first = await allm.chat(allm.Engine(adapter=native, tools=[weather]), "Weather?")
    second = await allm.chat(prompted, allm.from_json(allm.to_json(first.thread)).add(allm.user("And now?")))
    third = await allm.chat(allm.Engine(adapter=native, tools=[weather]), second.thread.add(allm.user("And then?")))
    assert third.halted_reason == "completed"
    ids = [call.id for message in third.thread.messages for call in message.tool_calls]
    assert ids[0] != ids[1]
    assert [message.text for message in adapter.requests[0].messages[1:]] == [
        "Weather?",
        '{"tool":"weather","arguments":{"city":"Zug"}}',
        "Result of weather: sunny in Zug" + NOW,
        '{"answer":"Sunny."}',
        "And now?",
    ]
    assert [message.role for message in native.requests[-1].messages].count("tool") == 3


async def test_results_of_the_same_tool_are_told_apart():
    """By the arguments of their calls; words and reasoning beside calls are kept and left out."""
    calls = [allm.ToolCall(id_, "weather", {"city": city}) for id_, city in (("a", "Zug"), ("b", "Ulm"))]
    thread = [
        allm.user("Weather?"),
        allm.assistant(allm.ReasoningPart("Hm.", signature="s"), "Two calls.", *calls),
        allm.tool_result("b", "rain"),
        allm.user("Hurry."),
        allm.tool_result("a", "sun"),
    ]
    engine, adapter = engine_of(ANSWER)
    await allm.generate(engine, thread)
    _, _, said, results, user = adapter.requests[0].messages
    assert said.content == (
        'Two calls.\n{"calls":[{"tool":"weather","arguments":{"city":"Zug"}},'
        '{"tool":"weather","arguments":{"city":"Ulm"}}]}'
    )
    assert results.text == ('Result of weather {"city":"Ulm"}: rain\n\nResult of weather {"city":"Zug"}: sun' + NOW)
    assert user.text == "Hurry."


async def test_a_result_with_an_image():
    """Is a message of the user with the image in its place."""

    @allm.tool
    def camera() -> allm.Image:
        """Take a picture."""
        return allm.Image.from_bytes(PNG)

    engine, adapter = engine_of('{"tool": "camera", "arguments": {}}', ANSWER, tools=[camera])
    await allm.chat(engine, "Look.")
    message = adapter.requests[1].messages[-1]
    assert message.role == "user"
    assert [type(part).__name__ for part in message.content] == ["TextPart", "ImagePart", "TextPart"]
    assert message.text.startswith("Result of camera: ")


@pytest.mark.parametrize(
    "media",
    [
        allm.Document.from_bytes(b"%PDF-1.4"),
        allm.Audio.from_bytes(b"RIFF....WAVE", "audio/wav"),
        allm.Video.from_bytes(b"....ftypisom"),
    ],
    ids=lambda media: media.word,
)
async def test_a_result_with_a_file(media):
    """A document, audio or a video of a result is in the message of the user too."""
    scan = allm.Tool("scan", "Scan.", handler=lambda _arguments: media)
    engine, adapter = engine_of('{"tool": "scan", "arguments": {}}', ANSWER, tools=[scan])
    await allm.chat(engine, "Scan it.")
    message = adapter.requests[1].messages[-1]
    assert getattr(message.content[1], media.word) == media


async def test_an_image_for_a_model_that_reads_none():
    """Is refused at its place in the conversation, not in what is sent."""
    models.put(ModelInfo(provider="fake", id="alpha", vision=False))
    engine, adapter = engine_of(ANSWER, model="alpha")
    picture = allm.tool_result("c", (allm.TextPart("a"), allm.ImagePart(allm.Image.from_bytes(PNG))))
    thread = [allm.user("Look."), allm.assistant(allm.ToolCall("c", "camera", {})), picture]
    with pytest.raises(allm.ValidationError, match="does not read images") as caught:
        await allm.generate(engine, thread)
    assert caught.value.errors == ((("messages", 2, "content", 1), "unsupported_capability"),)
    assert adapter.requests == []


async def test_compact_tools():
    """A line for each, and `tool_help` with the rest, as with native ones."""
    compact = allm.Tool(
        "weather", "Tell the weather. At length.", weather.schema, handler=weather.handler, compact=True
    )
    help_call = '{"tool": "tool_help", "arguments": {"names": ["weather"]}}'
    engine, adapter = engine_of(help_call, CALL, ANSWER, tools=[compact])
    await allm.chat(engine, "Weather?")
    assert "At length" not in adapter.requests[0].messages[0].text
    assert accepts(adapter.requests[0], help_call)
    assert accepts(adapter.requests[0], CALL)
    assert "At length" in adapter.requests[1].messages[-1].text


async def test_a_session_with_approval():
    """A manual tool halts the turn; a store keeps calls and results, and the turn resumes with the decision."""
    tool = allm.Tool("weather", "", weather.schema, handler=lambda arguments: "sunny", manual=True)
    engine, adapter = engine_of(CALL, ANSWER, tools=[tool])
    async with allm.session.open_store("memory://") as store:
        async with store.turn("trip") as lease:
            result = await lease.start(engine, "Weather?")
            assert result.halted_reason == "manual_tool_calls"
            [call] = result.manual_tool_calls
        async with store.turn("trip") as lease:
            await lease.save(allm.session.approve(lease.session, call.id))
            result = await lease.continue_(engine)
            assert result.output_text == "It is sunny."
        session, _ = await store.load("trip")
    assert [message.role for message in session.thread.messages] == ["user", "assistant", "tool", "assistant"]
    assert adapter.requests[1].messages[-1].text == "Result of weather: sunny" + NOW


async def test_a_step():
    """One call with its tools."""
    engine, _ = engine_of(CALL)
    step = await allm.step(engine, "Weather?")
    assert [message.text for message in step.tool_results] == ["sunny in Zug"]


# --- who has tools ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("known", "is_prompted"), [(True, False), (None, False), (False, True)])
async def test_the_catalog_decides(known, is_prompted):
    """With `auto`: natively, unless the model is known to have no tools."""
    models.put(ModelInfo(provider="fake", id="alpha", tools=known))
    engine, adapter = engine_of(CALL, ANSWER, mode="auto", model="alpha")
    await allm.generate(engine, "Weather?")
    assert (adapter.requests[0].tools == ()) is is_prompted


class Local:
    """An adapter that does not derive from `Adapter`."""

    provider = "mine"
    requires_model = False
    modes: tuple[str, ...] | None = ("prompted",)

    def tool_modes(self, request, options):
        assert isinstance(options, allm.adapters.AdapterOptions)
        return self.modes

    def prepare(self, request, options):
        return request

    async def stream(self, request, emit):
        text = CALL if request.messages[-1].text == "Weather?" else ANSWER
        text = "native" if request.tools else text
        await emit(allm.TextCompleted("t", text), allm.MessageCompleted(allm.assistant(text), "stop"))


@pytest.mark.parametrize(
    ("modes", "mode", "is_prompted"),
    [
        (("prompted",), "auto", True),
        (("prompted", "native"), "auto", True),
        (("prompted", "native"), "native", False),
        (("native", "prompted"), "auto", False),
        (("native", "prompted"), "prompted", True),
        (("native",), "auto", False),
        (None, "auto", False),
    ],
)
async def test_an_adapter_decides(modes, mode, is_prompted):
    """The best way that its model has, unless the call asks for another one."""
    adapter = Local()
    adapter.modes = modes
    result = await allm.chat(allm.Engine(adapter=adapter, tools=[weather]), "Weather?", tool_mode=mode)
    assert result.output_text == ("It is sunny." if is_prompted else "native")


async def test_native_tools_that_a_model_does_not_have():
    """Are refused before anything is sent; without tools nothing is asked for."""
    engine = allm.Engine(adapter=Local(), params={"tool_mode": "native"})
    with pytest.raises(allm.ValidationError, match="tool_mode='prompted'") as caught:
        await allm.generate(engine, "Weather?", tools=[weather])
    assert caught.value.errors == ((("tool_mode",), "unsupported_capability"),)
    assert (await allm.generate(engine, "Weather?")).output_text == CALL
    models.put(ModelInfo(provider="fake", id="alpha", tools=False))
    engine, adapter = engine_of(mode="native", model="alpha")
    with pytest.raises(allm.ValidationError, match="tool_mode"):
        await allm.generate(engine, "Weather?")
    assert adapter.requests == []


async def test_the_answer_as_a_tool_of_a_model_without_tools():
    """Is no way that it has."""
    adapter = Local()
    response = await allm.generate(allm.Engine(adapter=adapter), "?", response_format=Trip)
    assert response.output_text == ANSWER
    with pytest.raises(allm.ValidationError) as caught:
        await allm.generate(allm.Engine(adapter=adapter), "?", response_format=Trip, output_mode="tool")
    assert caught.value.errors == ((("output_mode",), "unsupported_capability"),)


@pytest.mark.parametrize(
    ("options", "path", "tag"),
    [
        ({"tool_mode": "tool"}, ("tool_mode",), "unknown"),
        ({"tool_choice": "hammer"}, ("tool_choice",), "unknown_tool"),
        ({"tool_choice": {"type": "function", "name": "clock"}}, ("tool_choice",), "unsupported_capability"),
        ({"response_format": {"type": "json_object"}}, ("response_format",), "unsupported_capability"),
        ({"response_format": Trip, "output_mode": "tool"}, ("output_mode",), "unsupported_capability"),
        ({"tools": [allm.Tool("late", "", deferred=True)]}, ("tools", 2), "unsupported_capability"),
    ],
)
async def test_what_cannot_be_prompted(options, path, tag):
    """Is one clear error, before anything is sent."""
    engine, adapter = engine_of()
    with pytest.raises(allm.ValidationError) as caught:
        await allm.generate(engine, "Weather?", **options)
    assert caught.value.errors == ((path, tag),)
    assert adapter.requests == []
    with pytest.raises(allm.ValidationError):
        allm.stream(engine, "Weather?", **options)


async def test_a_required_call_without_tools():
    """As with native tools."""
    engine, _ = engine_of(tools=())
    with pytest.raises(allm.ValidationError) as caught:
        await allm.generate(engine, "Weather?", tool_choice="required")
    assert caught.value.errors == ((("tool_choice",), "requires_tools"),)


@pytest.mark.parametrize("bad", ["itself", "no JSON"])
async def test_a_schema_that_cannot_be_written(bad):
    """Is refused, and does not hang."""
    schema: dict = {"type": "object", "properties": {}}
    schema["properties"]["a"] = schema if bad == "itself" else {"default": object()}
    engine, _ = engine_of(tools=[allm.Tool("x", "", schema)])
    with pytest.raises(allm.ValidationError):
        await allm.generate(engine, "Weather?")


# --- ends -------------------------------------------------------------------------------------------------------------


async def test_what_was_held_back_is_not_lost(autojump_clock):
    """Neither in a failure, nor at a time limit, nor where the consumer leaves."""
    for ending in (fake.error(FAILURE), fake.delay(10)):
        script = [fake.text("Well: "), fake.text('{"an'), ending]
        engine = allm.Engine(adapter=allm.providers.Fake(script=script), tools=[weather])
        for limit in ("stream_timeout", "request_timeout"):
            options = {"tool_mode": "prompted", limit: 5, "retry": None}
            engine = attrs_evolved(engine, script)
            response = await allm.generate(engine, "Weather?", **options)
            assert response.output_text == 'Well: {"an', (ending, limit)
            assert response.error is not None


def attrs_evolved(engine, script):
    """The same engine, whose script was not played."""
    return allm.Engine(adapter=allm.providers.Fake(script=script), tools=engine.tools)


async def test_a_stream_without_an_end():
    """Of an adapter that just returns: what was held back comes before the failure."""

    class Short(Local):
        async def stream(self, request, emit):
            await emit(allm.TextDelta("t", 'Well: {"an'))

    response = await allm.generate(allm.Engine(adapter=Short(), tools=[weather]), "Weather?")
    assert response.output_text == 'Well: {"an'
    assert response.error.reason == "stream_truncated"


async def test_a_retry_reads_anew():
    """An attempt that failed before its content leaves nothing behind."""
    scripts = [
        [fake.error(allm.AdapterError("busy", reason="overloaded", provider="fake", retryable=True))],
        [fake.text(CALL)],
    ]
    engine = allm.Engine(adapter=allm.providers.Fake(scripts=scripts), tools=[weather])
    with trio.fail_after(60):
        response = await allm.generate(
            engine, "?", tool_mode="prompted", retry=allm.RetryPolicy(max_attempts=2, base_delay=0.001)
        )
    assert [call.id for call in response.tool_calls] == ["call_0"]


async def test_only_whoever_asks_pays():
    """The modules of prompted tools are not imported by calls with native ones."""
    code = (
        "import sys, trio, allm\n"
        "from allm import fake\n"
        "engine = allm.Engine(adapter=allm.providers.Fake(script=[fake.text('hi')]), tools=[allm.Tool('x', '')])\n"
        "trio.run(allm.generate, engine, 'hi')\n"
        "print([name for name in sys.modules if 'prompted' in name])"
    )
    done = await trio.run_process([sys.executable, "-c", code], capture_stdout=True)
    assert done.stdout.strip() == b"[]"


async def test_cancelled_at_every_point():
    """Nothing is left behind."""

    async def turn():
        engine, _ = engine_of(CALL, ANSWER)
        assert (await allm.chat(engine, "Weather?")).output_text == "It is sunny."

    report = await cancel_everywhere(turn)
    assert report.trials > 5


async def test_folding_gives_what_the_stream_gave():
    """At every point of a stream the result is the fold of what was seen."""
    text = f'Well: {CALL}\n{{"answer": "So."}}'
    engine, _ = engine_of(*[text] * 60)
    for stop in range(1, 40):
        async with allm.stream_generate(engine, "Weather?") as events:
            collector = allm.StreamCollector()
            count = 0
            async for event in events:
                collector.add(event)
                count += 1
                if count == stop:
                    break
        assert events.result().message == collector.response().message
