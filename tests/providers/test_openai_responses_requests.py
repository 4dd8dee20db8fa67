"""Bodies for the Responses API: what is in them, what goes back of an answer, and that the vendor's types accept it."""

from __future__ import annotations

import attrs
import pytest

import allm
from allm.data.json.text import loads
from allm.http.sse import SSEDecoder
from allm.providers.openai.responses_decode import ResponsesDecoder
from openai_wire import (
    BODY_FIELDS,
    CONVERSATION,
    EVERYTHING,
    FOREIGN,
    PNG,
    SCHEMA,
    SEARCH,
    TOOL,
    answer,
    call,
    chat,
    custom_call,
    fold,
    folded,
    message,
    prepare,
    reasoning,
    refusal,
    responses,
)
from request_types import check_openai_chat, check_openai_responses
from wire_corpus import CORPUS, cases


def sent_back(*parts, **fields):
    """The items that an assistant message of these parts becomes."""
    return responses(allm.Message("assistant", parts), **fields)["input"]


@pytest.mark.parametrize("fields", BODY_FIELDS.values(), ids=BODY_FIELDS)
@pytest.mark.parametrize("messages", [[allm.user("hi")], CONVERSATION], ids=["short", "long"])
def test_bodies_are_what_the_vendor_accepts(messages, fields):
    """Every mapping, with messages that other vendors made."""
    check_openai_responses(responses(*messages, asked=EVERYTHING, **fields))


def test_messages_of_every_role():
    """Prompts, images, calls and results, in the order of the conversation."""
    url = "https://x.example/a.png"
    sent = responses(
        allm.system("Be brief."),
        allm.user("What is this?", PNG, allm.Image.from_url(url)),
        allm.assistant("A picture.", allm.ToolCall("call_1", "weather", {"city": "Zug"})),
        allm.tool_result("call_1", "sunny"),
        allm.assistant(""),
        allm.Message("user", []),
        allm.Message("user", [allm.TextPart("Hi")], name="ann"),
    )["input"]
    assert sent == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "What is this?"},
                {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgowMDAw", "detail": "auto"},
                {"type": "input_image", "image_url": url, "detail": "auto"},
            ],
        },
        {"type": "message", "role": "assistant", "content": "A picture."},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Zug"}'},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        {"role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
    ]


def test_call_is_stateless():
    """Nothing is stored, and what a later turn needs is asked for where the model thinks."""
    sent = responses(model="gpt-5.5")
    assert sent["store"] is False
    assert sent["stream"] is True
    assert sent["include"] == ["reasoning.encrypted_content"]
    for model in ("gpt-4o", "gpt-4.1-mini", "gpt-5-chat-latest", "gpt-audio"):
        assert "include" not in responses(model=model)  # it would be a 400
    for model in ("o3", "o4-mini-deep-research", "ft:o4-mini:me::1", "gpt-5-nano", "gpt-10", "codex-mini-latest"):
        assert "include" in responses(model=model)


def test_effort_summary_and_verbosity_have_their_places():
    """A summary of "none" is none."""
    sent = responses(asked=EVERYTHING, max_tokens=64, temperature=0.5)
    assert sent["reasoning"] == {"effort": "low", "summary": "auto"}
    assert sent["text"] == {"verbosity": "low"}
    assert (sent["max_output_tokens"], sent["temperature"]) == (64, 0.5)
    assert "reasoning" not in responses(asked=allm.adapters.AdapterOptions(reasoning_summary="none"))


@pytest.mark.parametrize(
    ("wanted", "sent"),
    [
        ("text", {"type": "text"}),
        ("json", {"type": "json_object"}),
        (
            allm.json_schema("x", SCHEMA),
            {"type": "json_schema", "name": "x", "schema": {**SCHEMA, "additionalProperties": False}, "strict": True},
        ),
        (
            allm.json_schema("x", SCHEMA, strict=False),
            {"type": "json_schema", "name": "x", "schema": SCHEMA, "strict": False},
        ),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, {"type": "json_schema", "name": "x"}),
        ({"type": "grammar", "definition": "g"}, {"type": "grammar", "definition": "g"}),
    ],
)
def test_output_format(wanted, sent):
    """Under `text.format`; a mapping in the form of Chat Completions is put into this one."""
    assert responses(response_format=wanted)["text"] == {"format": sent}


CLOSED = {**SCHEMA, "additionalProperties": False}


