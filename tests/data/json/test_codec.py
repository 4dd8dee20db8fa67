"""Serialization: an exact round trip for every value, and a clear error for everything else."""

from __future__ import annotations

import enum
import functools
import json
import math
from typing import Protocol, is_typeddict

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import allm
from allm.data.json import document as limits
from allm.data.json.tags import ERROR_TYPES, LEFT_OUT, VALUE_TAGS
from allm.data.session import AnswerEntry
from value_strategies import VALUE_TYPES, anything, changed, json_data, places, values_of

search = functools.partial(settings, deadline=None, suppress_health_check=list(HealthCheck))


# --- round trips -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", VALUE_TYPES, ids=lambda cls: cls.__name__)
def test_every_value_comes_back(cls):
    """Equal, and of the same types at every level: 1 is not 1.0 or True."""

    @search(max_examples=25)
    @given(values_of(cls))
    def comes_back(value):
        text = allm.to_json(value)
        back = allm.from_json(text, cls)
        assert type(back) is type(value)
        assert back == value
        assert repr(back) == repr(value)
        assert allm.to_json(back) == text

    comes_back()


@search()
@given(anything)
def test_a_document_is_strict_json_in_utf_8(value):
    """Tagged and versioned, without NaN or duplicate keys."""
    text = allm.to_json(value)

    def refuse(name):
        raise AssertionError(name)

    document = json.loads(text.encode("utf-8"), parse_constant=refuse)
    assert (document["v"], document["type"]) == (1, type(value).__name__)
    assert allm.from_json(text.encode("utf-8")) == value


def test_every_value_of_the_public_api_has_a_form():
    """A new value class needs a tag; a set of tools lives by its loader, questions and answers have users' types."""
    without = (Exception, Protocol, allm.Toolset, allm.Question, allm.Classification)
    bases = {allm.Media}
    public = [getattr(allm, name) for name in allm.__all__]
    values = {
        cls.__name__
        for cls in public
        if isinstance(cls, type)
        and cls.__module__.startswith("allm.data.")
        and not issubclass(cls, without)
        and not is_typeddict(cls)
        and cls not in bases
    }
    assert values <= VALUE_TAGS.keys()
    assert {cls.__name__ for cls in public if isinstance(cls, type) and issubclass(cls, allm.AllmError)} == set(
        ERROR_TYPES
    )


def test_values_keep_what_json_has_no_form_for():
    """Tuples, bytes, infinities, keys of other types and tag-like keys in open data."""
    odd = {
        "tuple": (1, [2, (3,)]),
        "bytes": b"\x00\xff",
        "inf": -math.inf,
        "keys": {1: "one", (2, "b"): None, b"x": 1, None: 0, False: "no", 2.5: {}},
        "tags": {"$type": "tuple", "items": [1]},
        "value": allm.user("hello"),
        "error": allm.AdapterError("no", reason="timeout"),
        "digits": 10**400,
    }
    back = allm.from_json(allm.to_json(allm.Thread(metadata=odd))).metadata
    assert repr(back) == repr(odd)
    assert math.isnan(allm.from_json(allm.to_json(allm.Usage(extra={"nan": math.nan}))).extra["nan"])


def test_an_item_of_a_bulk_run_comes_back_whatever_the_call_takes_and_gives():
    """The types of its input and its answer are the program's: values of the library, or JSON data."""
    for asked, answered in (("text", allm.Response(message=allm.assistant("x"))), ({"id": (1,)}, [1, None])):
        item = allm.BulkItem(key="a", index=3, request=asked, response=answered, attempts=2)
        assert repr(allm.from_json(allm.to_json(item), allm.BulkItem)) == repr(item)
    with pytest.raises(allm.ValidationError, match="cannot serialise object"):
        allm.to_json(allm.BulkItem(key="a", index=0, request="text", response=object()))


def test_what_is_live_is_left_out_or_refused():
    """Output types are left out; a tool with a handler is rejected."""
    schema = allm.JsonSchema("n", {"type": "object"}, output_type=dict)
    assert allm.from_json(allm.to_json(schema)) == schema
    request = allm.request("go", response_format=schema)
    assert allm.from_json(allm.to_json(request)) == request
    response = allm.Response(message=allm.assistant("x"), output_type=dict)
    assert allm.from_json(allm.to_json(response)) == response
    step = allm.StepResult(thread=allm.Thread(), response=response)
    turn = allm.ChatResult(thread=allm.Thread(), final_response=response, steps=(step,))
    for value in (step, turn, allm.StepCompleted(step), allm.ChatCompleted(turn)):
        assert allm.from_json(allm.to_json(value)) == value
    assert LEFT_OUT.keys() == {type(schema), type(response), allm.Tool, allm.hosted.HostedTool}
    with pytest.raises(allm.ValidationError, match="handler"):
        allm.to_json(allm.Tool("t", "T.", handler=print))


