"""Answers with anything anywhere: the decoders make of them an answer or one clear error, never another exception."""

from __future__ import annotations

import copy
import random

import pytest

import allm
from allm import fake
from allm.adapters import FrameDecoder
from allm.data.json.text import dumps, loads, parse_arguments
from allm.http.sse import SSEDecoder
from allm.providers.anthropic.decode import MessagesDecoder
from allm.providers.bedrock.decode import ConverseDecoder
from allm.providers.cohere.chat_decode import ChatDecoder as CohereDecoder
from allm.providers.gemini.decode import GeminiDecoder
from allm.providers.openai.chat_decode import ChatDecoder
from allm.providers.openai.responses_decode import ResponsesDecoder
from allm.testing import Reply

SCRIPT = [
    fake.reasoning("Hm."),
    fake.text("So be it."),
    fake.tool_call("f", {"a": [1, "x"]}),
    fake.tool_call("g"),
    fake.usage(input_tokens=3, output_tokens=4, reasoning_tokens=1),
]
DECODERS = {
    "openai": ChatDecoder,
    "openai_responses": ResponsesDecoder,
    "anthropic": MessagesDecoder,
    "gemini": GeminiDecoder,
    "bedrock": ConverseDecoder,
    "cohere": CohereDecoder,
}
SPLITTERS = {"bedrock": FrameDecoder}
ANSWERS = 300  # for each API
ODD = [None, "", 0, -1, 1.5, True, [], {}, [None], {"x": None}, "text", [[]], [{}], 1e30, "\ud83d", "error"]
OPENAI = allm.providers.OpenAI(api_key="k", endpoint="chat_completions")
ADAPTERS = {
    "gpt-4o": OPENAI,
    "gpt-5.4": allm.providers.OpenAI(api_key="k", endpoint="responses"),
    "claude-haiku-4-5": allm.providers.Anthropic(api_key="k"),
    "gemini-3-pro": allm.providers.Gemini(api_key="k"),
    "command-a-plus": allm.providers.Cohere(api_key="k"),
    "us.amazon.nova-2-lite-v1:0": allm.providers.Bedrock(api_key="k", region="us-east-1"),
}


def places(value, path=()):
    """Where something can be changed."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield (*path, key)
        yield from places(item, (*path, key))


def mutated(value, chance):
    """The value with one to three places changed, gone, or in a list."""
    value = copy.deepcopy(value)
    for _ in range(chance.randint(1, 3)):
        found = list(places(value))
        if not found:
            break
        *path, last = chance.choice(found)
        holder = value
        for key in path:
            holder = holder[key]
        how = chance.random()
        if how < 0.6:
            holder[last] = copy.deepcopy(chance.choice(ODD))
        elif how < 0.9:
            del holder[last]
        else:
            holder[last] = [holder[last]]
    return value


def answered(decoder, events):
    """The response to a stream of these events."""
    decoder.begin({"x-request-id": "r"})
    decoded = []
    try:
        for name, value in events:
            decoded += decoder.decode(name, value if isinstance(value, bytes) else dumps(value))
            if decoder.done:
                break
        decoded += [] if decoder.done else decoder.end("")
    except allm.AdapterError as error:
        decoded.append(allm.Failed(error))
    collector = allm.StreamCollector()
    for event in decoded:
        collector.add(event)
    return collector.response(), decoded[-1]


@pytest.mark.parametrize("api", DECODERS)
def test_any_answer_is_an_answer_or_an_error(api, record_property):
    """It folds, goes to JSON and back, has calls that can be told apart, and can be sent to every provider."""
    reader = SPLITTERS.get(api, SSEDecoder)()
    body = Reply.script(api, SCRIPT).body
    stream = [
        (name, data if b"[DONE]" in data else loads(data)) for name, data in [*reader.feed(body), *reader.close()]
    ]
    chance = random.Random(api)  # noqa: S311
    record_property("changed answers", ANSWERS)
    for _ in range(ANSWERS):
        events = list(stream)
        if chance.random() < 0.3:
            del events[chance.randrange(len(events))]
        if chance.random() < 0.3:
            events.insert(chance.randrange(len(events)), chance.choice(events))
        for _ in range(2):
            index = chance.randrange(len(events))
            name, value = events[index]
            events[index] = (name, value if isinstance(value, bytes) else mutated(value, chance))
        response, last = answered(DECODERS[api](), events)
        assert (response.finish_reason == "error") == isinstance(last, allm.Failed)
        assert allm.from_json(allm.to_json(response)) == response
        calls = [call.id for call in response.tool_calls]
        assert len(set(calls)) == len(calls)
        if isinstance(last, allm.MessageCompleted):
            assert last.message == response.message
        thread = [allm.user("hi"), response.message, *(allm.tool_result(call, "x") for call in calls)]
        for model, adapter in ADAPTERS.items():
            adapter.prepare(allm.Request(thread, model=model), allm.adapters.AdapterOptions())


@pytest.mark.parametrize(("raw", "found"), [('"\ud83d"', None), ('{"a": "\ud83d"}', {"a": "\ufffd"})])
def test_arguments_cut_inside_a_character_are_text(raw, found):
    """Half of a surrogate pair is no reason to fail."""
    assert parse_arguments(raw) == found