def test_strict_is_always_said():
    """The API's own default is true, and refuses most schemas; a schema that fits gets it."""

    def strict(schema, **metadata):
        return responses(tools=[allm.Tool("f", "d", schema, metadata=metadata)])["tools"][0]["strict"]

    assert strict(TOOL.schema) is False
    assert strict(CLOSED) is True
    assert strict(CLOSED, openai={"strict": False}) is False
    assert strict(TOOL.schema, openai={"strict": True}) is True
    assert strict(TOOL.schema, openai="strict", other={"strict": True}) is False


EMPTY = {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({"type": "object"}, EMPTY),
        ({}, EMPTY),
        (
            {"$schema": "http://json-schema.org/draft-07/schema#"},
            {"$schema": "http://json-schema.org/draft-07/schema#", **EMPTY},
        ),
        ({"type": "object", "additionalProperties": False}, {**EMPTY, "additionalProperties": False}),
        (EMPTY, EMPTY),
        ({"anyOf": [{"type": "object"}]}, {"anyOf": [{"type": "object"}]}),
        ({"$ref": "#/$defs/A", "$defs": {"A": EMPTY}}, {"$ref": "#/$defs/A", "$defs": {"A": EMPTY}}),
    ],
)
def test_a_tool_without_parameters_has_empty_ones(schema, sent):
    """MCP servers leave `properties` out, and OpenAI answers 400 to that, in either API."""
    tool = allm.Tool("now", "The time.", schema, manual=True)
    assert responses(allm.user("hi"), tools=[tool])["tools"][0]["parameters"] == sent
    assert chat(allm.user("hi"), tools=[tool])["tools"][0]["function"]["parameters"] == sent


def test_tool_choice_names_the_function_flat():
    """A mapping in the form of Chat Completions is put into this one."""
    named = {"type": "function", "name": "weather"}
    assert responses(tools=[TOOL], tool_choice="weather")["tool_choice"] == named
    nested = {"type": "function", "function": {"name": "weather"}}
    assert responses(tools=[TOOL], tool_choice=nested)["tool_choice"] == named
    assert responses(tools=[TOOL], tool_choice=named)["tool_choice"] == named


def test_options_win_and_what_belongs_together_is_merged():
    """Who asks for a source does not lose the encrypted reasoning, nor the effort by asking for a summary."""
    search = {"type": "web_search"}
    sent = responses(
        asked=EVERYTHING,
        tools=[TOOL],
        options={
            "store": True,
            "temperature": 0,
            "include": ["web_search_call.action.sources", "reasoning.encrypted_content"],
            "tools": [search],
            "reasoning": {"summary": "detailed"},
            "text": {"format": {"type": "text"}},
        },
    )
    check_openai_responses(sent)
    assert (sent["store"], sent["temperature"]) == (True, 0)
    assert sent["include"] == ["reasoning.encrypted_content", "web_search_call.action.sources"]
    assert sent["tools"][1:] == [search]
    assert sent["reasoning"] == {"effort": "low", "summary": "detailed"}
    assert sent["text"] == {"verbosity": "low", "format": {"type": "text"}}
    assert responses(options={"include": None})["include"] is None


