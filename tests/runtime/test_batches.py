"""Batches hold all inputs in order and within the limits, and no input is read before it is needed."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, strategies as st

import allm
from allm.runtime.batches import BatchLimits, in_batches

TEXTS = st.lists(st.text(min_size=1, max_size=12), max_size=30)


@given(TEXTS, st.integers(1, 7), st.none() | st.integers(1, 40))
def test_batches_are_the_inputs_cut_up(texts, count, size):
    """Each batch is within both limits, except for a single text that is too large on its own."""
    batches = list(in_batches(iter(texts), BatchLimits(count, size)))
    assert [text for batch in batches for text in batch] == texts
    for batch in batches:
        assert 1 <= len(batch) <= count
        assert size is None or len(batch) == 1 or sum(len(text.encode()) for text in batch) <= size


@given(TEXTS.filter(bool), st.integers(1, 40))
def test_no_batch_is_smaller_than_it_has_to_be(texts, size):
    """The first text of the next batch would not have fitted."""
    batches = list(in_batches(texts, BatchLimits(5, size)))
    for batch, following in pairwise(batches):
        fitted = sum(len(text.encode()) for text in (*batch, following[0]))
        assert len(batch) == 5 or fitted > size


def test_a_batch_is_yielded_as_soon_as_it_is_full():
    """The input after a full batch is not read for it."""
    taken = []

    def source():
        for index in range(4):
            taken.append(index)
            yield str(index)

    batches = in_batches(source(), BatchLimits(2))
    assert next(batches) == ("0", "1")
    assert taken == [0, 1]


def test_only_the_captions_of_images_have_a_size():
    """An image counts as no text; a caption next to it does."""
    image = allm.Image.from_bytes(b"x" * 100, "image/png")
    limits = BatchLimits(5, 6)
    assert list(in_batches([image, ["abc", image], ("defg",), "\ud800"], limits)) == [
        (image, ("abc", image)),
        (("defg",),),
        ("\ud800",),
    ]


def test_an_input_that_cannot_be_embedded_is_named():
    """The error gives its position among all inputs."""
    batches = in_batches(["a", "b", ""], BatchLimits(1))
    assert [next(batches), next(batches)] == [("a",), ("b",)]
    with pytest.raises(allm.ValidationError, match=r"inputs\[2\]"):
        next(batches)
