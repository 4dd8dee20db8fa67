"""Bodies for Chat Completions: what is in them, and that the vendor's own types accept them."""

from __future__ import annotations

import json

import attrs
import pytest

import allm
from allm.data.json.text import dumps, loads
from allm.http.sse import SSEDecoder
from allm.providers import Preset
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.presets import PRESETS
from openai_wire import (
    BODY_FIELDS,
    CONVERSATION,
    EVERYTHING,
    FOREIGN,
    PNG,
    TOOL,
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


@pytest.mark.parametrize("fields", BODY_FIELDS.values(), ids=BODY_FIELDS)
@pytest.mark.parametrize("messages", [[allm.user("hi")], CONVERSATION], ids=["short", "long"])
def test_bodies_are_what_the_vendor_accepts(messages, fields):
    """Every mapping, with messages that other vendors made."""
    check_openai_chat(chat(*messages, asked=EVERYTHING, **fields))


def test_answers_of_the_other_endpoint_are_accepted():
    """What Responses made: its items stay behind, its calls go, in kind."""
    items = [reasoning("Hm."), message("I look."), call(), custom_call("4 + 4"), message(refusal("No."), id="msg_2")]
    sent = chat(folded(*items).message, allm.tool_result("call_1", "x"), allm.tool_result("call_c", "8"))
    check_openai_chat(sent)
    assert sent["messages"][0] == {
        "role": "assistant",
        "content": "I look.",
        "refusal": "No.",
        "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Zug"}'}},
            {"id": "call_c", "type": "custom", "custom": {"name": "math", "input": "4 + 4"}},
        ],
    }


