"""A value of the wrong type is one clear error of the library, where it is made."""

from __future__ import annotations

import pytest

import allm

MADE = {
    "a thread of nothing": (lambda: allm.Thread(None), "messages is NoneType; expected a list"),
    "a thread of one message": (lambda: allm.Thread(allm.user("hi")), "messages is Message; expected a list"),
    "a thread of a text": (lambda: allm.Thread("hi"), "messages is str; expected a list"),
    "metadata": (lambda: allm.Message("user", "hi", metadata=3), "metadata is int; expected a mapping"),
    "tools": (lambda: allm.Engine(tools=3), "tools is int; expected a list"),
    "params": (lambda: allm.Engine(params=["a"]), "params is list; expected a mapping"),
    "context": (lambda: allm.Engine(context=None), "context is NoneType; expected a mapping"),
    "a model's name": (lambda: allm.Engine.from_model(None), "the model is NoneType"),
    "a response": (lambda: allm.unwrap("text"), "unwrap takes a Response or a ChatResult, got str"),
    "a conversation of dicts": (
        lambda: allm.request([{"role": "user", "content": "hi"}]),
        "messages[0] is dict; expected a Message: allm.user(text)",
    ),
    "a conversation of texts": (lambda: allm.request([allm.user("a"), "b"]), "messages[1] is str; expected a Message"),
}


@pytest.mark.parametrize("case", MADE)
def test_wrong_type(case):
    """The message has what was given and what was expected."""
    make, words = MADE[case]
    with pytest.raises(allm.AllmError) as caught:
        make()
    assert words in str(caught.value)


def test_every_message_that_is_none_is_told():
    """All problems at once, each with its position."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.request([1, allm.user("hi"), 2])
    assert caught.value.errors == ((("messages", 0), "invalid_type"), (("messages", 2), "invalid_type"))


def test_schema_that_is_none_is_found_by_validation():
    """A schema is checked like every other field."""
    made = allm.request("hi", response_format=allm.json_schema("name", "schema"))
    with pytest.raises(allm.ValidationError, match="expected a JSON Schema") as caught:
        allm.validate(made)
    assert caught.value.errors == ((("response_format", "schema"), "not_a_mapping"),)


@pytest.mark.parametrize("url", [None, b"memory://", 3])
def test_store_url_of_the_wrong_type(url):
    """It is rejected like an unknown URL."""
    with pytest.raises(ValueError, match="expected a text"):
        allm.session.open_store(url)
