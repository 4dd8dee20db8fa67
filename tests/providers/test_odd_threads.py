"""Conversations of every odd shape, as the bodies that each vendor takes."""

from __future__ import annotations

import re

import pytest

import allm
from allm.data.json.text import loads
from request_types import check_anthropic, check_bedrock, check_gemini, check_openai_chat, check_openai_responses

LONG = "chatcmpl-tool-" + "0" * 32
ODD = "functions.f:0"

THREADS = {
    "result after what the user said": [
        allm.assistant(allm.ToolCall("a", "f", {}), allm.ToolCall("b", "f", {})),
        allm.tool_result("b", "two"),
        allm.user("Well?"),
        allm.tool_result("a", "one"),
        allm.user("Go on"),
    ],
    "result after another turn": [
        allm.assistant(allm.ToolCall("a", "f", {})),
        allm.user("Well?"),
        allm.assistant("Wait."),
        allm.tool_result("a", "one"),
    ],
    "one id in two turns": [
        allm.assistant(allm.ToolCall("a", "f", {})),
        allm.tool_result("a", "one"),
        allm.assistant(allm.ToolCall("a", "f", {})),
        allm.tool_result("a", "two"),
    ],
    "ids that others made": [
        allm.assistant(allm.ToolCall(LONG, "f", {}), allm.ToolCall(ODD, "f", {}), allm.ToolCall("é/1", "f", {})),
        allm.tool_result(LONG, "one"),
        allm.tool_result(ODD, "two"),
        allm.tool_result("é/1", "three"),
    ],
    "tools that models made up": [
        allm.assistant(
            *(allm.ToolCall(f"c{n}", name, {}) for n, name in enumerate(["a.b", "get it", "9", "", "x" * 90]))
        ),
        *(allm.tool_result(f"c{n}", "no such tool", is_error=True) for n in range(5)),
    ],
    "arguments that are none": [
        allm.assistant(*(allm.ToolCall(f"c{n}", "f", None, raw) for n, raw in enumerate(['{"a":', "[1]", "x", ""]))),
        *(allm.tool_result(f"c{n}", "no") for n in range(4)),
    ],
    "nothing to say": [
        allm.Message("system", " "),
        allm.user("Hello"),
        allm.Message("assistant", ""),
        allm.Message("assistant", [allm.ReasoningPart("Hm.", provider="elsewhere")]),
        allm.user("Go on"),
    ],
}


def body(adapter, thread, model="m"):
    request = allm.Request([allm.user("Hi"), *thread], model=model)
    return loads(adapter.prepare(request, allm.adapters.AdapterOptions()).body)


def chat(thread, **fields):
    return body(allm.providers.OpenAI(api_key="k", endpoint="chat_completions", **fields), thread)


def responses(thread):
    return body(allm.providers.OpenAI(api_key="k", endpoint="responses"), thread)


def anthropic(thread):
    return body(allm.providers.Anthropic(api_key="k"), thread, "claude-haiku-4-5")


def gemini(thread):
    return body(allm.providers.Gemini(api_key="k"), thread, "gemini-3-pro")


def bedrock(thread):
    return body(allm.providers.Bedrock(api_key="k", region="us-east-1"), thread, "amazon.nova-2-lite-v1:0")


@pytest.fixture(params=THREADS)
def thread(request):
    return THREADS[request.param]


@pytest.mark.parametrize("preset", [None, "mistral", "vllm", "deepseek"])
def test_chat_completions(thread, preset):
    """Results directly behind their calls, ids and names as the service takes them, no message without content."""
    messages = chat(thread, preset=preset)["messages"]
    ids = {None: r".{1,40}", "mistral": "[A-Za-z0-9]{9}"}.get(preset, ".+")
    waiting = []
    for message in messages:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
            continue
        assert not waiting
        assert message["content"] != []
        waiting = [call["id"] for call in message.get("tool_calls", ())]
        assert message["content"] or waiting or message["role"] != "assistant"
        for call in message.get("tool_calls", ()):
            assert re.fullmatch(ids, call["id"])
            assert re.fullmatch("[A-Za-z0-9_-]{1,64}", call["function"]["name"])
            assert preset is None or isinstance(loads(call["function"]["arguments"]), dict)
    assert not waiting


