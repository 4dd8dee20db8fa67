"""Cutting a long list of inputs into requests that a provider takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from allm.data.embedding import EmbeddingInput
from allm.data.embedding_check import input_problem, text_size
from allm.data.problems import refuse

__all__ = ["BatchLimits", "in_batches"]


@attrs.frozen
class BatchLimits:
    """The most that fits into one request.

    Attributes:
        inputs: How many inputs.
        size: How much text in all, in UTF-8 bytes; None for no limit. Providers count tokens; as none of them makes
            more tokens of a text than it has bytes, a request within this limit is never too large.
    """

    inputs: int
    size: int | None = None


def in_batches(inputs: Iterable[EmbeddingInput], limits: BatchLimits) -> Iterator[tuple[EmbeddingInput, ...]]:
    """The inputs in order, in batches within the limits, each read when it is asked for.

    A single input over the limit of size is a batch of its own: only the provider knows its tokens.

    Raises:
        ValidationError: An input that cannot be embedded, when it is reached.
    """
    batch: list[EmbeddingInput] = []
    size = 0
    for index, item in enumerate(inputs):
        if type(item) is str and item.isascii() and item:  # most are, and there may be very many
            more = len(item)
        else:
            item = tuple(item) if isinstance(item, list) else item
            problem = input_problem(index, item)
            if problem is not None:
                refuse([problem])
            more = text_size(item)
        too_large = limits.size is not None and size + more > limits.size
        if batch and (len(batch) >= limits.inputs or too_large):
            yield tuple(batch)
            batch, size = [], 0
        batch.append(item)
        size += more
        if len(batch) == limits.inputs:
            yield tuple(batch)
            batch, size = [], 0
    if batch:
        yield tuple(batch)
