"""`EmbeddingStream`: embeddings batch by batch as they finish, in the order of the inputs.

The first read starts the run (`embedding_run.py`), and later reads take its results. The run hands its failure over
instead of raising it, so the consumer's own exception is the only one in the nursery.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from textwrap import indent
from typing import Any, final

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.embedding import EmbeddingAdapterError, EmbeddingResponse
from allm.data.errors import StreamError
from allm.data.user_functions import call_user
from allm.execution.nurseries import nursery_boundary, start_task
from allm.execution.services.embedding_run import EmbeddingRun
from allm.execution.stream.block import StreamBlock

__all__ = ["EmbeddingStream", "Progress", "open_embedding_stream"]

Progress = Callable[[int, int | None], Any]
"""Called with `(done, total)`, in inputs; total is None if it is not known. May be async."""

EXAMPLE = """\
async with allm.stream_embed(...) as batches:
    async for batch in batches: ..."""


@final
@define(eq=False)
class EmbeddingStream:
    """The batches of one call, in the order of the inputs: `async for batch in batches: ...`.

    Each batch is an `EmbeddingResponse` for a part of the inputs. Every embedding is returned once: in a batch, or in
    `result()`. Nothing is sent before the first batch is asked for. Only one task may read, and only inside the block.
    """

    _run: EmbeddingRun
    _start: Callable[[], None]
    _on_progress: Progress | None
    _owner: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    @property
    def done(self) -> int:
        """The number of finished inputs, whether their batch was read or not."""
        return self._run.done_inputs

    @property
    def total(self) -> int | None:
        """The number of inputs; None if they come from an iterable without a length."""
        return self._run.total

    def __aiter__(self) -> EmbeddingStream:
        return self

    async def __anext__(self) -> EmbeddingResponse:
        """The next batch.

        Raises:
            EmbeddingAdapterError: A batch failed, which cancelled the others; `partial` has the finished embeddings
                that were not read.
            StreamError: Used outside its block, or by a second task.
            Exception: Raised by the iterable of inputs or by `on_progress`.
        """
        while True:
            self._enter()
            await trio.lowlevel.checkpoint()
            await self._report()
            batch = self._run.responses.take()
            if batch is not None:
                return batch
            if not await self._more():
                raise StopAsyncIteration

    async def until_done(self) -> EmbeddingResponse:
        """Wait for all remaining inputs, and return the embeddings that were not read as batches.

        Raises:
            Exception: As for `__anext__`; after it, or after a cancellation, `result()` has the finished embeddings.
        """
        while True:
            self._enter()
            await trio.lowlevel.checkpoint()
            self._run.responses.release_waiting()
            await self._report()
            if self._run.responses.all_released and not await self._more():
                return self.result()

    def result(self) -> EmbeddingResponse:
        """The finished embeddings that were not read as batches; at any time, in the block or after it.

        Its usage is that of the whole call. After a break, a deadline or a failure the indexes have gaps.
        """
        run = self._run
        responses = run.responses.waiting()
        return EmbeddingResponse(
            embeddings=(embedding for response in responses for embedding in response.embeddings),
            usage=run.usage,
            model=run.model,
            request_ids=(request_id for response in responses for request_id in response.request_ids),
            metadata={name: value for response in responses for name, value in response.metadata.items()},
        )

    def _enter(self) -> None:
        if self._closed:
            raise StreamError(
                "the block of these embeddings has been left, so there are no more batches; iterate inside it:\n"
                f"{indent(EXAMPLE, '    ')}\nresult() still has what was finished",
                reason="closed",
            )
        task = trio.lowlevel.current_task()
        if self._owner is None:
            self._owner = task
            self._start()
        elif self._owner is not task:
            raise StreamError(
                f"these embeddings are being read by task {self._owner.name!r}; a stream has one reader: pass batches "
                "on through a memory channel",
                reason="concurrent_iteration",
            )

    async def _more(self) -> bool:
        """Wait for a change; False once every batch is finished."""
        run = self._run
        if not run.ended:
            await run.changed.park()
            return True
        if run.failure is None:
            return False
        if isinstance(run.failure, EmbeddingAdapterError):
            run.failure.partial = self.result()
            run.failure.completed_inputs = run.done_inputs
            run.failure.completed_batches = run.done_batches
        raise run.failure

    async def _report(self) -> None:
        """Call `on_progress` for every response since the last call."""
        while self._run.reports:
            done = self._run.reports.popleft()
            if self._on_progress is not None:
                await call_user(self._on_progress, done, self._run.total)

    def _close(self) -> None:
        self._closed = True


def open_embedding_stream(run: EmbeddingRun, on_progress: Progress | None) -> StreamBlock[EmbeddingStream]:
    """A block that runs `run` and gives its stream."""
    return StreamBlock(functools.partial(_opened, run, on_progress), EXAMPLE)


@asynccontextmanager
async def _opened(run: EmbeddingRun, on_progress: Progress | None) -> AsyncGenerator[EmbeddingStream]:
    async with nursery_boundary() as nursery:
        stream = EmbeddingStream(run, lambda: start_task(nursery, run.run, name="allm embed"), on_progress)
        try:
            yield stream
        finally:
            stream._close()
            nursery.cancel_scope.cancel()
