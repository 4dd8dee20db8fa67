"""Many inputs as requests that run side by side, and their answers in the order of the inputs.

Theory of operation. The block owns a nursery. At the consumer's first step one task starts there, the feeder: it takes
a batch of inputs, starts a task that sends it, and goes on. Two counters hold it back: `places` bounds the requests
under way, and `window` the batches that exist at all, from the moment their inputs are read until the consumer takes
their embeddings; so a consumer that streams has a bounded number of batches in memory, and one that is slow stops the
feeder, which stops reading inputs. Finished batches wait in `finished` under their number, and the consumer takes the
next one. The tasks never raise into the nursery: the first failure cancels the others and is handed to the consumer
after the batches that precede it. The consumer's own exception therefore is the only one there can be, and comes out as
itself.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import Any, NoReturn, final

import attrs
import trio

from allm.data.embedding import Embedding, EmbeddingRequest, EmbeddingResponse
from allm.data.embedding_check import request_problems
from allm.data.errors import AdapterError, EmbeddingAdapterError, StreamError
from allm.data.problems import refuse
from allm.data.response import Usage
from allm.execution.services.unary import UnaryCall
from allm.execution.stream.nurseries import collapse_exception_group
from allm.http.transport import CLEANUP_SECONDS
from allm.runtime.batches import AsyncBatches, Batch
from allm.runtime.costs import embedding_usage
from allm.runtime.telemetry import Span

__all__ = ["EmbeddingBlock", "EmbeddingRun", "EmbeddingStream", "Progress"]

Progress = Callable[[int, int | None], Any]
"""Told how many inputs are finished, and of how many; None while nobody knows."""
"""`(done, total)` in inputs; total is None where it is not known. May be async."""

WINDOW = 2
"""Batches that exist at once, per request under way: as many again as are waiting for one that takes longer."""

BITS = 8
"""Numbers in a byte of a vector that is quantized to bits; services count `dimensions` before that."""


@attrs.define(eq=False)
class EmbeddingRun:
    """The requests of one call.

    Attributes:
        request: Everything but the inputs.
        batches: The inputs, read as they are needed.
        first: The first batch, prepared when the call was made; None where it has to be waited for.
        total: How many inputs there are, if that is known.
        finished: Answers that the consumer has not taken, by the number of their batch.
        reports: The count of finished inputs after each answer that `on_progress` has not been told of.
    """

    call: UnaryCall[EmbeddingRequest, EmbeddingResponse]
    request: EmbeddingRequest
    batches: Iterator[Batch] | AsyncBatches
    first: tuple[Batch, Any] | None
    concurrency: int
    total: int | None
    finished: dict[int, EmbeddingResponse] = attrs.field(factory=dict[int, EmbeddingResponse], init=False)
    reports: deque[int] = attrs.field(factory=deque[int], init=False)
    done_inputs: int = attrs.field(default=0, init=False)
    done_batches: int = attrs.field(default=0, init=False)
    length: int = attrs.field(default=0, init=False)  # of every vector, once there is one
    usage: Usage = attrs.field(factory=Usage, init=False)
    model: str | None = attrs.field(default=None, init=False)
    failure: Exception | None = attrs.field(default=None, init=False)
    ended: bool = attrs.field(default=False, init=False)
    window: trio.Semaphore = attrs.field(init=False)
    changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot, init=False)
    _places: trio.Semaphore = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._places = trio.Semaphore(self.concurrency)
        self.window = trio.Semaphore(WINDOW * self.concurrency)

    async def run(self) -> None:
        """Send everything; `failure` tells how it went."""
        try:
            with self.call.running(model=self.request.model) as span:
                async with trio.open_nursery() as nursery:
                    await self._feed(nursery, span)
                span.attributes.update(usage=self.usage, inputs=self.done_inputs, response_model=self.model)
                self._check()
        except Exception as error:
            self.failure = error
        finally:
            self.ended = True
            self.changed.unpark_all()

    def _check(self) -> None:
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
            await self.window.acquire()
            await self._places.acquire()
            following = self.first if self.first is not None and not number else await self._following()
            if following is None:
                if not number:
                    refuse(request_problems(self.request))
                return
            batch, prepared = following
            name = f"allm embed batch {number}"
            nursery.start_soon(self._send, number, offset, batch, prepared, nursery, span, name=name)
            number += 1
            offset += len(batch)

    async def _following(self) -> tuple[Batch, Any] | None:
        if isinstance(self.batches, AsyncBatches):
            batch = await anext(self.batches, None)
        else:
            batch = next(self.batches, None)
        return None if batch is None else (batch, self.prepare(batch))

    def prepare(self, batch: Batch) -> Any:
        """The adapter's own prepared request for one batch."""
        return self.call.adapter.prepare(attrs.evolve(self.request, inputs=batch), self.call.adapter_options)

    async def _send(
        self, number: int, offset: int, batch: Batch, prepared: Any, nursery: trio.Nursery, span: Span
    ) -> None:
        count = len(batch)

        async def work() -> EmbeddingResponse:
            return self._checked(await self.call.adapter.send(prepared), count)

        try:
            response = self._priced(await self.call.attempt(work, span), batch)
        except Exception as error:
            self._fail(error, nursery)
            return
        finally:
            self._places.release()
        self.finished[number] = _moved(response, offset)
        self.done_inputs += count
        self.done_batches += 1
        self.usage += response.usage
        self.model = self.model or response.model
        self.reports.append(self.done_inputs)
        self.changed.unpark_all()

    def _checked(self, response: EmbeddingResponse, count: int) -> EmbeddingResponse:
        """The answer, if it has one vector for each input: a vector under another's index would be worse than none."""
        provider, wanted = self.call.adapter.provider, self.request.dimensions
        indexes = [embedding.index for embedding in response.embeddings]
        if indexes != list(range(count)):
            shown = f"{len(indexes)} vectors" if len(indexes) != count else f"the indexes {indexes[:10]}"
            message = f"{provider} answered with {shown} for {count} inputs; expected one for each, counted from 0"
            raise AdapterError(message, reason="malformed_response", provider=provider)
        for embedding in response.embeddings:
            length = embedding.dimensions
            if wanted is not None and wanted not in {length, length * BITS}:
                raise AdapterError(
                    f"{provider} answered with a vector of {length} numbers where dimensions={wanted} was asked for: "
                    "this model has no such length, or the server takes no notice of it; leave dimensions out",
                    reason="unsupported_feature",
                    provider=provider,
                )
            self.length = self.length or length
            if length != self.length:
                message = f"{provider} answered with vectors of {self.length} and of {length} numbers in one call"
                raise AdapterError(message, reason="malformed_response", provider=provider)
        return response

    def _priced(self, response: EmbeddingResponse, batch: Batch) -> EmbeddingResponse:
        if not all(isinstance(item, str) for item in batch):  # an image costs more than as many tokens of text
            return response
        usage = embedding_usage(self.call.adapter.provider, response.model or self.request.model, response.usage)
        return attrs.evolve(response, usage=usage)

    def _fail(self, error: Exception, nursery: trio.Nursery) -> None:
        if self.failure is None:
            self.failure = error
            nursery.cancel_scope.cancel()


