"""The format of rows: large leaves are taken out, stored as one of three kinds, and put back exactly."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given, strategies as st

import allm
from allm.data.json import blobs
from allm.data.json.document import Leaf, put_back, take_out
from allm.session.stores.reading import parse_row
from allm.session.stores.writing import plain_row

PIECE = 12


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Pieces that a short text has many of."""
    monkeypatch.setattr(blobs, "PIECE", PIECE)


def kept(leaf, kind):
    return b"".join(blobs.stored(leaf, kind))


@given(st.text(st.characters(), max_size=60))
def test_a_text_comes_back(text):
    """Also with lone surrogates, and characters at the border of two pieces."""
    assert "".join(blobs.used(kept(text, "text"), "text")) == text


@given(st.binary(max_size=60))
def test_base64_comes_back(data):
    """What Python writes as base64 is stored as the bytes that it stands for."""
    text = base64.b64encode(data).decode()
    assert kept(text, "base64") == data == kept(data, "bytes")
    assert "".join(blobs.used(data, "base64")) == text


@given(st.text("AB+/= \n-", max_size=60))
def test_other_base64_is_a_text(text):
    """Nothing is stored as base64 that would come back as another text."""
    try:
        data = kept(text, "base64")
    except ValueError:
        return
    assert base64.b64encode(data).decode() == text


@pytest.mark.parametrize(
    "text", ["QUI=QUJD" * 4, "QUJDQUJDQUJDQUI=" + "QUJD" * 4, "QUJ=", "QUJD\n", "QUJDQ", "QUJ", "é"]
)
def test_texts_that_look_like_base64(text):
    """With padding inside, bits that do not count, line breaks, or an end that is missing."""
    with pytest.raises(ValueError, match=r".*"):
        kept(text, "base64")


def test_bytes_that_are_no_text():
    """They are found, not replaced."""
    with pytest.raises(ValueError, match="utf-8"):
        list(blobs.used(b"\x80" * 30, "text"))


def test_leaves_are_put_back_where_they_were():
    """The document that they were taken from stays as it is."""
    document = {"a": ["xx", {"b": b"yy", "c": "z"}], "d": ("xx", 1)}
    rest, leaves = take_out(document, lambda leaf: len(leaf) > 1)
    assert document == {"a": ["xx", {"b": b"yy", "c": "z"}], "d": ("xx", 1)}
    assert rest == {"a": [None, {"b": None, "c": "z"}], "d": [None, 1]}
    put_back(rest, leaves)
    assert rest == {"a": ["xx", {"b": b"yy", "c": "z"}], "d": ["xx", 1]}


@pytest.mark.parametrize("path", [(), ("x",), ("a", 2), ("a", "b"), ("a", 0), ("b", 0, 0), ("t", 0), ([], 1)])
def test_a_leaf_without_a_place(path):
    """It does not replace anything else."""
    with pytest.raises(ValueError, match="no place"):
        put_back({"a": ["x", None], "b": None, "t": "text"}, [Leaf(path, "y")])


@pytest.mark.parametrize(
    "references",
    ["x", None, [7], [["x", 1, "text", ["content"]]], [["0" * 64, 1, "file", ["content"]]], [["0" * 64, 1, "text", []]]]
    + [[["0" * 64, size, "text", ["content"]]] for size in (-1, 2**40, "1", 1.5)],
)
def test_references_that_are_none(references):
    """A row with them is refused."""
    text = json.dumps({"v": 1, "type": "Message", "role": "user", "content": None, "$blobs": references})
    with pytest.raises(allm.ValidationError) as caught:
        parse_row(text)
    assert [tag for _, tag in caught.value.errors] == ["malformed"]


@pytest.mark.parametrize(
    "value",
    [
        allm.assistant(allm.TextPart(b"bytes")),
        allm.assistant(allm.TextPart(b"x" * 100_000)),
        allm.user("a", allm.Image(("base64", b"x" * 100_000))),
        allm.user("a", allm.Image(("bytes", "QUJD"))),
        allm.Message("user", b"x" * 100_000),
    ],
    ids=repr,
)
def test_bytes_in_the_place_of_a_text(value):
    """They are refused, not turned into a text: neither in a document nor in a row."""
    for write in (allm.to_json, plain_row):
        with pytest.raises(allm.ValidationError):
            write(value)