def test_an_error_of_ones_own_is_written_as_the_one_it_derives_from():
    """So that a failed session can be read again."""

    class Blocked(allm.AdapterError):
        pass

    class Elsewhere(allm.AdapterError):
        reasons = frozenset({"moved"})

    written = allm.to_json(allm.Session(status="error", error=Blocked("no", reason="content_filter", status=400)))
    assert allm.from_json(written).error == allm.AdapterError("no", reason="content_filter", status=400)
    assert allm.from_json(allm.to_json(Elsewhere("gone", reason="moved"))) == allm.AllmError("gone", reason="moved")


NOT_WRITTEN = {
    "no value": (object(), "not_serialisable"),
    "engine": (allm.Engine(), "not_serialisable"),
    "plain data": ({"a": 1}, "not_serialisable"),
    "object in metadata": (allm.Thread(metadata={"x": object()}), "not_serialisable"),
    "set in metadata": (allm.Thread(metadata={"x": {1}}), "not_serialisable"),
    "class as a format": (allm.request("go", response_format=dict), "not_serialisable"),
    "no part": (allm.Message("user", ["text"]), "not_serialisable"),
    "no content": (allm.Message("user", 7), "not_serialisable"),
    "NaN in a field": (allm.Usage(total_cost=math.nan), "not_serialisable"),
    "infinity in a field": (allm.Usage(total_cost=math.inf), "not_serialisable"),
    "too many digits": (allm.Usage(input_tokens=10**5000), "not_serialisable"),
}


@pytest.mark.parametrize(("value", "tag"), NOT_WRITTEN.values(), ids=NOT_WRITTEN)
def test_what_has_no_form_is_refused(value, tag):
    """With the same class of error as an unreadable document."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.to_json(value)
    assert (caught.value.reason, caught.value.errors) == ("invalid_json", ((("json",), tag),))


OF_ANOTHER_TYPE = {
    "no role": (allm.Message(3, "x"), ("role",)),
    "unknown role in a thread": (allm.Thread((allm.Message("robot", "x"),)), ("messages", 0, "role")),
    "number for a text": (allm.Message("user", (allm.TextPart(3),)), ("content", 0, "text")),
    "part of a token": (allm.Usage(input_tokens=1.5), ("input_tokens",)),
    "list for arguments": (allm.ToolCall("1", "add", [1]), ("arguments",)),
    "text for a status": (allm.AdapterError("no", status="400"), ("status",)),
    "value in open data": (allm.Thread(metadata={"m": allm.Message(3, "x")}), ("metadata", "m", "role")),
    "unknown kind of image": (allm.Image(("disk", "x")), ("source",)),
}


@pytest.mark.parametrize(("value", "path"), OF_ANOTHER_TYPE.values(), ids=OF_ANOTHER_TYPE)
def test_a_field_of_another_type_is_refused_with_its_place(value, path):
    """On writing, since the document could not be read."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.to_json(value)
    assert caught.value.errors == ((path, "malformed_value"),)


def test_a_subclass_of_text_is_written_as_text():
    """Such as the members of a str enum."""

    class Name(enum.StrEnum):
        USER = "user"

    message = allm.Message(Name.USER, "hi", name=Name.USER)
    read = allm.from_json(allm.to_json(message))
    assert read == message
    assert {type(read.role), type(read.name)} == {str}


def nested(depth):
    data = 1
    for _ in range(depth):
        data = [data]
    return data


def circle():
    data = {}
    data["self"] = data
    return data


TOO_MUCH = {
    "deep": (lambda: nested(300), "too_deep"),
    "bottomless": (circle, "too_deep"),
    "many": (lambda: [0] * 1_000_100, "too_many"),
    "long": (lambda: "\u20ac" * (22 * 1024 * 1024), "too_large"),
}