def test_arguments_that_are_none_go_back_to_openai_as_they_came():
    """It takes any text; nobody else does."""
    thread = THREADS["arguments that are none"]
    sent = [call["function"]["arguments"] for call in chat(thread)["messages"][1]["tool_calls"]]
    assert sent == ['{"a":', "[1]", "x", "{}"]
    sent = [call["function"]["arguments"] for call in chat(thread, preset="vllm")["messages"][1]["tool_calls"]]
    assert loads(sent[0]) == {"INVALID_JSON": '{"a":'}
    assert sent[3] == "{}"


def test_responses(thread):
    """Each output names a call before it."""
    called = []
    for item in responses(thread)["input"]:
        if item.get("type") == "function_call":
            assert len(item["call_id"]) <= 64
            assert re.fullmatch("[A-Za-z0-9_-]{1,64}", item["name"])
            called.append(item["call_id"])
        elif item.get("type") == "function_call_output":
            called.remove(item["call_id"])
    assert not called


def test_anthropic(thread):
    """The turn after calls begins with all of their results."""
    waiting, seen = [], set()
    for turn in anthropic(thread)["messages"]:
        results = [block["tool_use_id"] for block in turn["content"] if block["type"] == "tool_result"]
        assert sorted(results) == sorted(waiting)
        calls = [block for block in turn["content"] if block["type"] == "tool_use"]
        waiting = [call["id"] for call in calls]
        assert seen.isdisjoint(waiting)
        seen.update(waiting)
        assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", call["name"]) for call in calls)
    assert not waiting


def test_gemini(thread):
    """As many results as calls, directly behind them, and under names that a function can have."""
    sent = gemini(thread)
    waiting = []
    for content in sent["contents"]:
        responses = [part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part]
        assert responses == waiting
        waiting = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
        assert all(re.fullmatch("[A-Za-z_][A-Za-z0-9_.:-]{0,127}", name) for name in waiting)
    assert not waiting
    assert "systemInstruction" not in sent


def test_bedrock(thread):
    """The turn after calls begins with all of their results, and no id comes twice."""
    waiting, seen = [], set()
    for turn in bedrock(thread)["messages"]:
        results = [block["toolResult"]["toolUseId"] for block in turn["content"] if "toolResult" in block]
        assert sorted(results) == sorted(waiting)
        calls = [block["toolUse"] for block in turn["content"] if "toolUse" in block]
        waiting = [call["toolUseId"] for call in calls]
        assert seen.isdisjoint(waiting)
        seen.update(waiting)
        assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", text) for call in calls for text in (call["name"], *waiting))
        assert all(isinstance(call["input"], dict) for call in calls)
    assert not waiting


def test_cohere(thread):
    """Results directly behind their calls, and arguments that are objects."""
    waiting = []
    for message in body(allm.providers.Cohere(api_key="k"), thread)["messages"]:
        if message["role"] == "tool":
            waiting.remove(message["tool_call_id"])
            continue
        assert not waiting
        calls = message.get("tool_calls", ())
        assert message.get("content") or calls
        waiting = [call["id"] for call in calls]
        assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", call["function"]["name"]) for call in calls)
        assert all(isinstance(loads(call["function"]["arguments"]), dict) for call in calls)
    assert not waiting


def test_the_description_of_aws_takes_all_of_them(thread):
    """That of its own SDK."""
    check_bedrock(bedrock(thread))


def test_the_vendors_types_take_all_of_them(thread):
    """Each vendor's own."""
    check_openai_chat(chat(thread))
    check_openai_responses(responses(thread))
    check_gemini(gemini(thread))
    check_anthropic(anthropic(thread), "2023-06-01")
