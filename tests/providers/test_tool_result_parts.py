"""Tool results with images in them: as parts of the result where the vendor takes them, else behind the results."""

from __future__ import annotations

import json

import pytest

import allm
from allm import fake
from allm.testing import Reply, WireServer
from request_types import check_openai_chat

IMAGE = allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40), "image/png")
RESULT = ["a fox", IMAGE, {"tail": "red"}]


def engine(server, name, **fields):
    adapters = {
        "anthropic": (allm.providers.Anthropic, "claude-x"),
        "gemini": (allm.providers.Gemini, "gemini-x"),
        "openai": (allm.providers.OpenAI, "model-x"),
        "openai_responses": (allm.providers.OpenAI, "gpt-9"),
    }
    adapter, model = adapters[name]
    if name.startswith("openai"):
        fields["endpoint"] = "responses" if name == "openai_responses" else "chat_completions"
    made = adapter(api_key="k", base_url=server.url(name), **fields)
    look = allm.Tool("look", "Looks.", handler=lambda _arguments: RESULT)
    return allm.Engine(adapter=made, model=model, tools=[look])


def answers(name):
    return Reply.script(name, [fake.tool_call("look", {})]), Reply.script(name, [fake.text("Red.")])


DATA = IMAGE.to_base64()
TAIL = '{"tail":"red"}'
EXPECTED = {
    "anthropic": [
        {"type": "text", "text": "a fox"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": DATA}},
        {"type": "text", "text": TAIL},
    ],
    "gemini": [
        {
            "functionResponse": {
                "name": "look",
                "response": {"result": f"a fox\n{TAIL}"},
                "parts": [{"inlineData": {"mimeType": "image/png", "data": DATA}}],
            }
        }
    ],
    "openai_responses": [
        {"type": "input_text", "text": "a fox"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{DATA}", "detail": "auto"},
        {"type": "input_text", "text": TAIL},
    ],
}


@pytest.mark.parametrize("name", ["anthropic", "gemini", "openai_responses"])
async def test_the_image_reaches_the_model(name):
    """In the same request as the text."""
    async with WireServer() as server:
        server.add(*answers(name))
        result = await allm.chat(engine(server, name), "What colour is the fox?")
    assert result.final_response.output_text == "Red."
    sent = json.loads(server.requests[1].body)
    assert {
        "anthropic": lambda: sent["messages"][-1]["content"][0]["content"],
        "gemini": lambda: sent["contents"][-1]["parts"],
        "openai_responses": lambda: sent["input"][-1]["output"],
    }[name]() == EXPECTED[name]


async def test_chat_completions_takes_images_from_the_user_only():
    """They are right behind the results of the step, which say so where they have no text."""
    async with WireServer() as server:
        calls = [fake.tool_call("look", {}, id="c1"), fake.tool_call("look", {}, id="c2")]
        server.add(Reply.script("openai", calls), Reply.script("openai", [fake.text("Red.")]))
        result = await allm.chat(engine(server, "openai"), "What colour is the fox?")
    assert result.final_response.output_text == "Red."
    body = json.loads(server.requests[1].body)
    sent = body["messages"]
    url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{DATA}", "detail": "auto"}}
    assert sent[2:] == [
        {"role": "tool", "tool_call_id": "c1", "content": f"a fox\n{TAIL}"},
        {"role": "tool", "tool_call_id": "c2", "content": f"a fox\n{TAIL}"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Images of the result of look (c1):"},
                url,
                {"type": "text", "text": "Images of the result of look (c2):"},
                url,
            ],
        },
    ]
    check_openai_chat(body)  # last, since it skips where the vendor's library is not installed


def chat_messages(messages, **fields):
    """The messages as Chat Completions gets them."""
    adapter = allm.providers.OpenAI(api_key="k", endpoint="chat_completions", **fields)
    made = adapter.prepare(allm.Request(messages=messages, model="m"), allm.adapters.AdapterOptions())
    return json.loads(made.body)["messages"]


CALL = allm.Message("assistant", [allm.ToolCall("abcdefghi", "look", {})])


def test_images_stay_before_what_the_conversation_goes_on_with():
    """Also where the result is nothing but an image, and where nobody has named the tool."""
    sent = chat_messages(
        (allm.user("?"), CALL, allm.tool_result("abcdefghi", IMAGE), allm.assistant("Red."), allm.user("Sure?"))
    )
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "user", "assistant", "user"]
    assert sent[2]["content"] == "The result is in the next message of the user."
    assert sent[3]["content"][0] == {"type": "text", "text": "Images of the result of abcdefghi:"}


@pytest.mark.parametrize("value", [IMAGE, "text"])
def test_services_that_want_an_answer_between_a_result_and_the_user(value):
    """Mistral answers 400 to a user right behind a result: one that the images are from, and one that has spoken."""
    sent = chat_messages(
        (allm.user("?"), CALL, allm.tool_result("abcdefghi", value), allm.user("Go on")), preset="mistral"
    )
    users = ["user", "user"] if value is IMAGE else ["user"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "assistant", *users]
    assert sent[3] == {"role": "assistant", "content": "OK."}
