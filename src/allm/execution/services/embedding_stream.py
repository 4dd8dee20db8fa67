"""The embeddings of many inputs as they are finished, in the order of the inputs.

The consumer starts the run with its first step and reads what it leaves (`embedding_run.py`). The run hands over its
failure instead of raising it, so the consumer's own exception is the only one there can be in the nursery.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from textwrap import indent
from typing import Any, final

import attrs
import trio

from allm.data.embedding import EmbeddingAdapterError, EmbeddingResponse
from allm.data.errors import StreamError
from allm.execution.services.embedding_run import EmbeddingRun
from allm.execution.stream.block import StreamBlock, nursery_boundary

__all__ = ["EmbeddingStream", "Progress", "open_embedding_stream"]

Progress = Callable[[int, int | None], Any]
"""Told how many inputs are finished, and of how many; None while nobody knows."""
"""`(done, total)` in inputs; total is None where it is not known. May be async."""

EXAMPLE = """\
async with allm.stream_embed(...) as batches:
    async for batch in batches: ..."""


@final
@attrs.define(eq=False)
class EmbeddingStream:
    """The batches of one call, in the order of the inputs: `async for batch in batches: ...`.

    Each batch is an `EmbeddingResponse` of a part of the inputs. Every embedding is handed over once: in a batch, or in
    `result()`. Nothing is sent before the first batch is asked for. One task may read, inside the block only.
    """

    _run: EmbeddingRun
    _start: Callable[[], None]
    _on_progress: Progress | None
    _owner: trio.lowlevel.Task | None = attrs.field(default=None, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    @property
    def done(self) -> int:
        """How many inputs are finished, whether handed over or not."""
        return self._run.done_inputs

    @property
    def total(self) -> int | None:
        """How many inputs there are; None when they came from an iterable without a length."""
        return self._run.total

    def __aiter__(self) -> EmbeddingStream:
        return self

    async def __anext__(self) -> EmbeddingResponse:
        """The next batch.

        Raises:
            EmbeddingAdapterError: A batch failed, which ended the others; `partial` has what is finished beyond it.
            StreamError: Used outside its block, or by a second task.
            Exception: What the iterable of inputs or `on_progress` raised, as itself.
        """
        while True:
            self._enter()
            await trio.lowlevel.checkpoint()
            await self._report()
            batch = self._run.answers.take()
            if batch is not None:
                return batch
            if not await self._more():
                raise StopAsyncIteration

    async def until_done(self) -> EmbeddingResponse:
        """Let everything that is left be embedded, and return it all: what no batch has handed over.

        Raises:
            Exception: As `__anext__`; after it, and after a cancellation, `result()` has what is finished.
        """
        while True:
            self._enter()
            await trio.lowlevel.checkpoint()
            self._run.answers.let_out()
            await self._report()
            if self._run.answers.all_out and not await self._more():
                return self.result()

    def result(self) -> EmbeddingResponse:
        """What is finished and was not handed over in a batch; at any time, in the block or after it.

        Its usage is that of the whole call. A break, a deadline or a failure leaves gaps between the indexes.
        """
        run = self._run
        answers = run.answers.waiting()
        return EmbeddingResponse(
            embeddings=(embedding for answer in answers for embedding in answer.embeddings),
            usage=run.usage,
            model=run.model,
            request_ids=(request_id for answer in answers for request_id in answer.request_ids),
            metadata={name: value for answer in answers for name, value in answer.metadata.items()},
        )

    def _enter(self) -> None:
        if self._closed:
            raise StreamError(
                "the block of these embeddings has been left, so it gives no more batches; iterate inside it:\n"
                f"{indent(EXAMPLE, '    ')}\nresult() still tells what was finished",
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
        """Wait for a change; False when everything has been sent and answered."""
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
        """Tell `on_progress` of every answer that it does not know of."""
        while self._run.reports:
            done = self._run.reports.popleft()
            if self._on_progress is not None:
                outcome = self._on_progress(done, self._run.total)
                if inspect.isawaitable(outcome):
                    await outcome

    def _close(self) -> None:
        self._closed = True


def open_embedding_stream(run: EmbeddingRun, on_progress: Progress | None) -> StreamBlock[EmbeddingStream]:
    """The stream of a run, for the length of a block."""
    return StreamBlock(_opened(run, on_progress), EXAMPLE)


@asynccontextmanager
async def _opened(run: EmbeddingRun, on_progress: Progress | None) -> AsyncGenerator[EmbeddingStream]:
    async with nursery_boundary() as nursery:
        stream = EmbeddingStream(run, lambda: nursery.start_soon(run.run, name="allm embed"), on_progress)
        try:
            yield stream
        finally:
            stream._close()
            nursery.cancel_scope.cancel()
