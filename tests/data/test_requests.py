"""`allm.validate` checks requests of every kind as the calls do."""

from __future__ import annotations

import attrs
import pytest

import allm

SOUND = allm.Audio(b"RIFF")


@pytest.mark.parametrize(
    "request_",
    [
        allm.request("x"),
        allm.image_request("x"),
        allm.EmbeddingRequest("x"),
        allm.ModerationRequest("x"),
        allm.SpeechRequest("x"),
        allm.TranscriptionRequest(SOUND),
    ],
)
def test_good_ones_pass(request_):
    """Valid requests of every kind pass."""
    allm.validate(request_)


@pytest.mark.parametrize(
    ("request_", "paths"),
    [
        (allm.image_request("", n=0), [("prompt",), ("n",)]),
        (allm.image_request("x", operation="edit", images=5), [("images",)]),
        (allm.image_request("x", operation="edit", images="a.png"), [("images",)]),
        (allm.EmbeddingRequest([""], dimensions=0), [("inputs", 0), ("dimensions",)]),
        (allm.ModerationRequest([]), [("inputs",)]),
        (allm.SpeechRequest("", speed=0), [("text",), ("speed",)]),
        (allm.TranscriptionRequest(SOUND, timestamps="hour", temperature="hot"), [("temperature",), ("timestamps",)]),
    ],
)
def test_bad_ones_say_everything(request_, paths):
    """One error has a sentence for each problem."""
    with pytest.raises(allm.ValidationError) as caught:
        allm.validate(request_)
    assert [path for path, _ in caught.value.errors] == paths
    assert caught.value.reason == "invalid_request"


def test_other_values_are_no_requests():
    """The error names the types that can be checked."""
    with pytest.raises(TypeError, match="ImageRequest"):
        allm.validate(5)


def test_names_that_are_no_fields():
    """The nearest field is suggested, as for options."""
    for build, near in (
        (lambda: allm.image_request("x", sizes="1x1"), "size"),
        (lambda: allm.request("x", temprature=1), "temperature"),
    ):
        with pytest.raises(TypeError, match=f"did you mean {near!r}") as caught:
            build()
        assert isinstance(caught.value, allm.OptionError)


@pytest.mark.parametrize(
    ("fields", "made"), [(allm.RequestFields, allm.Request), (allm.ImageRequestFields, allm.ImageRequest)]
)
def test_the_fields_by_name(fields, made):
    """The typed arguments of a builder are the fields of the request."""
    assert fields.__annotations__.keys() == {field.name for field in attrs.fields(made) if field.kw_only}