@pytest.mark.parametrize(("make", "tag"), TOO_MUCH.values(), ids=TOO_MUCH)
def test_nothing_is_written_that_could_not_be_read(make, tag):
    """A session that cannot be read again is rejected on saving."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.to_json(allm.Thread(metadata={"x": make()}))
    assert [found for _, found in caught.value.errors] == [tag]


def test_the_largest_that_is_written_is_read():
    """Writer and reader agree on the limit of depth."""
    depth = limits.MAX_DEPTH - 2  # the thread and its metadata are two levels
    deepest = allm.Thread(metadata={"x": nested(depth)})
    assert allm.from_json(allm.to_json(deepest)) == deepest
    with pytest.raises(allm.ValidationError, match="deeper"):
        allm.to_json(allm.Thread(metadata={"x": nested(depth + 1)}))


# --- documents that are wrong ----------------------------------------------------------------------------------------

THREAD = {
    "v": 1,
    "type": "Thread",
    "messages": [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": [{"type": "TextPart", "text": "a"}, {"type": "TextPart", "text": "b"}]},
    ],
}
RESPONSE = {"v": 1, "type": "Response", "message": {"role": "assistant", "content": "x"}}
ERROR = {"v": 1, "type": "AdapterError", "message": "no", "reason": "timeout"}
STEP = {"v": 1, "type": "ToolExecutionCompleted", "tool_call": {"id": "c", "name": "n"}}
IMAGE = {"v": 1, "type": "Image", "source": {"type": "bytes", "value": "AA=="}}
VERDICT = {"v": 1, "type": "ModerationResult", "flagged": True, "categories": {"violence": True}}
VECTORS = {"v": 1, "type": "EmbeddingResponse", "embeddings": [{"index": 0}]}
NOTED = {
    "v": 1,
    "type": "Thread",
    "metadata": {"x": [1, {"$type": "Message", "role": "user", "content": "a"}, {"$type": "tuple", "items": []}]},
}
# What is changed in which document, and the path and the words of the only problem.
WRONG = {
    "missing field": (THREAD, ["messages", 1, "role"], ..., "missing"),
    "missing field of a part": (THREAD, ["messages", 1, "content", 1, "text"], ..., "missing"),
    "missing field of an error": (ERROR, ["message"], ..., "missing"),
    "text for a list": (THREAD, ["messages"], "aaaa", "expected a list, got str"),
    "object for a list": (THREAD, ["messages"], {}, "expected a list, got dict"),
    "null for a list": (THREAD, ["messages"], None, "expected a list, got NoneType"),
    "text for an object": (THREAD, ["messages", 0], "role content", "expected an object, got str"),
    "list for an object": (THREAD, ["messages", 0], ["role", "content"], "expected an object, got list"),
    "number for a text": (THREAD, ["messages", 1, "content", 0, "text"], 7, "expected str, got int"),
    "number for content": (THREAD, ["messages", 0, "content"], 7, "expected a list, got int"),
    "text for a flag": (THREAD, ["messages", 0, "is_error"], "yes", "expected bool, got str"),
    "flag for a number": ({"v": 1, "type": "Usage"}, ["input_tokens"], True, "expected int, got bool"),
    "fraction for a count": ({"v": 1, "type": "Usage"}, ["input_tokens"], 1.0, "expected int, got float"),
    "text for a number": ({"v": 1, "type": "Usage"}, ["total_cost"], "1", "expected float, got str"),
    "unknown role": (THREAD, ["messages", 0, "role"], "boss", "expected one of system, user, assistant, tool"),
    "list for a word": (RESPONSE, ["finish_reason"], ["stop"], "expected one of stop"),
    "null for an object": (RESPONSE, ["usage"], None, "expected an object, got NoneType"),
    "list for metadata": (THREAD, ["metadata"], [], "expected an object, got list"),
    "part without a type": (THREAD, ["messages", 1, "content", 0, "type"], ..., "unknown type None"),
    "unknown part": (THREAD, ["messages", 1, "content", 0, "type"], "Engine", "unknown type 'Engine'"),
    "list as a part's type": (THREAD, ["messages", 1, "content", 0, "type"], [1], "unknown type"),
    "text as a part": (THREAD, ["messages", 1, "content", 1], "b", "unknown type None"),
    "unknown $type": (NOTED, ["metadata", "x", 0], {"$type": "os.system"}, "unknown $type 'os.system'"),
    "null as $type": (NOTED, ["metadata", "x", 0], {"$type": None}, "expected text as $type"),
    "$type without data": (NOTED, ["metadata", "x", 0], {"$type": "tuple"}, "'items' is missing"),
    "keys that cannot be": (NOTED, ["metadata", "x", 0], {"$type": "mapping", "items": [[[1], 2]]}, "unhashable"),
    "missing field in open data": (NOTED, ["metadata", "x", 1, "content"], ..., "missing"),
    "number in a tuple's place": (NOTED, ["metadata", "x", 2, "items"], 7, "expected a list, got int"),
    "bad base64": (IMAGE, ["source", "value"], "!", "base64"),
    "unknown source": (IMAGE, ["source", "type"], "ftp", "expected"),
    "number for a source": (IMAGE, ["source"], 7, "expected"),
    "unknown reason": (ERROR, ["reason"], "bad luck", "expected one of"),
    "text for a status": (ERROR, ["status"], "429", "expected int, got str"),
    "number for a message": (ERROR, ["message"], 7, "expected str, got int"),
    "unknown error": (RESPONSE, ["error"], {"type": "SystemExit", "message": "x"}, "unknown error type 'SystemExit'"),
    "error of another kind": (STEP, ["error"], {"type": "AdapterError", "message": "x"}, "expected one of: ToolError"),
    "text for an error": (STEP, ["error"], "no", "unknown error type"),
    "texts for problems": ({"v": 1, "type": "ValidationError"}, ["errors"], ["ab"], "pairs"),
    "text for a path": ({"v": 1, "type": "ValidationError"}, ["errors"], [["ab", "tag"]], "pairs"),
    "message for a session": (
        {"v": 1, "type": "SessionConflict", "message": "x"},
        ["session"],
        {"$type": "Usage"},
        "expected Session or NoneType, got Usage",
    ),
    "text for categories": (VERDICT, ["categories"], "violence", "expected an object, got str"),
    "text for a category": (VERDICT, ["categories", "violence"], "yes", "expected bool, got str"),
    "number for a tool choice": (
        {"v": 1, "type": "Request", "messages": []},
        ["tool_choice"],
        7,
        "expected str or dict",
    ),
    "text for a sound": ({"v": 1, "type": "Speech"}, ["audio"], "/etc/passwd", "expected an object, got str"),
    "text for a vector": (VECTORS, ["embeddings", 0], "x", "expected an object"),
    "list for numbers": (VECTORS, ["embeddings", 0], {"index": 0, "vector": [1.0]}, "expected an object"),
    "unknown numbers": (VECTORS, ["embeddings", 0, "vector"], {"type": "q", "base64": ""}, "expected an index"),
    "number for bytes": ({"v": 1, "type": "Audio"}, ["source"], {"type": "bytes", "value": 7}, "expected"),
    "no question": ({"v": 1, "type": "AskUser", "question": "x"}, ["question"], ..., "missing"),
    "list for a question": ({"v": 1, "type": "AskUser", "question": "x"}, ["question"], [], "expected str, got list"),
    "list for hints": ({"v": 1, "type": "AskUser", "question": "x"}, ["hints"], [1], "expected an object, got list"),
}


@pytest.mark.parametrize(("document", "path", "value", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_in_a_document_is_said_with_its_place(document, path, value, words):
    """One problem, its path, and what was expected."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.from_json(changed(document, path, value))
    error = caught.value
    assert error.reason == "invalid_json"
    [(found, tag)] = error.errors
    assert tag == "malformed_value"
    # Where a part has no type, or a source is no source, the problem is the whole of it.
    assert list(found) in (path, path[:-1])
    assert words in error.message
    assert len(error.message) < 400


