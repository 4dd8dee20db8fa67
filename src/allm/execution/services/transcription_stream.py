"""`stream_transcribe`: a transcription as it arrives."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Unpack, final

import attrs

from allm.data.attrs_classes import define
from allm.data.audio import Audio
from allm.data.errors import AdapterError
from allm.data.speech import Transcription, TranscriptionRequest
from allm.data.transcript_parts import TranscriptionPart
from allm.data.transcription_events import (
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionEvent,
    TranscriptionSegment,
)
from allm.execution.services.reading import Reading
from allm.execution.services.transcription import TRANSCRIPTION, TranscriptionOptions, priced
from allm.execution.services.unary import UnaryCall, resolve_unary
from allm.execution.stream.block import StreamBlock
from allm.runtime import telemetry
from allm.runtime.adapters import StreamedTranscription
from allm.runtime.costs import load_prices
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal

if TYPE_CHECKING:
    from allm.execution.services.charging import ServiceCharge

__all__ = ["TranscriptionStream", "in_one_piece", "stream_transcribe"]

EXAMPLE = """\
async with allm.stream_transcribe(...) as events:
    async for event in events: ..."""


@final
@define(eq=False)
class TranscriptionStream:
    """A transcription as it arrives: `async for event in events`.

    The events are `TranscriptionDelta` or `TranscriptionSegment`, as the model has it, then `TranscriptionCompleted`.
    A failure in the middle is raised while reading. `result()` has what arrived, at any time.
    """

    _request: TranscriptionRequest
    _call: UnaryCall[Any, Any]
    _reading: Reading[TranscriptionEvent]
    _request_id: str | None = attrs.field(default=None, init=False)
    _texts: list[str] = attrs.field(factory=list[str], init=False)
    _segments: list[TranscriptionPart] = attrs.field(factory=list[TranscriptionPart], init=False)
    _whole: Transcription | None = attrs.field(default=None, init=False)

    def __aiter__(self) -> AsyncIterator[TranscriptionEvent]:
        return self

    async def __anext__(self) -> TranscriptionEvent:
        """The next event.

        Raises:
            AdapterError: The provider failed, or a limit passed.
            StreamError: Used outside its block, by two tasks at once, or after an event that was not read to its end.
        """
        event = await self._reading.next()
        if isinstance(event, TranscriptionDelta):
            self._texts.append(event.text)
        elif isinstance(event, TranscriptionSegment):
            self._segments.append(event.segment)
        else:
            self._whole = self._finished(event.transcription)
            event = TranscriptionCompleted(self._whole)
        return event

    def _finished(self, whole: Transcription) -> Transcription:
        found = priced(self._call, self._request, whole)
        metadata = {**self._request.metadata, **found.metadata}
        return attrs.evolve(found, request_id=found.request_id or self._request_id, metadata=metadata)

    def result(self) -> Transcription:
        """The transcription read so far; `complete` says whether it is all of it."""
        if self._whole is not None:
            return self._whole
        text = "".join(self._texts) or "".join(segment.text for segment in self._segments).lstrip()
        return Transcription(
            text=text,
            segments=tuple(self._segments),
            model=self._request.model,
            request_id=self._request_id,
            complete=False,
            metadata=self._request.metadata,
        )


def stream_transcribe(
    engine: Engine,
    audio: Audio | str | os.PathLike[str] | TranscriptionRequest,
    **options: Unpack[TranscriptionOptions],
) -> StreamBlock[TranscriptionStream]:
    """Transcribe audio and read the text as it arrives.

        async with allm.stream_transcribe(engine, "meeting.mp3") as events:
            async for event in events:
                if isinstance(event, allm.TranscriptionDelta):
                    print(event.text, end="")

    Models that tell speakers apart give whole segments. A model that answers in one piece gives its segments, or its
    text as one delta, when all of it is there. Leaving the block for any reason closes the connection before the next
    statement runs. A request is retried only until its first event has arrived.

    Args:
        engine: The engine, with a `transcription_adapter` and a `transcription_model`.
        audio: An `Audio`, the path of a file, or a whole `TranscriptionRequest`.
        options: See `TranscriptionOptions`; `first_event_timeout` is also the longest wait for the next event.

    Raises:
        EngineError, OptionError, ValidationError: The call is invalid. Raised by this function; nothing is sent.
        AdapterError: On entering or reading: the provider failed, or could not be reached in time.
    """
    seal(options)
    call = resolve_unary(TRANSCRIPTION, engine, options)
    request = call.request_for(TRANSCRIPTION.request_of(audio))
    load_prices(call.adapter.provider)
    adapter: Any = call.adapter
    if callable(getattr(adapter, "prepare_stream", None)):
        prepared = adapter.prepare_stream(request, call.adapter_options)
        opening = functools.partial(adapter.open, prepared)
    else:
        prepared = call.prepare(request)
        opening = functools.partial(in_one_piece, adapter, prepared)
    charge = call.charge(request)
    return StreamBlock(functools.partial(_opened, call, request, opening, prepared, charge), EXAMPLE)


@asynccontextmanager
async def in_one_piece(adapter: Any, prepared: Any) -> AsyncGenerator[StreamedTranscription]:
    """The answer of an adapter that cannot stream it."""
    whole: Transcription = await adapter.send(prepared)
    yield StreamedTranscription(events=_Given(events_of(whole)), request_id=whole.request_id)


def events_of(whole: Transcription) -> list[TranscriptionEvent]:
    """The events whose fold it is."""
    parts: list[TranscriptionEvent] = [TranscriptionSegment(segment) for segment in whole.segments]
    if not parts and whole.text:
        parts = [TranscriptionDelta(whole.text)]
    return [*parts, TranscriptionCompleted(whole)]


@define(eq=False)
class _Given:
    _left: list[TranscriptionEvent]

    def __aiter__(self) -> AsyncIterator[TranscriptionEvent]:
        return self

    async def __anext__(self) -> TranscriptionEvent:  # `Reading` checkpoints
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


@asynccontextmanager
async def _opened(
    call: UnaryCall[Any, Any], request: TranscriptionRequest, opening: Any, prepared: Any, charge: ServiceCharge | None
) -> AsyncGenerator[TranscriptionStream]:
    # The place at the limiter is held as long as the connection is in use: to the end of the answer or of the block.
    with call.started(model=request.model) as span, ExitStack() as place:
        reading: Reading[TranscriptionEvent] = Reading(call, place, "transcription", EXAMPLE)
        stream = TranscriptionStream(request, call, reading)
        async with call.surrounding(), AsyncExitStack() as stack:

            async def begin() -> tuple[StreamedTranscription, TranscriptionEvent]:
                async with AsyncExitStack() as attempt:
                    answer: StreamedTranscription = await attempt.enter_async_context(opening())
                    first = await anext(answer.events, None)
                    if first is None:
                        raise AdapterError("the response has no text in it", reason="malformed_response")
                    await stack.enter_async_context(attempt.pop_all())
                return answer, first

            with call.within_limit():
                answer, first = await call.attempt(begin, span, prepared=prepared, after=place, charge=charge)
            if charge is not None:
                place.callback(lambda: charge.end(stream.result().usage))
            stream._request_id = answer.request_id
            reading.begin(answer.events, first)
            try:
                yield stream
            finally:
                reading.end()
                if telemetry.handlers:
                    span.attributes.update(call.service.facts(request, stream.result()))
