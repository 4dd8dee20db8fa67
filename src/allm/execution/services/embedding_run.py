"""Send the inputs of an embedding call as batches in concurrent requests.

Theory of operation. One task, the feeder, reads a batch of inputs, starts a task that sends it, and goes on. Two
limits hold it back: `_places` bounds the requests in flight, and the window bounds the batches in memory, from the
moment their inputs are read until the consumer takes their embeddings. So a slow consumer stops the feeder, which stops
reading inputs.

The tasks never raise into the nursery. The first failure cancels the others, and the run keeps it for the consumer, who
gets it after the batches that precede it. `changed` wakes the consumer after every response and at the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.embedding import EmbeddingRequest, EmbeddingResponse
from allm.data.embedding_check import request_problems
from allm.data.problems import refuse
from allm.data.response import Usage
from allm.execution.nurseries import nursery_boundary, start_task
from allm.execution.services.embedding_responses import ResponseCheck, with_costs, with_offset
from allm.execution.services.embedding_window import Window
from allm.execution.services.unary import UnaryCall
from allm.http.transport import CLEANUP_SECONDS
from allm.runtime.batches import AsyncBatches, Batch
from allm.runtime.telemetry import Span

__all__ = ["EmbeddingRun", "PreparedBatch", "prepare_batch"]

PreparedBatch = tuple[Batch, Any]
"""A batch of inputs, and the request that the adapter prepared for it."""

WINDOW = 2
"""Batches in memory per request in flight: room for one finished batch to wait behind each one that takes longer."""


def prepare_batch(call: UnaryCall[EmbeddingRequest, Any], request: EmbeddingRequest, batch: Batch) -> PreparedBatch:
    """Prepare the request for a batch."""
    return batch, call.prepare(attrs.evolve(request, inputs=batch))


@define(eq=False)
class EmbeddingRun:
    """The requests of one call, and their results so far.

    Attributes:
        request: The request without its inputs.
        batches: Read as needed. Batches from an async iterable are prepared here, when they are read.
        concurrency: Most requests in flight at once.
        total: The number of inputs, if known.
        responses: Responses that the consumer has not taken.
        reports: Counts of finished inputs, one per response, that `on_progress` has not been called with.
        done_inputs, done_batches, usage, model: Of the finished batches, taken or not.
        failure: The exception that ended the run.
        ended: Whether the run is over: no request is in flight, and none will be sent.
        changed: Wakes the consumer when any of this changes.
    """

    call: UnaryCall[EmbeddingRequest, EmbeddingResponse]
    request: EmbeddingRequest
    batches: Iterator[PreparedBatch] | AsyncBatches
    concurrency: int
    total: int | None
    responses: Window[EmbeddingResponse] = attrs.field(init=False)
    reports: deque[int] = attrs.field(factory=deque[int], init=False)
    done_inputs: int = attrs.field(default=0, init=False)
    done_batches: int = attrs.field(default=0, init=False)
    usage: Usage = attrs.field(factory=Usage, init=False)
    model: str | None = attrs.field(default=None, init=False)
    failure: Exception | None = attrs.field(default=None, init=False)
    ended: bool = attrs.field(default=False, init=False)
    changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _places: trio.Semaphore = attrs.field(init=False)
    _check: ResponseCheck = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.responses = Window(WINDOW * self.concurrency)
        self._places = trio.Semaphore(self.concurrency)
        self._check = ResponseCheck(self.call.adapter.provider, self.request.dimensions)

    async def run(self) -> None:
        """Send every batch; an exception goes to `failure`."""
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
        """Start a task for each batch, as the limits allow."""
        try:
            try:
                await self._start_batches(nursery, span)
            finally:
                if isinstance(self.batches, AsyncBatches):
                    with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                        await self.batches.aclose()
        except Exception as error:  # an invalid input, or raised by the iterable of inputs
            self._fail(error, nursery)

    async def _start_batches(self, nursery: trio.Nursery, span: Span) -> None:
        offset = number = 0
        while True:
            # Before the inputs are read, so that no inputs are read only to wait.
            await self.responses.enter()
            await self._places.acquire()
            following = await self._next_batch()
            if following is None:
                break
            name = f"allm embed batch {number}"
            start_task(nursery, self._send, number, offset, following, nursery, span, name=name)
            number += 1
            offset += len(following[0])
        if not number:
            refuse(request_problems(self.request))  # there were no inputs, which is a problem of its own

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
            charge = self.call.charge(attrs.evolve(self.request, inputs=batch))
            response = await self.call.attempt(work, span, prepared=body, charge=charge)
            response = with_costs(response, self.request, batch, self.call.adapter.provider)
        except Exception as error:
            self._fail(error, nursery)
            return
        finally:
            self._places.release()
        self._finish(number, with_offset(response, offset), len(batch))

    def _finish(self, number: int, response: EmbeddingResponse, count: int) -> None:
        self.responses.put(number, response)
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