def test_all_problems_of_a_document_are_told_up_to_a_limit():
    """Each with its path; of a million only the first ones."""
    document = changed(THREAD, ["messages"], [{"role": 1}, {"role": "user", "content": "x", "name": []}])
    with pytest.raises(allm.ValidationError) as caught:
        allm.from_json(document)
    assert [path for path, _ in caught.value.errors] == [
        ("messages", 0, "role"),
        ("messages", 0, "content"),
        ("messages", 1, "name"),
    ]
    with pytest.raises(allm.ValidationError) as caught:
        allm.from_json(changed(THREAD, ["messages"], [7] * 900_000))
    assert len(caught.value.errors) == 20


MALFORMED = {
    "NaN": ('{"v": 1, "type": "Usage", "total_cost": NaN}', "malformed"),
    "infinity": ('{"v": 1, "type": "Usage", "total_cost": -Infinity}', "malformed"),
    "a number beyond all": ('{"v": 1, "type": "Usage", "total_cost": 1e999}', "malformed"),
    "very many digits": ('{"v": 1, "type": "Usage", "input_tokens": 1%s}' % ("0" * 5000), "malformed"),
    "a key twice": ('{"v": 1, "type": "Usage", "input_tokens": 1, "input_tokens": 2}', "duplicate_key"),
    "a tag twice": ('{"v": 1, "type": "Session", "type": "Usage"}', "duplicate_key"),
    "a key twice deep inside": ('{"v": 1, "type": "Usage", "extra": {"x": [{"a": 1, "\\u0061": 2}]}}', "duplicate_key"),
    "byte order mark": ('\ufeff{"v": 1, "type": "Usage"}', "malformed"),
    "more than one": ('{"v": 1, "type": "Usage"} {}', "malformed"),
    "raw control character": ('{"v": 1, "type": "Usage\n"}', "malformed"),
    "no text": (None, "invalid_type"),
    "fraction of a version": ('{"v": 1.0, "type": "Usage"}', "unknown_version"),
    "newer version": ('{"v": 2, "type": "Usage"}', "unknown_version"),
    "no version": ('{"type": "Usage"}', "unknown_version"),
    "null as a type": ('{"v": 1, "type": null}', "unknown_type_tag"),
    "list as a type": ('{"v": 1, "type": []}', "unknown_type_tag"),
    "long type": (json.dumps({"v": 1, "type": "x" * 1_000_000}), "unknown_type_tag"),
    "long version": (json.dumps({"v": "x" * 1_000_000, "type": "Usage"}), "unknown_version"),
}


