"""An answer is encoded once for the requests after it, and each request is what it would be without that."""

from __future__ import annotations

import base64
import contextlib
import copy
import gc
import json
import sys
import weakref
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings, strategies as st

import allm
from allm.adapters import AdapterOptions
from allm.providers import Anthropic, Gemini, OpenAI
from allm.providers.openai.chat_encode import _MessageEncoder
from allm.providers.openai.responses_items_encode import ItemEncoder

SOURCE = f"{Path(allm.__file__).parent}/"
ADAPTERS = {
    "chat": OpenAI(api_key="k", endpoint="chat_completions"),
    "responses": OpenAI(api_key="k", endpoint="responses"),
    "mistral": OpenAI(api_key="k", preset="mistral"),
    "elsewhere": OpenAI(api_key="k", endpoint="chat_completions", base_url="http://127.0.0.1:1/v1"),
    "anthropic": Anthropic(api_key="k"),
    "gemini": Gemini(api_key="k"),
}


def answer(number):
    """With all kinds of parts, and mappings in each of them."""
    notes = {"openai": {"id": f"msg_{number}", "annotations": [{"type": "file", "n": [1]}]}, "gemini": {"x": {}}}
    arguments = {"city": "Zug", "days": [1, {"a": 2}]}
    return allm.assistant(
        allm.ReasoningPart("hm", provider="openai", id=f"rs_{number}", encrypted_content="e", metadata={"openai": {}}),
        allm.TextPart("I look.", metadata=notes),
        allm.TextPart("Or not.", refusal=True),
        allm.ToolCall(f"c{number}", "look", arguments, metadata={"openai": {"id": f"fc_{number}"}}),
        allm.ToolCall(f"d{number}", "look", arguments, '{"city":"Zug"}'),
        allm.ToolCall(f"e{number}", "sql", None, "select", metadata={"openai": {"type": "custom_tool_call"}}),
        allm.ProviderPart("gemini", {"functionCall": {"name": "own"}}),
        allm.ProviderPart("anthropic", {"type": "server_tool_use", "id": f"s{number}", "input": {"q": ["x"]}}),
        allm.ProviderPart("openai", {"type": "web_search_call", "id": f"ws_{number}", "action": {"q": ["x"]}}),
    )


def conversation(turns):
    """Answers with their results, and plain ones."""
    said = []
    for number in range(turns):
        said += [allm.user("Hi"), answer(number % 2), *[allm.tool_result(f"{c}{number % 2}", "ok") for c in "cde"]]
        said += [
            allm.assistant("Sunny."),
            allm.user("Why?"),
            allm.assistant(allm.TextPart("So."), allm.TextPart("Yes.")),
        ]
    return [*said, allm.user("And?")]


def body(name, messages):
    """What is sent."""
    request = allm.Request(messages, model="m", max_tokens=5)
    return json.loads(ADAPTERS[name].prepare(request, AdapterOptions()).body)


def mappings(value):
    """All dictionaries in a message, at any level."""
    if attrs.has(type(value)):
        value = [getattr(value, field.name) for field in attrs.fields(type(value))]
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from mappings(item)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(sorted(ADAPTERS)), st.integers(0, 99), st.booleans()), max_size=6))
def test_each_request_is_that_of_a_copy(steps):
    """Whatever service got the conversation before, and whatever mapping in it was changed since, at any level."""
    messages = conversation(3)  # the third answer has the ids of the first
    for name, place, changes in steps:
        if changes:
            found = [mapping for message in messages for mapping in mappings(message)]
            found[place % len(found)][f"k{place}"] = {"v": place}
        assert body(name, messages) == body(name, copy.deepcopy(messages))


@pytest.mark.parametrize(("name", "encoder"), [("chat", _MessageEncoder), ("responses", ItemEncoder)])
def test_a_request_encodes_the_answers_that_are_new(name, encoder, monkeypatch):
    """And those of the last few messages before, once more; the others were encoded for the requests before it."""
    encoded = []
    whole = encoder._assistant
    monkeypatch.setattr(encoder, "_assistant", lambda self, message: encoded.append(message) or whole(self, message))
    messages = [message for message in conversation(20) if all(call.arguments for call in message.tool_calls)]
    messages = [message for message in messages if message.role != "tool"]
    call = allm.assistant(allm.ToolCall("x", "f", {"a": 1}, metadata={"openai": {"id": "fc_1"}}))
    messages += [call, allm.tool_result("x", "ok")]
    body(name, messages)
    encoded.clear()
    body(name, messages)
    assert encoded == [call]
    new = allm.assistant(allm.TextPart("New."), allm.TextPart("Two."))
    encoded.clear()
    body(name, [*messages, new, allm.user("And?")])
    assert encoded == [new]  # what was encoded twice is kept by itself, too
    body("gemini", messages)
    encoded.clear()
    body(name, messages)
    assert call in encoded  # the other format took the place of the first one


