"""Many inputs as requests that run side by side.

Theory of operation. One task, the feeder, takes a batch of inputs, starts a task that sends it, and goes on. Two
counters hold it back: `places` bounds the requests under way, and the window bounds the batches that exist at all, from
the moment their inputs are read until the consumer takes their embeddings. So a consumer that streams has a bounded
number of batches in memory, and one that is slow stops the feeder, which stops reading inputs.

The tasks never raise into the nursery. The first failure cancels the others, and the run keeps it for the consumer, who
gets it after the batches that precede it. `changed` wakes the consumer after every answer and at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import attrs
import trio

from allm.data.embedding import EmbeddingRequest, EmbeddingResponse
from allm.data.embedding_check import request_problems
from allm.data.problems import refuse
from allm.data.response import Usage
from allm.execution.services.embedding_answers import AnswerCheck, moved, priced
from allm.execution.services.embedding_window import Window
from allm.execution.services.unary import UnaryCall
from allm.execution.stream.block import nursery_boundary
from allm.http.transport import CLEANUP_SECONDS
from allm.runtime.batches import AsyncBatches, Batch
from allm.runtime.telemetry import Span

__all__ = ["EmbeddingRun", "PreparedBatch", "prepare_batch"]

PreparedBatch = tuple[Batch, Any]
"""Inputs, and the adapter's own prepared request for them."""

WINDOW = 2
"""Batches that exist at once, per request under way: as many again as are waiting for one that takes longer."""


def prepare_batch(call: UnaryCall[EmbeddingRequest, Any], request: EmbeddingRequest, batch: Batch) -> PreparedBatch:
    """A batch with its prepared request."""
    return batch, call.prepare(attrs.evolve(request, inputs=batch))


@attrs.define(eq=False)
class EmbeddingRun:
    """The requests of one call, and what has come of them.

    Attributes:
        request: Everything but the inputs.
        batches: Read as they are needed. Those of an async iterable are prepared here, when they come.
        concurrency: Most requests under way at once.
        total: How many inputs there are, if that is known.
        answers: Those that the consumer has not taken.
        reports: The count of finished inputs after each answer that `on_progress` has not been told of.
        done_inputs, done_batches, usage, model: Of the finished batches, taken or not.
        failure: What ended the run.
        ended: Whether nothing is under way any more, and nothing will be.
        changed: Where the consumer waits for any of this to change.
    """

    call: UnaryCall[EmbeddingRequest, EmbeddingResponse]
    request: EmbeddingRequest
    batches: Iterator[PreparedBatch] | AsyncBatches
    concurrency: int
    total: int | None
    answers: Window[EmbeddingResponse] = attrs.field(init=False)
    reports: deque[int] = attrs.field(factory=deque[int], init=False)
    done_inputs: int = attrs.field(default=0, init=False)
    done_batches: int = attrs.field(default=0, init=False)
    usage: Usage = attrs.field(factory=Usage, init=False)
    model: str | None = attrs.field(default=None, init=False)
    failure: Exception | None = attrs.field(default=None, init=False)
    ended: bool = attrs.field(default=False, init=False)
    changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _places: trio.Semaphore = attrs.field(init=False)
    _check: AnswerCheck = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.answers = Window(WINDOW * self.concurrency)
        self._places = trio.Semaphore(self.concurrency)
        self._check = AnswerCheck(self.call.adapter.provider, self.request.dimensions)

    async def run(self) -> None:
        """Send everything; `failure` tells how it went."""
        try:
            with self.call.running(model=self.request.model) as span:
                async with nursery_boundary() as nursery:
                    await self._feed(nursery, span)
                span.attributes.update(usage=self.usage, inputs=self.done_inputs, response_model=self.model)
                self._raise_failure()  # so that the span fails with it
        except Exception as error:
            self.failure = error
        finally:
            self.ended = True
            self.changed.unpark_all()

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    async def _feed(self, nursery: trio.Nursery, span: Span) -> None:
        """Start a task for each batch, as there is room."""
        try:
            try:
                await self._start_batches(nursery, span)
            finally:
                if isinstance(self.batches, AsyncBatches):
                    with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                        await self.batches.aclose()
        except Exception as error:  # inputs that cannot be embedded, or what the iterable of inputs raised
            self._fail(error, nursery)

    async def _start_batches(self, nursery: trio.Nursery, span: Span) -> None:
        offset = number = 0
        while True:
            # Before the inputs are read, so that none are read that have to wait.
            await self.answers.enter()
            await self._places.acquire()
            following = await self._next_batch()
            if following is None:
                break
            name = f"allm embed batch {number}"
            nursery.start_soon(self._send, number, offset, following, nursery, span, name=name)
            number += 1
            offset += len(following[0])
        if not number:
            refuse(request_problems(self.request))  # which has no inputs

    async def _next_batch(self) -> PreparedBatch | None:
        if not isinstance(self.batches, AsyncBatches):
            return next(self.batches, None)
        batch = await anext(self.batches, None)
        return None if batch is None else prepare_batch(self.call, self.request, batch)

    async def _send(self, number: int, offset: int, prepared: PreparedBatch, nursery: trio.Nursery, span: Span) -> None:
        batch, body = prepared

        async def work() -> EmbeddingResponse:
            response = await self.call.adapter.send(body)
            self._check.check(response, len(batch))
            return response

        try:
            response = await self.call.attempt(work, span)
            response = priced(response, self.request, batch, self.call.adapter.provider)
        except Exception as error:
            self._fail(error, nursery)
            return
        finally:
            self._places.release()
        self._finish(number, moved(response, offset), len(batch))

    def _finish(self, number: int, response: EmbeddingResponse, count: int) -> None:
        self.answers.put(number, response)
        self.done_inputs += count
        self.done_batches += 1
        self.usage += response.usage
        self.model = self.model or response.model
        self.reports.append(self.done_inputs)
        self.changed.unpark_all()

    def _fail(self, error: Exception, nursery: trio.Nursery) -> None:
        if self.failure is None:
            self.failure = error
            nursery.cancel_scope.cancel()
