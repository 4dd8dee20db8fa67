"""`embed` and `stream_embed`: turn texts into vectors, all at once or batch by batch."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sized
from itertools import chain, islice
from typing import Any, Unpack

import attrs

from allm.data.embedding import EmbeddingAdapterError, EmbeddingInput, EmbeddingRequest, EmbeddingResponse
from allm.data.embedding_check import field_problems, request_problems
from allm.data.errors import OptionError
from allm.data.image import Image
from allm.data.problems import Problem, refuse, shown
from allm.execution.services.embedding_responses import with_costs
from allm.execution.services.embedding_run import EmbeddingRun, PreparedBatch, prepare_batch
from allm.execution.services.embedding_stream import EmbeddingStream, Progress, open_embedding_stream
from allm.execution.services.service import Service, UnaryOptions
from allm.execution.services.unary import UnaryCall, resolve_unary
from allm.execution.stream.block import StreamBlock
from allm.runtime.batches import AsyncBatches, Batch, BatchLimits, in_batches
from allm.runtime.costs import load_prices
from allm.runtime.engine import Engine
from allm.runtime.http_adapter import as_adapter
from allm.runtime.option_table import seal

__all__ = ["EmbeddingInputs", "embed", "stream_embed"]

EmbeddingInputs = EmbeddingInput | Iterable[EmbeddingInput] | AsyncIterable[EmbeddingInput] | EmbeddingRequest
"""One input, an iterable or async iterable of inputs, or a request."""

MAX_CONCURRENCY = 4
"""Requests in flight at once: enough to hide network latency, few enough for the lowest rate limits."""
EMBEDDINGS: Service[EmbeddingRequest, EmbeddingResponse] = Service(
    name="embedding",
    noun="embeddings",
    span="embed",
    request_type=EmbeddingRequest,
    check=lambda request: refuse(field_problems(request)),  # the inputs are checked batch by batch
    priced=lambda provider, request, response: with_costs(response, request, request.inputs, provider),
    error_type=EmbeddingAdapterError,
    fields=frozenset({"dimensions", "task_type"}),
    arguments=frozenset({"batch_size", "max_concurrency", "on_progress"}),
)


def stream_embed(
    engine: Engine,
    inputs: EmbeddingInputs,
    *,
    dimensions: int | None = None,
    task_type: str | None = None,
    batch_size: int | None = None,
    max_concurrency: int = MAX_CONCURRENCY,
    on_progress: Progress | None = None,
    **options: Unpack[UnaryOptions],
) -> StreamBlock[EmbeddingStream]:
    """Embed any number of texts and read the vectors batch by batch, in the order of the texts.

        async with allm.stream_embed(engine, texts) as batches:
            async for batch in batches:
                save(batch.embeddings)

    An iterable is read only as far as batches are needed, and batches that were read are not kept: memory is bounded by
    `batch_size` and `max_concurrency`, however many texts there are. Leaving the block for any reason ends every
    request before the next statement runs; `batches.result()` has the finished embeddings that were not read.

    Args:
        engine: The engine, with an `embedding_adapter` and an `embedding_model`.
        inputs: A text, an iterable of texts, or an `EmbeddingRequest`. An async iterable is read by a task of the
            block, which closes an async generator at the end; problems with its first batch are found when it is read.
        dimensions: Length of the vectors, where the model lets it be chosen.
        task_type: The purpose of the vectors: `query` or `document` with every provider; Gemini knows more.
        batch_size: Most inputs in one request, within the provider's own limit.
        max_concurrency: Most requests in flight at once.
        on_progress: Called with `(done, total)`, in inputs, after each batch; may be async. It runs in your task.
        options: See `UnaryOptions`. The time limit and the retries apply to the whole call, however many requests it
            makes.

    Raises:
        EngineError, OptionError, ValidationError: The call is invalid. Raised by this function, before anything is
            sent.
    """
    seal(options)
    fields = {"dimensions": dimensions, "task_type": task_type}
    call = resolve_unary(EMBEDDINGS, engine, {**options, **fields})
    for name, count in (("batch_size", batch_size), ("max_concurrency", max_concurrency)):
        _check_count(name, count)
    _check_progress(on_progress)
    request, source, total = _request_of(inputs)
    request = call.request_for(attrs.evolve(request, inputs=()))
    limits = _limits(call, request.model, batch_size)
    load_prices(call.adapter.provider)
    batches: Iterator[PreparedBatch] | AsyncBatches
    if isinstance(source, AsyncIterable):
        batches = AsyncBatches(source, limits)
    else:
        batches = _prepared(call, request, in_batches(source, limits))
    return open_embedding_stream(EmbeddingRun(call, request, batches, max_concurrency, total), on_progress)


async def embed(
    engine: Engine,
    inputs: EmbeddingInputs,
    *,
    dimensions: int | None = None,
    task_type: str | None = None,
    batch_size: int | None = None,
    max_concurrency: int = MAX_CONCURRENCY,
    on_progress: Progress | None = None,
    **options: Unpack[UnaryOptions],
) -> EmbeddingResponse:
    """Embed texts and wait for all vectors: the fold of `stream_embed` with the same arguments.

        response = await allm.embed(engine, ["first text", "second text"])
        first, second = response.vectors

    Raises:
        EmbeddingAdapterError: A request failed for good, which cancelled the others; `partial` has the finished
            embeddings.
        EngineError, OptionError, ValidationError: The call is invalid.
        Exception: Raised by the iterable of inputs or by `on_progress`.
    """
    seal(options)
    block = stream_embed(
        engine,
        inputs,
        dimensions=dimensions,
        task_type=task_type,
        batch_size=batch_size,
        max_concurrency=max_concurrency,
        on_progress=on_progress,
        **options,
    )
    async with block as batches:
        return await batches.until_done()


def _check_count(name: str, count: Any) -> None:
    if count is None and name == "batch_size":
        return
    if type(count) is not int:
        raise OptionError(f"option {name} is {type(count).__name__}; expected int", reason="invalid_type", option=name)
    if count < 1:
        problem = Problem((name,), "must_be_positive", f"is {shown(count)}; expected a number greater than 0")
        refuse([problem], reason="invalid_options")


def _check_progress(on_progress: Any) -> None:
    if on_progress is not None and not callable(on_progress):
        raise OptionError(
            f"option on_progress is {type(on_progress).__name__}; expected a function of (done, total)",
            reason="invalid_type",
            option="on_progress",
        )


def _request_of(
    inputs: Any,
) -> tuple[EmbeddingRequest, Iterable[EmbeddingInput] | AsyncIterable[EmbeddingInput], int | None]:
    """The request, the source of its inputs, and their number.

    A list is checked completely, so that no problem is found half-way; other iterables are read as needed.
    """
    if isinstance(inputs, AsyncIterable):
        return EmbeddingRequest(()), inputs, None
    if isinstance(inputs, list | tuple | str | Image):
        inputs = EmbeddingRequest(inputs)
    if isinstance(inputs, EmbeddingRequest):
        refuse(request_problems(inputs))
        return inputs, inputs.inputs, len(inputs.inputs)
    if not isinstance(inputs, Iterable) or isinstance(inputs, bytes | bytearray | Mapping):
        expected = "expected a text, an iterable of texts, or an EmbeddingRequest"
        refuse([Problem(("inputs",), "invalid_type", f"{type(inputs).__name__}; {expected}")])
    return EmbeddingRequest(()), inputs, len(inputs) if isinstance(inputs, Sized) else None


def _prepared(
    call: UnaryCall[EmbeddingRequest, Any], request: EmbeddingRequest, batches: Iterator[Batch]
) -> Iterator[PreparedBatch]:
    """The batches with their requests; the first is prepared at once, so that its problems are raised by the call.

    Raises:
        ValidationError: There are no inputs, or an input cannot be embedded.
    """
    prepared = (prepare_batch(call, request, batch) for batch in batches)
    first = list(islice(prepared, 1))
    if not first:
        refuse(request_problems(request))
    return chain(first, prepared)


def _limits(call: UnaryCall[Any, Any], model: str | None, batch_size: int | None) -> BatchLimits:
    limits = as_adapter(call.adapter).batch_limits(model)
    return limits if batch_size is None else attrs.evolve(limits, inputs=min(limits.inputs, batch_size))