def calls_of(function):
    """How many times functions and generators of this library are called, or go on."""
    count = 0

    def note(frame, event, _argument):
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(SOURCE)

    gc.disable()  # what a collection calls would count too
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def without_own(message):
    """Without parts in Anthropic's own words, which may have marks in them, so that each request looks for these."""
    if isinstance(message.content, str):
        return message
    return attrs.evolve(message, content=[part for part in message.content if not isinstance(part, allm.ProviderPart)])


@pytest.mark.parametrize("name", ADAPTERS)
def test_a_request_costs_what_is_new(name):
    """As many calls after two thousand messages as after two hundred, also where two questions follow the same ones."""

    def cost(turns):
        messages = [without_own(message) for message in conversation(turns)]
        body(name, messages)
        more = [*messages, allm.assistant("So."), allm.user("And then?")]
        return calls_of(lambda: body(name, more)), calls_of(lambda: body(name, [*messages[:-1], allm.user("Or?")]))

    body(name, conversation(3))  # what is made once for all requests
    assert cost(400) == cost(40)


def answered(number, order, user_at, left_out):
    """An answer with the results of its calls, in some order, and perhaps a word of the user between them."""
    results = [allm.tool_result(f"{c}{number}", "ok") for c in order][left_out:]
    between = [allm.user("Wait.")] if user_at < len(results) else []
    return [answer(number), *results[:user_at], *between, *results[user_at:]]


ROUNDS = st.one_of(
    st.builds(answered, st.integers(0, 1), st.permutations("cde"), st.integers(0, 6), st.sampled_from([0, 0, 0, 1])),
    st.sampled_from(
        [
            [allm.user("Hi")],
            [allm.system("Be nice.")],
            [allm.assistant("So.")],
            [allm.assistant(allm.TextPart(" "))],
            [allm.tool_result("c0", "late")],
            [allm.user("Look:", allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20)))],
        ]
    ),
)


@pytest.mark.parametrize("kind", [allm.Image, allm.Document, allm.Audio, allm.Video])
def test_a_file_in_a_conversation_is_read_for_each_request(tmp_path, kind):
    """What is sent has what is in the file then, however long the conversation is."""
    suffix = {"image": "png", "document": "pdf", "audio": "wav", "video": "mp4"}[kind.word]
    place = tmp_path / f"file.{suffix}"
    place.write_bytes(b"first")
    look = allm.user("Look:", kind.from_file(place))
    messages = [allm.user("Hi"), look, *conversation(3)]
    before = json.dumps(body("gemini", messages))
    place.write_bytes(b"second")
    after = json.dumps(body("gemini", [*messages, allm.user("And now?")]))
    for text, data in ((before, b"first"), (after, b"second")):
        assert base64.b64encode(data).decode() in text


def sent(name, messages):
    """What is sent, or what is wrong with it."""
    try:
        return body(name, messages)
    except allm.ValidationError as error:
        return [str(problem) for problem in error.errors]


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(sorted(ADAPTERS)),
    st.lists(ROUNDS, min_size=4, max_size=9),
    st.lists(st.tuples(st.integers(8, 40), st.lists(ROUNDS, max_size=4)), min_size=1, max_size=5),
)
def test_each_branch_of_a_conversation_is_that_of_a_copy(name, rounds, branches):
    """Wherever it goes on from another one: results out of place, ids that come again, turns of one side in a row."""
    messages = [message for round_ in rounds for message in round_]
    for kept, more in [(len(messages), []), *branches]:
        messages = [*messages[:kept], *[message for round_ in more for message in round_]]
        assert sent(name, messages) == sent(name, copy.deepcopy(messages))


@pytest.mark.parametrize("way", ["grows", "moves", "changes"])
def test_few_messages_keep_what_is_before_them(way):
    """A conversation of n messages does not keep n beginnings, however it is sent."""
    messages = conversation(20)
    for end in range(30, len(messages), 3):
        begin = end - 30 if way == "moves" else 0
        if way == "changes":
            messages[1].content[0].metadata[f"k{end}"] = end
        with contextlib.suppress(allm.ValidationError):  # a result whose call is not in the window
            body("chat", messages[begin:end])
    assert 1 <= sum(getattr(message, "_begun", None) is not None for message in messages) <= 2


def test_another_address_gets_its_own_encoding():
    """What one service has signed does not go to another, though both have the same format."""
    message = allm.assistant(
        allm.TextPart("x"), allm.ToolCall("c", "f", {}, metadata={"openai": {"fields": {"sig": 1}}})
    )
    messages = [allm.user("Hi"), message, allm.tool_result("c", "ok")]
    here, there = body("chat", messages), body("elsewhere", messages)
    assert (here, there) == (body("chat", copy.deepcopy(messages)), body("elsewhere", copy.deepcopy(messages)))


def test_a_message_that_was_sent_is_freed():
    """No list of encodings keeps it."""
    messages = conversation(1)
    gone = [weakref.ref(message) for message in messages]
    for name in ADAPTERS:
        body(name, messages)
    del messages
    gc.collect()
    assert [ref() for ref in gone] == [None] * len(gone)
