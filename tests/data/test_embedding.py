"""Vectors as values: packed, exact, compared by their numbers, and unchanged by JSON."""

from __future__ import annotations

import math
import sys
from array import array
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

import allm
from allm.data import embedding as module
from allm.execution.services.embedding_responses import with_offset

FLOATS = st.lists(st.floats(allow_nan=False), max_size=6)


@given(FLOATS)
def test_the_numbers_are_those_that_were_given(numbers):
    """As a tuple, as a buffer, and after JSON."""
    embedding = allm.Embedding(3, numbers)
    assert embedding.vector == tuple(numbers)
    assert list(embedding.buffer) == numbers
    assert embedding.dimensions == len(numbers)
    assert allm.from_json(allm.to_json(embedding)) == embedding


@pytest.mark.parametrize("typecode", "fdbB")
def test_packed_numbers_stay_packed(typecode):
    """They are stored in a private copy."""
    numbers = array(typecode, [1, 2, 3])
    embedding = allm.Embedding(0, numbers)
    numbers[0] = 9
    assert embedding.buffer.format == typecode
    assert embedding.buffer.readonly
    assert embedding.vector == (1, 2, 3)
    again = allm.from_json(allm.to_json(embedding), allm.Embedding)
    assert again.buffer.format == typecode
    assert again == embedding


def test_a_decoded_vector_is_kept_as_it_is():
    """Also where an answer is numbered within the whole call: a copy would cost as much as decoding it."""
    vector = array("f", [1, 2, 3])
    embedding = allm.adapters.embedding_of(0, vector)
    assert embedding == allm.Embedding(0, vector)
    moved = with_offset(allm.EmbeddingResponse(embeddings=[embedding]), 7).embeddings[0]
    assert moved.index == 7
    assert moved._values is embedding._values is vector


def test_embeddings_compare_by_index_and_numbers():
    """However they are stored; they can be dictionary keys."""
    single, double = allm.Embedding(0, array("f", [0.5])), allm.Embedding(0, [0.5])
    assert single == double
    assert hash(single) == hash(double)
    assert single != allm.Embedding(1, [0.5])
    assert single != allm.Embedding(0, [0.25])
    assert single != (0, (0.5,))
    assert repr(single) == "Embedding(index=0, vector=<1 numbers>)"


@pytest.mark.parametrize("vector", ["0.5", b"00000000", ["x"], 5, [None], [[1.0]]])
def test_what_is_no_vector_is_refused(vector):
    """Anything but numbers is rejected, including bytes, which are ambiguous."""
    with pytest.raises(TypeError):
        allm.Embedding(0, vector)


def test_a_vector_takes_no_more_memory_than_its_numbers():
    """An eighth of a tuple of floats."""
    vector = array("f", [0.5] * 1536)
    assert sys.getsizeof(allm.Embedding(0, vector)._values) < 1536 * 4 + 200


def test_inputs_become_a_tuple():
    """A single input or a generator too; parts of one vector stay together."""
    image = allm.Image.from_bytes(b"x", "image/png")
    assert allm.EmbeddingRequest("a").inputs == ("a",)
    assert allm.EmbeddingRequest(image).inputs == (image,)
    assert allm.EmbeddingRequest(text for text in "ab").inputs == ("a", "b")
    assert allm.EmbeddingRequest(["a", ["b", image]]).inputs == ("a", ("b", image))
    assert repr(allm.EmbeddingRequest(["a", "b"])).startswith("EmbeddingRequest(inputs=<2 inputs>, ")
    allm.validate(allm.EmbeddingRequest(["a", ["b", image]], dimensions=2, task_type="query"))


def test_a_request_survives_json():
    """With its images and parts."""
    image = allm.Image.from_bytes(b"x", "image/png")
    request = allm.EmbeddingRequest(
        ["a", image, ("b", image)], model="m", dimensions=4, encoding_format="float", options={"a": 1}
    )
    assert allm.from_json(allm.to_json(request), allm.EmbeddingRequest) == request


def test_a_response_is_in_the_order_of_its_inputs():
    """Whatever the order they arrive in; its repr has no numbers."""
    response = allm.EmbeddingResponse(
        embeddings=[allm.Embedding(2, [math.inf]), allm.Embedding(0, [1.0])],
        usage=allm.Usage(input_tokens=3),
        request_ids=["r"],
        model="m",
    )
    assert response.vectors == ((1.0,), (math.inf,))
    assert "<2 embeddings>" in repr(response)
    assert allm.from_json(allm.to_json(response)) == response


@pytest.mark.parametrize(
    "text",
    [
        '{"v":1,"type":"Embedding","index":"0","vector":{"type":"f","base64":""}}',
        '{"v":1,"type":"Embedding","index":0,"vector":{"type":"u","base64":""}}',
        '{"v":1,"type":"Embedding","index":0,"vector":{"type":"f","base64":"AAA="}}',
        '{"v":1,"type":"Embedding","index":0,"vector":{"type":"f","base64":"!"}}',
        '{"v":1,"type":"Embedding","index":0}',
    ],
)
def test_json_that_is_no_embedding_is_refused(text):
    """Like any other invalid document."""
    with pytest.raises(allm.ValidationError):
        allm.from_json(text)


def test_on_a_big_endian_machine(monkeypatch):
    """The text is the same as elsewhere."""
    embedding = allm.Embedding(0, array("f", [0.5, -3.0]))
    text = allm.to_json(embedding)
    monkeypatch.setattr(module.sys, "byteorder", "big")
    swapped = array("f", [0.5, -3.0])
    swapped.byteswap()
    assert allm.to_json(allm.Embedding(0, swapped)) == text
    assert allm.from_json(text).buffer.tobytes() == swapped.tobytes()


def test_numpy():
    """One row per text, in the type that was received."""
    response = allm.EmbeddingResponse(
        embeddings=[allm.Embedding(1, array("f", [0.5, 1])), allm.Embedding(0, array("f", [2, 3]))]
    )
    rows = response.to_numpy()
    assert rows.dtype == np.float32
    assert rows.tolist() == [[2, 3], [0.5, 1]]
    assert allm.EmbeddingResponse().to_numpy().shape == (0, 0)
    with pytest.raises(ValueError, match="shape"):
        allm.EmbeddingResponse(embeddings=[allm.Embedding(0, [1]), allm.Embedding(1, [1, 2])]).to_numpy()


def test_what_numpy_is_given(monkeypatch):
    """Numpy gets the packed numbers, without a conversion to Python floats."""
    calls = SimpleNamespace(asarray=lambda buffer: (type(buffer), buffer.format), stack=list, empty=dict, float32="f")
    monkeypatch.setitem(sys.modules, "numpy", calls)
    response = allm.EmbeddingResponse(embeddings=[allm.Embedding(0, array("f", [1]))])
    assert response.to_numpy() == [(memoryview, "f")]
    calls.empty = lambda shape, dtype: (shape, dtype)
    assert allm.EmbeddingResponse().to_numpy() == ((0, 0), "f")


def test_without_numpy(monkeypatch):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ImportError, match="pip install numpy"):
        allm.EmbeddingResponse(embeddings=[allm.Embedding(0, [1])]).to_numpy()
