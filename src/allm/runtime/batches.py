"""Cutting a long list of inputs into requests that a provider takes."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator
from typing import final

import attrs

from allm.data.embedding import EmbeddingInput
from allm.data.embedding_check import input_problem, text_size
from allm.data.problems import refuse

__all__ = ["AsyncBatches", "Batch", "BatchLimits", "in_batches"]

Batch = tuple[EmbeddingInput, ...]


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


def in_batches(inputs: Iterable[EmbeddingInput], limits: BatchLimits) -> Iterator[Batch]:
    """The inputs in order, in batches within the limits, each read when it is asked for.

    Raises:
        ValidationError: An input that cannot be embedded, when it is reached.
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
    """`in_batches` of an async iterable; no generator, which would have to be closed."""

    def __init__(self, inputs: AsyncIterable[EmbeddingInput], limits: BatchLimits) -> None:
        self._inputs = aiter(inputs)
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
        """Close the generator that the inputs come from, if they do."""
        close = getattr(self._inputs, "aclose", None)
        if close is not None:
            await close()


@attrs.define(eq=False)
class _Cutter:
    """The batch that grows. An input over the limit of size is one of its own: only the provider knows its tokens.

    An input closes one batch at most: where it is too large for the one before it, that has others in it, so that one
    input is not yet as many as fit.
    """

    limits: BatchLimits
    batch: list[EmbeddingInput] = attrs.field(factory=list[EmbeddingInput], init=False)
    size: int = attrs.field(default=0, init=False)
    index: int = attrs.field(default=0, init=False)

    def add(self, item: EmbeddingInput) -> Batch | None:
        """The batch that `item` makes complete, or has no more room in, if any."""
        if type(item) is str and item.isascii() and item:  # most are, and there may be very many
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
        """The batch, after which another one grows."""
        batch, self.batch, self.size = tuple(self.batch), [], 0
        return batch