def _moved(response: EmbeddingResponse, offset: int) -> EmbeddingResponse:
    if not offset:
        return response
    moved = [Embedding(embedding.index + offset, embedding._values) for embedding in response.embeddings]
    return attrs.evolve(response, embeddings=moved)


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
    _next: int = attrs.field(default=0, init=False)
    _kept: int = attrs.field(default=0, init=False)  # how many of the finished batches are in the window no more
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
            if self._next in self._run.finished:
                batch = self._run.finished.pop(self._next)
                self._next += 1
                if self._kept:
                    self._kept -= 1
                else:
                    self._run.window.release()
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
            while self._kept < len(self._run.finished):
                self._kept += 1
                self._run.window.release()
            await self._report()
            if self._kept == len(self._run.finished) and not await self._more():
                return self.result()

    def result(self) -> EmbeddingResponse:
        """What is finished and was not handed over in a batch; at any time, in the block or after it.

        Its usage is that of the whole call. A break, a deadline or a failure leaves gaps between the indexes.
        """
        run = self._run
        answers = [run.finished[number] for number in sorted(run.finished)]
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
                "    async with allm.stream_embed(...) as batches:\n"
                "        async for batch in batches: ...\n"
                "result() still tells what was finished",
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


@final
class EmbeddingBlock:
    """What `stream_embed` returns: enter it with `async with` to get the `EmbeddingStream`."""

    def __init__(self, run: EmbeddingRun, on_progress: Progress | None) -> None:
        self._manager: AbstractAsyncContextManager[EmbeddingStream] = _opened(run, on_progress)

    async def __aenter__(self) -> EmbeddingStream:
        return await self._manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return await self._manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102  (cancels its own tasks first)

    def __aiter__(self) -> NoReturn:
        raise StreamError(
            "embeddings are opened with `async with`, which ends their requests for sure:\n"
            "    async with allm.stream_embed(...) as batches:\n"
            "        async for batch in batches: ...",
            reason="not_entered",
        )


@asynccontextmanager
async def _opened(run: EmbeddingRun, on_progress: Progress | None) -> AsyncGenerator[EmbeddingStream]:
    body_error: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            stream = EmbeddingStream(run, lambda: nursery.start_soon(run.run, name="allm embed"), on_progress)
            try:
                yield stream
            except BaseException as error:
                body_error = error
                raise
            finally:
                stream._close()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        body_error = collapse_exception_group(group, body_error)
    try:
        if body_error is not None:
            raise body_error
    finally:
        del body_error  # the frame would keep its own exception alive
