"""`synthesize` and `stream_synthesize`: text to speech, whole or as it arrives."""

from __future__ import annotations

import functools
import os
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, final

import attrs

from allm.data.attrs_classes import define
from allm.data.audio import Audio
from allm.data.response import Usage
from allm.data.speech import Speech, SpeechRequest
from allm.execution.nurseries import nursery_boundary, start_task
from allm.execution.services.arriving_text import ArrivingSpeech, begin_speech
from allm.execution.services.reading import Reading
from allm.execution.services.service import Service, UnaryOptions, own_options
from allm.execution.services.unary import UnaryCall, resolve_unary
from allm.execution.stream.block import StreamBlock
from allm.http.jumping_clock import in_thread
from allm.runtime.adapters import SpokenAnswer
from allm.runtime.costs import load_prices
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal
from allm.runtime.service_costs import audio_usage

if TYPE_CHECKING:
    from allm.execution.services.charging import ServiceCharge

__all__ = ["SpeechOptions", "SpeechStream", "stream_synthesize", "synthesize"]


class SpeechOptions(UnaryOptions, total=False):
    """Options of speech: those of `UnaryOptions`, and the fields of `SpeechRequest` under the same names."""

    voice: str | None
    format: str | None
    speed: float | None
    instructions: str | None


SPEECH: Service[SpeechRequest, Speech] = Service(
    name="speech",
    noun="speech",
    span="speech",
    request_type=SpeechRequest,
    fields=own_options(SpeechOptions),
    method="open",
)
_ANY_TEXT = "-"
"""What the settings of a text that is still to come are checked with."""
EXAMPLE = """\
async with allm.stream_synthesize(...) as speech:
    async for piece in speech: ..."""


@final
@define(eq=False)
class SpeechStream:
    """The audio as it arrives: `async for piece in speech` gives bytes.

    A failure in the middle is raised while reading. `result()` has what arrived, at any time.
    """

    _request: SpeechRequest
    _reading: Reading[bytes]
    _call: UnaryCall[Any, Any]
    _answers: list[SpokenAnswer]
    _said: list[int]  # how many characters each answer says
    _pieces: list[bytes] = attrs.field(factory=list[bytes], init=False)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next piece.

        Raises:
            AdapterError: The provider failed, or a limit passed.
            StreamError: Used outside its block, by two tasks at once, or after a piece that was not read to its end.
        """
        piece = await self._reading.next()
        self._pieces.append(piece)
        return piece

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Read to the end and write each piece to `path` as it arrives.

        Raises:
            AdapterError: The provider failed; what arrived before is in the file.
            OSError: The file cannot be written.
        """
        target = Path(path)
        with await in_thread(lambda: target.open("wb"), abandon=False) as file:

            def write(pieces: Iterable[bytes]) -> None:
                file.writelines(pieces)
                file.flush()

            await in_thread(lambda: write(self._pieces), abandon=False)
            async for piece in self:
                await in_thread(functools.partial(write, [piece]), abandon=False)
        return target

    def result(self) -> Speech:
        """The audio read so far; `complete` says whether it is all of it."""
        answer = next(iter(self._answers), None)
        provider, model = self._call.adapter.provider, self._request.model
        usages = [
            audio_usage(provider, model, answer.usage or Usage(), characters=characters)
            for answer, characters in zip(self._answers, self._said, strict=False)
        ]
        return Speech(
            audio=Audio(b"".join(self._pieces), answer.mime_type if answer is not None else None),
            complete=self._reading.complete,
            model=model,
            usage=sum(usages, Usage()),
            request_id=answer.request_id if answer is not None else None,
            metadata=self._request.metadata,
        )


def stream_synthesize(
    engine: Engine, text: str | SpeechRequest | AsyncIterable[str], **options: Unpack[SpeechOptions]
) -> StreamBlock[SpeechStream]:
    """Synthesize speech and read the audio as it arrives.

        async with allm.stream_synthesize(engine, "Hello.", voice="alloy") as speech:
            async for piece in speech:
                player.write(piece)

    A text that is still arriving is said while it is written, such as a model's answer:

        async with allm.stream_generate(engine, "Tell me a story.") as events:
            async with allm.stream_synthesize(engine, events.text(), voice="alloy") as speech:
                async for piece in speech: ...

    Leaving the block for any reason closes the connection before the next statement runs. A request is retried only
    until audio has arrived.

    Args:
        engine: The engine, with a `speech_adapter` and a `speech_model`.
        text: What to say, or a whole `SpeechRequest`, or an async iterable of pieces of a text. Of that, each request
            says a sentence or several short ones, and the next request is made while the former is read.
        options: See `SpeechOptions`; `first_event_timeout` is also the longest wait for the next piece, and
            `request_timeout` ends a wait for the provider, never the code of the block.

    Raises:
        EngineError, OptionError, ValidationError: The call is invalid. Raised by this function; nothing is sent.
        AdapterError: On entering or reading: the provider failed, or could not be reached in time.
    """
    seal(options)
    call = resolve_unary(SPEECH, engine, options)
    load_prices(call.adapter.provider)
    if isinstance(text, AsyncIterable):
        request = call.request_for(SpeechRequest(_ANY_TEXT))
        return StreamBlock(functools.partial(_arriving, call, request, text), EXAMPLE)
    request = call.request_for(SPEECH.request_of(text))
    return StreamBlock(functools.partial(_opened, call, request, call.prepare(request), call.charge(request)), EXAMPLE)


async def synthesize(
    engine: Engine, text: str | SpeechRequest | AsyncIterable[str], **options: Unpack[SpeechOptions]
) -> Speech:
    """Synthesize speech: the fold of `stream_synthesize`.

        speech = await allm.synthesize(engine, "Hello.", voice="alloy")
        speech.audio.save("hello.mp3")

    Raises:
        AdapterError: The provider failed.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    async with stream_synthesize(engine, text, **options) as speech:
        async for _ in speech:
            pass
    return speech.result()


@asynccontextmanager
async def _opened(
    call: UnaryCall[Any, Any], request: SpeechRequest, prepared: Any, charge: ServiceCharge | None
) -> AsyncGenerator[SpeechStream]:
    # The place at the limiter is held as long as the connection is in use: to the end of the audio or of the block.
    with call.started(model=request.model) as span, ExitStack() as place:
        reading: Reading[bytes] = Reading(call, place, "audio", EXAMPLE)
        async with call.surrounding(), AsyncExitStack() as stack:
            answer, first = await begin_speech(call, prepared, span, stack, place, charge)
            reading.begin(answer.pieces, first)
            try:
                yield SpeechStream(request, reading, call, [answer], [len(request.text)])
            finally:
                reading.end()


@asynccontextmanager
async def _arriving(
    call: UnaryCall[Any, Any], request: SpeechRequest, texts: AsyncIterable[str]
) -> AsyncGenerator[SpeechStream]:
    with call.started(model=request.model) as span, ExitStack() as nothing:
        reading: Reading[bytes] = Reading(call, nothing, "audio", EXAMPLE, timed=False)
        spoken = ArrivingSpeech(call, request, texts, span)
        async with call.surrounding(), nursery_boundary() as nursery:
            start_task(nursery, spoken.run, nursery, name="allm speech")
            reading.begin(spoken)
            try:
                yield SpeechStream(request, reading, call, spoken.answers, spoken.said)
            finally:
                reading.end()
                nursery.cancel_scope.cancel()
