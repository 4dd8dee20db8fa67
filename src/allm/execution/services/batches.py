"""Batches of a provider: the requests of many calls, and a response of each, as `generate` would have given it.

`allm.bulk` is built on these functions; which batch is whose, and what to ask again, is for it to remember.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import attrs

from allm.data.attrs_classes import frozen
from allm.data.errors import AdapterError
from allm.data.events import Failed, MessageCompleted
from allm.data.response import Response
from allm.execution.event_changes import ChangedEvents
from allm.execution.failures import name_model
from allm.execution.options import Input, ModelCall, engine_for_chat, output_type, prepare_call, resolve
from allm.execution.retrying import adapter_raised
from allm.execution.services.companions import CompanionService
from allm.execution.services.service import UnaryOptions
from allm.execution.services.unary import UnaryCall, resolve_unary
from allm.execution.stream.folds import StreamCollector
from allm.http.answer_size import AnswerSize
from allm.http.stream_call import StreamCall, WireDecoder
from allm.runtime.batch_jobs import (
    BatchAdapter,
    BatchAnswer,
    BatchCancel,
    BatchFind,
    BatchGet,
    BatchItem,
    BatchJob,
    BatchRead,
    BatchSubmit,
)
from allm.runtime.costs import Pricing
from allm.runtime.engine import Engine
from allm.runtime.http_adapter import as_adapter
from allm.runtime.pages import PageRequest
from allm.runtime.silence import Silence

__all__ = ["BatchedCall", "Batches", "batched_call", "batches_of"]

_SERVICE: CompanionService[Any, Any] = CompanionService(
    name="batches", noun="batches", span="batch", request_type=PageRequest
)


@frozen
class BatchedCall:
    """A call that is part of a batch.

    Attributes:
        call: The call, resolved.
        sent: What its adapter prepared.
        group: Calls of one batch have the same.
        size: Of its body, in bytes.
    """

    call: ModelCall
    sent: StreamCall = attrs.field(repr=False)
    prepared: Any = attrs.field(repr=False)
    group: str
    size: int

    def response(self, answer: BatchAnswer) -> Response:
        """The response that the answer is, with its costs; a failure is its `error`."""
        call = self.call
        fold, provider = StreamCollector(output_type(call)), call.adapter.provider
        size = AnswerSize(call.engine.answer_limits, provider)
        pricing = Pricing.of_call(call.adapter, call.request, in_batch=True)
        change = self.prepared.new_change() if isinstance(self.prepared, ChangedEvents) else None
        events = _events(self.sent, answer)
        if change is not None:
            events = [*change.changed(events), *change.held()]
        for event in pricing.on(size.admit(tuple(events))):
            fold.add(event)
            if fold.ended:
                break
        if not fold.ended:
            what = f"the answer in the batch of {provider} is cut off: it has no end marker"
            fold.add(Failed(AdapterError(what, reason="stream_truncated", provider=provider)))
        response = fold.response()
        if isinstance(response.error, AdapterError):
            name_model(response.error, call.request.model)
        return response


def _events(sent: StreamCall, answer: BatchAnswer) -> list[Any]:
    if answer.error is not None:
        return [Failed(answer.error)]
    decoder: WireDecoder = (answer.new_decoder or sent.new_decoder)()
    decoder.raw_chunks, decoder.limits = False, sent.answer_limits
    events: list[Any] = []
    try:
        decoder.begin({})
        events += decoder.decode_document(dict(answer.document or {}))
        if not any(isinstance(event, Failed | MessageCompleted) for event in events):
            events += decoder.end("")
    except AdapterError as error:
        error.provider = error.provider or sent.provider
        events.append(Failed(error))
    except Exception as error:
        events.append(Failed(adapter_raised(sent.provider, error)))
    return events


async def batched_call(engine: Engine, request: Input, options: Mapping[str, Any]) -> BatchedCall:
    """The call of one request, prepared as `generate` would.

    Raises:
        EngineError, OptionError, ValidationError, AdapterError: The call is invalid, or its adapter has no batches.
    """
    call = resolve(engine_for_chat(engine), request, options)
    adapter: BatchAdapter = _SERVICE.adapter_of(call.engine)
    if call.loads_tools:
        from allm.execution.tool_sets import with_loaded_tools

        call = await with_loaded_tools(call)
    prepared = prepare_call(call)
    sent = prepared.prepared if isinstance(prepared, ChangedEvents) else prepared
    if not isinstance(sent, StreamCall):
        provider = as_adapter(call.adapter).provider
        what = f"{provider} prepares calls that cannot be in a batch"
        raise AdapterError(what, reason="unsupported_feature", provider=provider)
    body = sent.body
    size = len(body) if isinstance(body, bytes) else body.length
    return BatchedCall(call, sent, prepared, adapter.group(sent), size)


@frozen
class Batches:
    """The batches of an engine's provider.

    Attributes:
        most_requests, most_bytes: The most that one batch may hold.
        known: Ids of batches that are known to be another one than that which is looked for.
    """

    _engine: Engine
    _options: Mapping[str, Any]
    most_requests: int
    most_bytes: int
    known: set[str] = attrs.field(factory=set[str])

    async def submit(self, name: str, calls: Sequence[tuple[str, BatchedCall]], since: float) -> BatchJob:
        """Make a batch, once: where the answer to that was lost, it is looked for before it is made again.

        One after the other, and with the ids of all others in `known`: a provider without names for batches has another
        one of the same size that cannot be told from it.

        Args:
            name: One of its own for each batch.
            calls: With their keys: letters, digits, `-` and `_`. All of one group.
            since: When it is made, in seconds since 1970, or somewhat earlier.

        Raises:
            AdapterError: The provider failed, or refused it.
        """
        unary = self._call()
        prepared = unary.prepare(BatchSubmit(name, [BatchItem(key, call.sent) for key, call in calls]))
        look = unary.prepare(BatchFind(name, since, len(calls), self.known))
        unanswered = False

        async def send() -> BatchJob:
            nonlocal unanswered
            if unanswered and (found := await unary.adapter.send(look)) is not None:
                return cast("BatchJob", found)
            unanswered = True
            try:
                return cast("BatchJob", await unary.adapter.send(prepared))
            except AdapterError as error:
                unanswered = error.status is None or error.status >= _SERVER_ERROR
                raise

        with unary.running(operation="submit", count=len(calls)) as span:
            return cast("BatchJob", await unary.attempt(send, span))

    async def find(self, name: str, since: float, count: int) -> BatchJob | None:
        """Look for a batch whose making was begun, and whose id is not known.

        Raises:
            AdapterError: The provider failed.
        """
        return cast("BatchJob | None", await self._asked("find", BatchFind(name, since, count, self.known)))

    async def get(self, job: BatchJob) -> BatchJob:
        """Ask how far it is.

        Raises:
            AdapterError: The provider failed; `not_found`: there is no such batch.
        """
        return cast("BatchJob", await self._asked("get", BatchGet(job.id)))

    async def cancel(self, job: BatchJob) -> BatchJob:
        """End it; it may be running for some time still.

        Raises:
            AdapterError: The provider failed.
        """
        return cast("BatchJob", await self._asked("cancel", BatchCancel(job.id)))

    async def read(self, job: BatchJob, each: Callable[[BatchAnswer], Awaitable[None]]) -> None:
        """Give each answer of a batch that has ended to `each`; after a failure they are read, and given, again.

        Raises:
            AdapterError: The provider failed.
        """
        unary, silence = self._call(), Silence()
        prepared, adapter = unary.prepare(BatchRead(job)), cast("BatchAdapter", unary.adapter)

        async def give(answer: BatchAnswer) -> None:
            silence.moved()
            await each(answer)
            silence.moved()

        with unary.running(operation="read", batch=job.id) as span:
            await unary.attempt(lambda: adapter.read(prepared, give), span, silence=silence.limit)

    async def _asked(self, operation: str, request: Any) -> Any:
        unary = self._call()
        prepared = unary.prepare(request)
        with unary.running(operation=operation) as span:
            return await unary.attempt(partial(unary.adapter.send, prepared), span)

    def _call(self) -> UnaryCall[Any, Any]:
        return resolve_unary(_SERVICE, self._engine, self._options)


_SERVER_ERROR = 500


def batches_of(engine: Engine, options: Mapping[str, Any]) -> Batches:
    """The batches of the engine's provider; of the options of a call, those that say how it is reached count.

    Raises:
        EngineError: `missing_adapter`.
        AdapterError: `unsupported_feature`: the provider has none.
    """
    own = {name: value for name, value in options.items() if name in UnaryOptions.__annotations__}
    own = {name: value for name, value in own.items() if name not in {"model", "options", "request_timeout"}}
    adapter: BatchAdapter = _SERVICE.adapter_of(engine_for_chat(engine))
    return Batches(engine, own, adapter.most_requests, adapter.most_bytes)
