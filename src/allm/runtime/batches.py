"""Splitting a long list of embedding inputs into batches that fit into one request."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator
from typing import final

import attrs

from allm.data.attrs_classes import define, frozen
from allm.data.embedding import EmbeddingInput
from allm.data.embedding_check import input_problem, text_size
from allm.data.problems import refuse
from allm.data.user_functions import items_of_user

__all__ = ["UNKNOWN_LIMITS", "AsyncBatches", "Batch", "BatchLimits", "in_batches"]

Batch = tuple[EmbeddingInput, ...]


@frozen
class BatchLimits:
    """The most that fits into one request.

    Attributes:
        inputs: How many inputs.
        size: Total text in UTF-8 bytes; None for no limit. Providers count tokens, but no tokenizer makes more tokens
            of a text than it has bytes, so a request within this limit is never too large.
    """

    inputs: int
    size: int | None = None


UNKNOWN_LIMITS = BatchLimits(100)
"""Limits of one embedding request where the adapter states none: the smallest of the bundled providers (Gemini's)."""


def in_batches(inputs: Iterable[EmbeddingInput], limits: BatchLimits) -> Iterator[Batch]:
    """Yield the inputs in order, in batches within the limits; inputs are read only as batches are requested.

    Raises:
        ValidationError: An input cannot be embedded; raised when that input is reached.
    """
    cutter = _Cutter(limits)
    for item in inputs:
        batch = cutter.add(item)
        if batch is not None:
            yield batch
    if cutter.batch:
        yield cutter.take()


@final
class AsyncBatches:
    """`in_batches` for an async iterable, written as a class: an async generator would have to be closed explicitly."""

    def __init__(self, inputs: AsyncIterable[EmbeddingInput], limits: BatchLimits) -> None:
        self._inputs = items_of_user(inputs)
        self._cutter = _Cutter(limits)

    async def __anext__(self) -> Batch:
        async for item in self._inputs:
            batch = self._cutter.add(item)
            if batch is not None:
                return batch
        if self._cutter.batch:
            return self._cutter.take()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the source of the inputs if it is an async generator."""
        close = getattr(self._inputs, "aclose", None)
        if close is not None:
            await close()


@define(eq=False)
class _Cutter:
    """Collects inputs into batches. An input larger than `limits.size` gets a batch to itself: the provider decides.

    Adding an input completes at most one batch. If it does not fit into the current batch, that batch is complete and
    the input starts the next one, which cannot be full as well: a limit of one input would have closed the current
    batch before.
    """

    limits: BatchLimits
    batch: list[EmbeddingInput] = attrs.field(factory=list[EmbeddingInput], init=False)
    size: int = attrs.field(default=0, init=False)
    index: int = attrs.field(default=0, init=False)

    def add(self, item: EmbeddingInput) -> Batch | None:
        """Add an input; return the batch that it completes, or that it no longer fits into, if any."""
        if type(item) is str and item.isascii() and item:  # fast path: most inputs are, and there may be millions
            more = len(item)
        else:
            item = tuple(item) if isinstance(item, list) else item
            problem = input_problem(self.index, item)
            if problem is not None:
                refuse([problem])
            more = text_size(item)
        self.index += 1
        largest = self.limits.size
        before = self.take() if self.batch and largest is not None and self.size + more > largest else None
        self.batch.append(item)
        self.size += more
        return self.take() if len(self.batch) == self.limits.inputs else before

    def take(self) -> Batch:
        """Return the current batch and start a new one."""
        batch, self.batch, self.size = tuple(self.batch), [], 0
        return batch