def test_answer_goes_back_as_it_came():
    """Reasoning before what followed it, server items and phases in their places, also after a way through JSON."""
    items = [
        reasoning("First. ", "Second."),
        SEARCH,
        message("Hello ", refusal("but no."), phase="commentary"),
        reasoning(id="rs_2", content=[{"type": "reasoning_text", "text": "Hm."}]),
        call(namespace="maps", caller={"type": "direct"}),
        call("clock", "{}", id="fc_2", call_id="call_2"),
        custom_call("4 + 4"),
        message(id="msg_2", status="incomplete"),
    ]
    items[-1]["content"] = [
        {"type": "output_text", "text": "So", "annotations": [{"type": "file_path", "file_id": "f", "index": 0}]}
    ]
    thread = allm.Thread((allm.user("?"), folded(*items).message)).add(
        allm.tool_result("call_c", "8"), allm.tool_result("call_1", "sunny"), allm.tool_result("call_2", "12")
    )
    thread = allm.from_json(allm.to_json(thread), allm.Thread)
    sent = responses(*thread.messages)
    check_openai_responses(sent)
    assert sent["input"][1:] == [
        *items,
        {"type": "custom_tool_call_output", "call_id": "call_c", "output": "8"},
        {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
        {"type": "function_call_output", "call_id": "call_2", "output": "12"},
    ]


def test_reasoning_alone_is_not_sent():
    """Without the item that followed it, it is a 400: the budget went into thinking, or the rest was cut off."""
    assert sent_back(*folded(reasoning()).message.parts) == []
    items = sent_back(*folded(message("Hi"), reasoning("Hm."), status="incomplete").message.parts)
    assert items == [message("Hi")]
    parts = folded(reasoning(), message("")).message.parts  # nothing is left of its successor
    assert sent_back(*parts) == []


def test_several_thoughts_go_with_the_item_after_them():
    """In their order."""
    items = [reasoning(), reasoning("Hm.", id="rs_2"), call()]
    assert sent_back(*folded(*items).message.parts) == items


def test_reasoning_that_cannot_go_back_takes_the_id_of_its_successor_along():
    """That id would ask for it; the text and the call go without."""
    hidden = {**reasoning(), "encrypted_content": None}
    later = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Zug"}'}
    parts = folded(
        hidden, message("Hello ", "you", phase="final_answer"), hidden | {"id": "rs_2"}, call()
    ).message.parts
    assert sent_back(*parts) == [
        {"type": "message", "role": "assistant", "content": "Hello you", "phase": "final_answer"},
        later,
    ]
    assert sent_back(*folded(reasoning(id="rs_0"), hidden, call()).message.parts) == [later]
    assert sent_back(*folded(hidden, SEARCH, message("Hi")).message.parts) == [SEARCH, message("Hi")]


def test_stored_reasoning_goes_back_by_its_id():
    """With `store: true` the service has it."""
    hidden = {**reasoning("Hm."), "encrypted_content": None}
    items = sent_back(*folded(hidden, call()).message.parts, options={"store": True})
    assert items == [{"type": "reasoning", "id": "rs_1", "summary": hidden["summary"]}, call()]


def test_reasoning_without_an_id_goes_back_without_one():
    """Some services give none."""
    nameless = {key: value for key, value in reasoning().items() if key != "id"}
    assert sent_back(*folded(nameless, call()).message.parts)[0] == nameless


def test_opaque_data_of_others_is_left_out():
    """Of other vendors, and of other services that speak this very format."""
    items = responses(FOREIGN, allm.tool_result("toolu_1", "x"))["input"]
    assert items == [
        {"type": "message", "role": "assistant", "content": "I look."},
        {"type": "function_call", "call_id": "toolu_1", "name": "weather", "arguments": '{"city":"Bern"}'},
        {"type": "function_call_output", "call_id": "toolu_1", "output": "x"},
    ]
    document = answer(reasoning(), SEARCH, message("Hi", phase="commentary"), call())
    azure = fold(ResponsesDecoder("azure").decode_document(document)).message
    assert sent_back(*azure.parts) == [
        {"type": "message", "role": "assistant", "content": "Hi"},
        {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": '{"city":"Zug"}'},
    ]
    adapter = allm.providers.OpenAI(preset="azure", api_key="k", base_url="https://x.example", endpoint="responses")
    assert loads(prepare(azure, adapter=adapter).body)["input"] == document["output"]


def test_messages_of_different_phases_stay_apart():
    """As do those with ids of their own; text without one that stands together is one message."""
    items = [message("I look.", phase="commentary"), message("Found.", id="msg_2", phase="final_answer")]
    assert sent_back(*folded(*items).message.parts) == items
    joined = sent_back(allm.TextPart("a"), allm.TextPart("b"), allm.ToolCall("c", "f", {}), allm.TextPart("d"))
    assert [item.get("content") for item in joined] == ["ab", None, "d"]


def test_refusal_that_has_no_id_is_said_in_plain_words():
    """Only an item that came from this API can have a part of that kind."""
    assert sent_back(allm.TextPart("I cannot.", refusal=True)) == [
        {"type": "message", "role": "assistant", "content": "I cannot."}
    ]


def test_tool_results_may_hold_images():
    """Then the output is a list of parts."""
    result = allm.Message("tool", [allm.TextPart("Here:"), allm.ImagePart(PNG, "low")], tool_call_id="c")
    sent = responses(allm.assistant(allm.ToolCall("c", "f", {})), result)
    check_openai_responses(sent)
    assert sent["input"][1]["output"] == [
        {"type": "input_text", "text": "Here:"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgowMDAw", "detail": "low"},
    ]


def test_images_that_cannot_be_sent_are_all_named():
    """With their places, and nothing is sent."""
    bad = [allm.Image.from_bytes(b"BM..", "image/bmp"), allm.Image(("file", "/does/not/exist.png"))]
    with pytest.raises(allm.ValidationError) as caught:
        responses(allm.user("See", *bad))
    assert caught.value.errors == (
        (("messages", 0, "content", 1), "unsupported_image_format"),
        (("messages", 0, "content", 2), "unreadable_file"),
    )


def test_parts_of_openais_own_are_sent_as_they_are():
    """What begins with `input_` as a part of the message, anything else as an item after it."""
    file = {"type": "input_file", "file_id": "file-1"}
    approval = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    sent = responses(
        allm.user("Read this.", allm.ProviderPart("openai", file), allm.ProviderPart("openai", approval)),
        allm.Message("user", [allm.ProviderPart("openai", approval)]),
    )
    check_openai_responses(sent)
    assert sent["input"] == [
        {"role": "user", "content": [{"type": "input_text", "text": "Read this."}, file]},
        approval,
        approval,
    ]


def test_request_is_unchanged():
    """Schemas and options are the caller's."""
    request = allm.Request(
        [allm.user("hi")], model="gpt-5.4", tools=[TOOL], options={"tools": [{"type": "web_search"}]}
    )
    before = allm.to_json(request)
    for endpoint in ("responses", "chat_completions"):
        allm.providers.OpenAI(api_key="k", endpoint=endpoint).prepare(request, allm.adapters.AdapterOptions())
    assert allm.to_json(attrs.evolve(request)) == before


RECORDED = [case for case in cases("openai_responses") if case.expected["outcome"] == "ok"]


def decoded(case, provider="openai"):
    """The message of a recorded answer, and its output items as the terminal event has them."""
    body = (case.folder / "response.body").read_bytes()
    decoder = ResponsesDecoder(provider)
    if body.lstrip().startswith(b"{"):
        document = loads(body)
        return fold(decoder.decode_document(document)).message, document["output"]
    events, last = [], b""
    for name, data in SSEDecoder().feed(body):
        events += decoder.decode(name, data)
        last = data
    return fold(events).message, loads(last)["response"]["output"]


def essence(item):
    """What an item says, whichever of its forms it has."""
    match item["type"]:
        case "message":
            parts = item["content"]
            texts = [part.get("text") or part.get("refusal") for part in parts] if isinstance(parts, list) else [parts]
            return "message", "".join(filter(None, texts)), item.get("phase")
        case "reasoning":
            return "reasoning", item["id"], item["summary"]
        case "function_call" | "custom_tool_call":
            return item["type"], item["call_id"], item["name"], item.get("arguments"), item.get("input")
    # A fingerprint is encrypted anew in every place, and each of them is right.
    return {key: value for key, value in item.items() if key != "fingerprint"}


@pytest.mark.skipif(not RECORDED, reason=f"no recorded answers at {CORPUS}")
@pytest.mark.parametrize("case", RECORDED, ids=[case.name for case in RECORDED])
def test_recorded_answers_go_back_as_they_came(case):
    """Every item, but for empty texts, and reasoning that nothing followed or that has no encrypted content."""
    provider = "xai" if ".x.ai/" in case.url else "openai"
    message, output = decoded(case, provider)
    adapter = allm.providers.OpenAI(
        preset=None if provider == "openai" else provider, api_key="k", endpoint="responses"
    )
    sent = loads(prepare(allm.user("?"), allm.from_json(allm.to_json(message)), adapter=adapter).body)["input"][1:]
    expected = [item for item in output if item["type"] != "reasoning" or item.get("encrypted_content")]
    expected = [item for item in expected if item["type"] != "message" or essence(item)[1]]
    while expected and expected[-1]["type"] == "reasoning":
        expected.pop()
    assert [essence(item) for item in sent] == [essence(item) for item in expected]


@pytest.mark.skipif(not RECORDED, reason=f"no recorded answers at {CORPUS}")
@pytest.mark.parametrize("case", RECORDED, ids=[case.name for case in RECORDED])
def test_recorded_answers_are_accepted_back(case):
    """By both endpoints, with results for their calls. What a service sent of its own goes back to it alone."""
    message, _ = decoded(case, "xai" if "api.x.ai" in case.url else "openai")
    messages = [allm.user("?"), message, *(allm.tool_result(made.id, "done") for made in message.tool_calls)]
    check_openai_responses(responses(*messages))
    check_openai_chat(chat(*messages))
