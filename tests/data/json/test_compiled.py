"""The fast way between values and documents: it has the converter's result, or leaves the value to the converter."""

from __future__ import annotations

import functools
import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import allm
from allm.data.json import codec, document as documents
from allm.data.json.codec import _compiled, _converter
from allm.data.json.tags import VALUE_TAGS, tag_of
from value_strategies import anything, changed, json_data, places, values_of

search = functools.partial(settings, deadline=None, suppress_health_check=list(HealthCheck))

BY_CONVERTER = {"Tool", "HostedTool", "AskUser", "Embedding"}
"""Classes with hooks of their own, or with types that only a type checker understands."""


def conversation(turns=5):
    """With all that an ordinary one has."""
    said = [allm.system("Be brief.")]
    for number in range(turns):
        call = allm.ToolCall(f"c{number}", "look", {"city": "Zug", "days": [1, 2]}, metadata={"openai": {"id": "x"}})
        reasoning = allm.ReasoningPart("hm", signature="s", metadata={"anthropic": {"index": 0}})
        said += [allm.user(f"How is {number}?"), allm.assistant(reasoning, allm.TextPart("I look."), call)]
        said += [allm.tool_result(call.id, {"sun": 1}), allm.assistant("Sunny.", allm.TextPart("No.", refusal=True))]
    return tuple(said)


@pytest.fixture
def by_converter(monkeypatch):
    """The values that the converter had to write or read, whole documents only."""
    seen = []
    for name in ("_dump", "_structure"):
        whole = getattr(codec, name)
        monkeypatch.setattr(codec, name, lambda value, cls, whole=whole: seen.append(cls) or whole(value, cls))
    return seen


@pytest.mark.parametrize("cls", VALUE_TAGS.values(), ids=VALUE_TAGS)
def test_each_class_has_its_functions(cls):
    """A class that loses them is as slow as it was; it needs a reason, and a line here."""
    assert all(_compiled()._functions(cls)) is (cls.__name__ not in BY_CONVERTER)


@pytest.mark.parametrize("cls", VALUE_TAGS.values(), ids=VALUE_TAGS)
def test_the_document_is_the_one_of_the_converter(cls):
    """With the fields in the same order, whatever the value."""

    @search(max_examples=25)
    @given(values_of(cls))
    def same(value):
        with suppress(Exception):
            fast = _compiled().dump(value, {})
            assert repr(fast) == repr(codec._dump(value, tag_of(value)))

    same()


@search(max_examples=300)
@given(anything, st.data())
def test_what_is_accepted_the_converter_accepts(value, data):
    """With an equal result of the same types; so also where someone has touched the document."""
    document = json.loads(allm.to_json(value))
    path = data.draw(st.sampled_from([path for path in places(document) if path]))
    text = changed(document, path, data.draw(json_data | st.just(...)))
    cls = VALUE_TAGS.get(document["type"])
    with suppress(ValueError):
        document = json.loads(text)
    if cls is None or not isinstance(document, dict) or not {"v", "type"} <= document.keys():
        return
    try:
        fast = _compiled().load(json.loads(text), cls, 2)
    except Exception:
        return
    documents.check_depth(document)
    slow = _converter().structure(document, cls)
    assert repr(fast) == repr(slow)
    assert fast == slow or "nan" in repr(fast)


def test_an_ordinary_conversation_needs_no_converter(by_converter):
    """Neither to be written nor to be read; nothing is read back after it was written."""
    messages = conversation()
    thread = allm.Thread(messages)
    usage = allm.Usage(input_tokens=1, total_cost=0.5)
    response = allm.Response(message=messages[-1], finish_reason="stop", usage=usage)
    step = allm.StepResult(thread=thread, response=response)
    result = allm.ChatResult(thread=thread, final_response=response, steps=(step,), halted_reason="completed")
    for value in (thread, *messages, response, result, allm.Session(id="s", thread=thread), allm.TextDelta("t", "x")):
        assert allm.from_json(allm.to_json(value)) == value
    assert by_converter == []


ODD = {
    "a tuple in metadata": allm.Thread(metadata={"x": (1, 2)}),
    "bytes in metadata": allm.Thread(metadata={"x": b"1"}),
    "a key of documents": allm.Thread(metadata={"$type": "x"}),
    "no finite number": allm.Thread(metadata={"x": float("inf")}),
    "a list for a tuple": allm.Thread(messages=[allm.user("x")]),
    "an error": allm.Response(message=allm.assistant("x"), error=allm.AdapterError("x", reason="timeout")),
    "an image": allm.user("What is this?", allm.Image.from_bytes(b"\x89PNG\r\n\x1a\n")),
    "half an emoji": allm.user("\ud83d"),
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_odd_values_go_through_the_converter_alone(value, by_converter):
    """Only the field with what is odd, so that one image does not make a whole conversation slow."""
    assert allm.from_json(allm.to_json(value)) == value
    assert by_converter == []


def test_a_mapping_of_a_value_is_its_own():
    """What is read shares nothing with another value, however often the same text is read."""
    text = allm.to_json(allm.assistant(allm.ToolCall("c", "f", {"a": [1]})))
    first, second = allm.from_json(text), allm.from_json(text)
    first.metadata["x"] = first.content[0].arguments["a"].append(2)
    assert second == allm.assistant(allm.ToolCall("c", "f", {"a": [1]}))


SPELLINGS = {
    "spaces": '{"v": 1, "type": "Message", "role": "user", "content": "x"}',
    "another order": '{"content":"x","role":"user","type":"Message","v":1}',
    "escapes": '{"v":1,"type":"Message","role":"user","content":"\\u0078"}',
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)
def test_any_spelling_is_read(text):
    """Not only the one that is written."""
    assert allm.from_json(text) == allm.user("x")


@pytest.mark.parametrize("place", ["top", "message", "part", "metadata"])
def test_a_key_that_is_there_twice_is_refused(place):
    """At any level, and also with the same value."""
    text = allm.to_json(allm.Thread((allm.assistant(allm.TextPart("x", metadata={"k": {}})),), metadata={"top": 1}))
    once = {"top": '"top":1', "message": '"role":"assistant"', "part": '"text":"x"', "metadata": '"k":{}'}[place]
    assert text.count(once) == 1
    with pytest.raises(allm.ValidationError, match="duplicate key"):
        allm.from_json(text.replace(once, f"{once},{once}"))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.sampled_from(["metadata", "later"]))
def test_the_limit_of_depth_is_the_same(depth, field):
    """Of open data and of a field of a later release."""
    text = '{"v":1,"type":"Thread","FIELD":OPEN1CLOSE}'.replace("FIELD", field)
    text = text.replace("OPEN", '{"x":' * depth).replace("CLOSE", "}" * depth)
    deep = depth + 1 > documents.MAX_DEPTH
    try:
        allm.from_json(text)
    except allm.ValidationError as error:
        assert ([p.tag for p in error.problems], deep) == (["too_deep"], True)  # noqa: PT017  (either is fine)
    else:
        assert not deep