def test_messages_of_every_role():
    """Names, images, calls, results: each in its form; an answer that said nothing is not sent."""
    sent = chat(
        allm.system("Be brief."),
        allm.Message("user", "Hi", name="ann"),
        allm.user("What is this?", PNG, allm.Image.from_url("https://x.example/a.png")),
        allm.assistant(allm.TextPart("A "), allm.TextPart("picture."), allm.ToolCall("c", "weather", {"city": "Zug"})),
        allm.tool_result("c", "sunny", is_error=True),
        allm.assistant(""),
    )
    check_openai_chat(sent)
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "name": "ann", "content": "Hi"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?"},
                {
                    "type": "image_url",
                    "image_url": {"url": "data:image/png;base64,iVBORw0KGgowMDAw", "detail": "auto"},
                },
                {"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "auto"}},
            ],
        },
        {
            "role": "assistant",
            "content": "A picture.",
            "tool_calls": [
                {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Zug"}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "c", "content": "sunny"},
    ]


@pytest.mark.parametrize(
    ("raw", "parsed", "sent"),
    [
        ('{"a" : 1}', {"a": 1}, '{"a" : 1}'),
        (None, {"a": 1}, '{"a":1}'),
        ("", {}, "{}"),
        (None, None, "{}"),
        ('{"a": ', None, '{"a": '),
    ],
)
def test_arguments_go_back_as_the_model_wrote_them(raw, parsed, sent):
    """Valid or not; other vendors' objects as JSON."""
    made = chat(allm.assistant(allm.ToolCall("c", "f", parsed, raw)), allm.tool_result("c", "x"))
    assert made["messages"][0]["tool_calls"][0]["function"]["arguments"] == sent


def test_foreign_thinking_and_items_are_left_out():
    """Calls and text of another vendor stay."""
    sent = chat(FOREIGN, allm.tool_result("toolu_1", "x"))
    assert sent["messages"][0] == {
        "role": "assistant",
        "content": "I look.",
        "tool_calls": [
            {"id": "toolu_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Bern"}'}}
        ],
    }


def test_parts_of_openais_own_are_sent_as_they_are():
    """A file or a sound in a prompt."""
    file = {"type": "file", "file": {"file_id": "file-1"}}
    sent = chat(allm.user("Read this.", allm.ProviderPart("openai", file)))
    check_openai_chat(sent)
    assert sent["messages"][0]["content"] == [{"type": "text", "text": "Read this."}, file]


def test_tool_is_strict_only_when_it_says_so():
    """Services that imitate this API do not all know the field."""
    assert "strict" not in chat(tools=[TOOL])["tools"][0]["function"]
    for wish in (True, False):
        asked = attrs.evolve(TOOL, metadata={"openai": {"strict": wish}})
        assert chat(tools=[asked])["tools"][0]["function"]["strict"] is wish


def test_strict_format_is_closed():
    """Strict mode wants `additionalProperties: false` in every object; the caller's schema is left alone."""
    schema = {"type": "object", "properties": {"a": {"type": "object", "properties": {}}}, "required": ["a"]}
    made = chat(response_format=allm.json_schema("x", schema))["response_format"]["json_schema"]
    assert made["schema"]["additionalProperties"] is False
    assert made["schema"]["properties"]["a"]["additionalProperties"] is False
    assert "additionalProperties" not in schema
    loose = chat(response_format=allm.json_schema("x", schema, strict=False))["response_format"]["json_schema"]
    assert loose == {"name": "x", "schema": schema, "strict": False}


def test_forms_of_the_other_endpoint_are_put_into_this_one():
    """`endpoint="auto"` may take the same call to either."""
    flat = {"type": "json_schema", "name": "x", "schema": {"type": "object"}}
    made = chat(tools=[TOOL], tool_choice={"type": "function", "name": "weather"}, response_format=flat)
    assert made["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert made["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "x", "schema": {"type": "object"}},
    }
    own = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    assert chat(tools=[TOOL], tool_choice=own, response_format={"type": "text"})["tool_choice"] == own


def test_images_that_are_refused():
    """The error names every place, also in a tool's result."""
    not_an_image = allm.Image.from_bytes(b"BM..", "image/bmp")
    result = allm.Message("tool", [allm.TextPart("Here:"), allm.ImagePart(not_an_image)], tool_call_id="c")
    bad = allm.user("See", allm.Image.from_bytes(b"BM..", "image/bmp"))
    unknown = allm.user(allm.Image.from_bytes(b"what is this"))
    with pytest.raises(allm.ValidationError) as caught:
        chat(result, bad, unknown, tools=[TOOL], tool_choice="nope")
    assert caught.value.errors == (
        (("messages", 0, "content", 1), "unsupported_image_format"),
        (("messages", 1, "content", 1), "unsupported_image_format"),
        (("messages", 2, "content", 0), "missing_mime_type"),
        (("tool_choice",), "unknown_tool"),
    )


@pytest.mark.parametrize(
    "adapter",
    [
        allm.providers.OpenAI(preset="llamacpp"),
        allm.providers.OpenAI(base_url="http://gpu-box:8000/v1", api_key="k"),
        allm.providers.OpenAI(base_url="http://gpu-box:8000/v1", api_key="k", endpoint="responses"),
    ],
)
def test_other_services_may_take_other_images(adapter):
    """Only OpenAI's own formats are known here."""
    call = prepare(allm.user(allm.Image.from_bytes(b"BM..", "image/bmp")), adapter=adapter)
    assert b"data:image/bmp;base64," in call.body


def test_arguments_that_are_not_json_are_an_object_elsewhere():
    """Servers at an address of their own parse them, and would refuse the conversation for ever; OpenAI does not."""
    call = allm.ToolCall("c1", "f", None, '{"city": "Zu')
    thread = [allm.user("Hi"), allm.assistant(call), allm.tool_result("c1", "no JSON")]
    body = json.loads(
        prepare(*thread, adapter=allm.providers.OpenAI(base_url="http://gpu-box:8000/v1", api_key="k")).body
    )
    assert isinstance(json.loads(body["messages"][1]["tool_calls"][0]["function"]["arguments"]), dict)
    own = allm.providers.OpenAI(api_key="k", endpoint="chat_completions")
    body = json.loads(prepare(*thread, adapter=own).body)
    assert body["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"city": "Zu'


def test_other_services_may_take_more_stop_texts():
    """The limit of four is OpenAI's own, in all of its regions."""
    adapter = allm.providers.OpenAI(base_url="http://gpu-box:8000/v1", api_key="k")
    assert b'"stop":["a","b","c","d","e"]' in prepare(allm.user("Hi"), adapter=adapter, stop=list("abcde")).body
    adapter = allm.providers.OpenAI(base_url="https://eu.api.openai.com/v1", api_key="k", endpoint="chat_completions")
    with pytest.raises(allm.ValidationError, match="at most 4"):
        prepare(allm.user("Hi"), adapter=adapter, stop=list("abcde"))


def test_options_win_and_objects_are_merged():
    """Field by field; tools are added, usage is still asked for."""
    search = {"type": "web_search"}
    sent = chat(
        tools=[TOOL],
        temperature=1,
        options={"temperature": 0, "tools": [search], "stream_options": {"include_obfuscation": False}, "seed": 7},
    )
    assert (sent["temperature"], sent["seed"]) == (0, 7)
    assert [tool["type"] for tool in sent["tools"]] == ["function", "web_search"]
    assert sent["stream_options"] == {"include_usage": True, "include_obfuscation": False}


@pytest.mark.parametrize("make", [chat, responses])
def test_tool_choice_needs_tools(make):
    """Without any, the API refuses the field: it is left out where it asks for nothing, and refused where it does."""
    for word in ("auto", "none"):
        assert "tool_choice" not in make(tool_choice=word)
        assert make(tool_choice=word, tools=[TOOL])["tool_choice"] == word
    assert make(tool_choice="required", options={"tools": [{"type": "web_search"}]})["tool_choice"] == "required"
    with pytest.raises(allm.ValidationError) as caught:
        make(tool_choice="required")
    assert caught.value.errors == ((("tool_choice",), "requires_tools"),)
    with pytest.raises(allm.ValidationError, match="'nope'"):
        make(tool_choice="nope", tools=[TOOL])


def thinking_service(field):
    return Preset(name="thinker", base_url="https://x.example/v1", reasoning_field=field, key_required=False)


def test_thinking_goes_back_where_the_service_wants_it():
    """Its own only, under its own field: DeepSeek answers 400 to a call whose thinking is missing."""
    decoder = ChatDecoder("thinker")
    delta = {"reasoning_content": "Let me see.", "tool_calls": [{"index": 0, "id": "c", "function": {"name": "f"}}]}
    events = decoder.decode("", dumps({"choices": [{"index": 0, "delta": delta}]}))
    answer = fold([*events, *decoder.decode("", b"[DONE]")]).message
    kept = {"thinker": {"field": "reasoning_content"}}
    assert answer.reasoning == (allm.ReasoningPart("Let me see.", provider="thinker", metadata=kept),)
    messages = (answer, allm.tool_result("c", "x"), FOREIGN, allm.tool_result("toolu_1", "x"))
    for field in ("reasoning_content", "reasoning", None):
        adapter = allm.providers.OpenAI(preset=thinking_service(field))
        sent = loads(prepare(*messages, adapter=adapter).body)["messages"]
        assert sent[0].get(field or "reasoning_content") == "Let me see."
        assert not {"reasoning", "reasoning_content"} & sent[2].keys()
    assert PRESETS["deepseek"].reasoning_field == "reasoning_content"


def test_custom_call_is_free_text_and_goes_back_so():
    """Its input is no JSON."""
    decoder = ChatDecoder()
    custom = {"index": 0, "id": "c", "type": "custom", "custom": {"name": "math", "input": "4 +"}}
    more = {"index": 0, "custom": {"input": " 4"}}
    events = []
    for piece in (custom, more):
        events += decoder.decode("", dumps({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}}]}))
    answer = fold([*events, *decoder.decode("", b"[DONE]")]).message
    [made] = answer.tool_calls
    assert (made.name, made.arguments, made.raw_arguments) == ("math", None, "4 + 4")
    sent = chat(answer, allm.tool_result("c", "8"))
    check_openai_chat(sent)
    assert sent["messages"][0]["tool_calls"] == [
        {"id": "c", "type": "custom", "custom": {"name": "math", "input": "4 + 4"}}
    ]
    assert responses(answer, allm.tool_result("c", "8"))["input"] == [
        {"type": "custom_tool_call", "call_id": "c", "name": "math", "input": "4 + 4"},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "8"},
    ]


RECORDED = [case for case in cases("openai_chat") if case.expected["outcome"] == "ok"]


@pytest.mark.skipif(not RECORDED, reason=f"no recorded answers at {CORPUS}")
@pytest.mark.parametrize("case", RECORDED, ids=[case.name for case in RECORDED])
def test_recorded_answers_are_accepted_back(case):
    """By both endpoints, with results for their calls."""
    # What a service sent of its own goes back to that service alone.
    decoder = ChatDecoder("openrouter" if "openrouter" in case.url else "openai")
    body = (case.folder / "response.body").read_bytes()
    if body.lstrip().startswith(b"{"):
        events = decoder.decode_document(loads(body))
    else:
        reader = SSEDecoder()
        events = [event for name, data in reader.feed(body) for event in decoder.decode(name, data)]
    answer = fold(events).message
    messages = [allm.user("?"), answer, *(allm.tool_result(made.id, "done") for made in answer.tool_calls)]
    check_openai_chat(chat(*messages))
    check_openai_responses(responses(*messages))