@pytest.mark.parametrize(("text", "tag"), MALFORMED.values(), ids=MALFORMED)
def test_texts_that_are_no_document(text, tag):
    """Each kind has its tag, and the message is short."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.from_json(text)
    assert caught.value.errors == ((("json",), tag),)
    assert len(caught.value.message) < 1500


def test_another_type_than_the_expected_one():
    """Also if one of several types is expected."""
    text = allm.to_json(allm.user("x"))
    assert allm.from_json(text, allm.Message | allm.Thread) == allm.user("x")
    for expected in (allm.Thread, allm.Thread | allm.Session):
        with pytest.raises(allm.ValidationError, match="holds a Message; expected") as caught:
            allm.from_json(text, expected)
        assert caught.value.errors == ((("json",), "unexpected_type"),)


def test_any_encoding_of_json_is_read():
    """UTF-8, UTF-16 and UTF-32, with or without a byte order mark."""
    text = allm.to_json(allm.user("Zürich \U0001f600"))
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"):
        assert allm.from_json(text.encode(encoding)) == allm.user("Zürich \U0001f600")
    assert allm.from_json(bytearray(text, "utf-8")) == allm.user("Zürich \U0001f600")


def test_numbers_chosen_to_share_a_hash():
    """A mapping with too many colliding keys is rejected."""
    items = ",".join(f"[{number * (2**61 - 1)},0]" for number in range(20_000))
    with pytest.raises(allm.ValidationError, match="hash"):
        allm.from_json(f'{{"v":1,"type":"Thread","metadata":{{"x":{{"$type":"mapping","items":[{items}]}}}}}}')
    harmless = dict.fromkeys(range(-500, 5000))
    assert allm.from_json(allm.to_json(allm.Thread(metadata=harmless))).metadata == harmless


# --- documents that someone has touched ------------------------------------------------------------------------------


@search(max_examples=300)
@given(anything, st.data())
def test_a_document_with_a_change_is_a_value_or_one_error(value, data):
    """A value can be written and read again; anything else is an error."""
    document = json.loads(allm.to_json(value))
    path = data.draw(st.sampled_from([path for path in places(document) if path]))
    text = changed(document, path, data.draw(json_data | st.just(...)))
    try:
        back = allm.from_json(text)
    except allm.ValidationError as error:
        assert error.reason == "invalid_json"  # noqa: PT017  (either is fine)
        return
    again = allm.from_json(allm.to_json(back))
    assert again == back or "nan" in repr(back)


@search()
@given(st.text(max_size=50) | st.binary(max_size=50))
def test_nonsense_is_an_error(text):
    """It is a ValidationError."""
    with pytest.raises(allm.ValidationError):
        allm.from_json(text)


@search()
@given(anything)
def test_fields_of_a_later_release_are_ignored(value):
    """At every level that has fields."""
    document = json.loads(allm.to_json(value))
    for path in list(places(document)):
        node = functools.reduce(lambda place, step: place[step], path, document)
        if isinstance(node, dict) and is_object(document, path):
            node["a_later_field"] = {"$type": "later", "type": []}
    assert allm.from_json(json.dumps(document)) == value


def is_object(document, path):
    """Whether the path is an object with fields, not open data."""
    open_fields = {"metadata", "extra", "options", "schema", "arguments", "data", "payload", "result", "hints"}
    open_fields |= {"input", "output", "settings"}
    open_fields |= {"context", "detail", "tool_choice", "response_format", "source", "session", "errors"}
    open_fields |= {"categories", "scores", "applied_input_types", "inputs", "vector", "partial", "headers"}
    return not open_fields & set(path)


def test_a_journal_entry_is_a_document_too():
    """Entries that a store writes during a turn survive the round trip."""
    entry = AnswerEntry(kept=1, response=allm.Response(message=allm.assistant("x")))
    assert allm.from_json(allm.to_json(entry), AnswerEntry) == entry
