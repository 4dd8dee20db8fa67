"""Documents are read within limits, and others are rejected before they cost time or memory."""

from __future__ import annotations

import pytest

import allm
from allm.data.json import document as json_document


@pytest.mark.parametrize(
    ("document", "tag"),
    [(5, "invalid_type"), (None, "invalid_type"), (b"\xff\xfe\xfd", "malformed"), ("[NaN]", "malformed")],
)
def test_what_is_no_json_text(document, tag):
    """Each kind of invalid text has its tag."""
    with pytest.raises(allm.ValidationError) as caught:
        json_document.parse_document(document)
    assert caught.value.errors == ((("json",), tag),)


def test_only_values_are_counted(monkeypatch):
    """Commas and brackets inside a text do not count, whatever is escaped."""
    monkeypatch.setattr(json_document, "MAX_ITEMS", 5)
    text = '["[{,,,,,,,\\\\", "\\",,,,,,,"]'
    assert json_document.parse_document(text) == ["[{,,,,,,,\\", '",,,,,,,']
    with pytest.raises(allm.ValidationError, match="more than 5 values"):
        json_document.parse_document("[1,2,3,4,5,6]")


def test_depth(monkeypatch):
    """Lists and objects count alike."""
    monkeypatch.setattr(json_document, "MAX_DEPTH", 2)
    assert json_document.parse_document('[{"a": 1}]') == [{"a": 1}]
    with pytest.raises(allm.ValidationError, match="deeper than 2"):
        json_document.parse_document('[{"a": []}]')


def test_what_nests_deeper_than_python_can_follow():
    """It is rejected like any document that is too deep."""
    data = []
    for _ in range(100_000):
        data = [data]
    with pytest.raises(allm.ValidationError, match="nests deeper") as caught:
        json_document.write_document({"x": data})
    assert [tag for _, tag in caught.value.errors] == ["too_deep"]
    while data:  # the interpreter would free it one in the other
        data = data.pop()
