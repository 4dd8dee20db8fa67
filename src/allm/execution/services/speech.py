"""`synthesize` and `stream_synthesize`: text as sound, whole or as it arrives.

The pieces are read in the task that uses them, so that nothing runs beside it: who stops reading stops the provider.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Unpack, final

import attrs
import trio

from allm.data.audio import Audio, Speech, SpeechRequest, check_speech_request
from allm.data.errors import AdapterError, EngineError, StreamError
from allm.execution.services.unary import UnaryCall, UnaryOptions, resolve_unary, typed
from allm.runtime.adapters import SpokenAnswer, as_adapter
from allm.runtime.engine import Engine

__all__ = ["SpeechOptions", "SpeechStream", "stream_synthesize", "synthesize"]


class SpeechOptions(UnaryOptions, total=False):
    """Options of speech: those of `UnaryOptions`, and the fields of `SpeechRequest` under the same names."""

    voice: str | None
    format: str | None
    speed: float | None
    instructions: str | None


FIELDS = SpeechOptions.__annotations__.keys() - UnaryOptions.__annotations__.keys()


@final
class SpeechStream:
    """The audio as it arrives: `async for piece in speech` gives bytes.

    What went wrong in the middle is raised there; what had arrived is in `result()`, at any time.
    """

    def __init__(self, request: SpeechRequest, call: UnaryCall[Any, Any], place: ExitStack) -> None:
        self._request = request
        self._call = call
        self._place = place
        self._answer: SpokenAnswer | None = None
        self._first = b""
        self._pieces: list[bytes] = []
        self._complete = False
        self._interrupted = False
        self._reading = False
        self._open = False

    def _begin(self, answer: SpokenAnswer, first: bytes) -> None:
        self._answer, self._first, self._open = answer, first, True

    def _end(self) -> None:
        self._open = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next piece.

        Raises:
            AdapterError: The provider failed, or a limit passed.
            StreamError: Used outside its block, by two tasks at once, or after a piece that was not read to its end.
        """
        answer = self._readable()
        self._reading = True
        try:
            # Pieces that wait in the HTTP library's buffer come without one.
            await trio.lowlevel.checkpoint()
            piece, self._first = self._first, b""
            if not piece and not self._complete:
                piece = await self._next(answer)
        finally:
            self._reading = False
        if not piece:
            self._complete = True
            self._place.close()
            raise StopAsyncIteration
        self._pieces.append(piece)
        return piece

    def _readable(self) -> SpokenAnswer:
        if not self._open or self._answer is None:
            raise StreamError("the audio is read inside `async with allm.stream_synthesize(...)`", reason="closed")
        if self._reading:
            raise StreamError(
                "the audio is being read by another task; it has one reader: pass the pieces on through a channel",
                reason="concurrent_iteration",
            )
        if self._interrupted:
            raise StreamError(
                "reading was cut short by a failure or a cancel, so the rest of the audio is lost; result() has what "
                "came before",
                reason="closed",
            )
        return self._answer

    async def _next(self, answer: SpokenAnswer) -> bytes:
        limit = self._call.controls.first_event_timeout
        self._interrupted = True  # a cancelled read has lost its place in the body
        try:
            with self._call.within_limit(), trio.move_on_after(float("inf") if limit is None else limit):
                piece = await anext(answer.pieces, b"")
                self._interrupted = False
                return piece
        except AdapterError as error:
            raise typed(error, self._call.error_type) from error.__cause__
        raise self._call.error_type(
            f"no more audio for {limit} s (first_event_timeout)", reason="timeout", provider=self._call.adapter.provider
        )

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Read to the end, and write each piece to `path` as it arrives.

        Raises:
            AdapterError: The provider failed; what had arrived is in the file.
            OSError: The file cannot be written.
        """
        async with await trio.open_file(path, "wb") as file:
            for piece in self._pieces:
                await file.write(piece)
            async for piece in self:
                await file.write(piece)
                await file.flush()
        return Path(path)

    def result(self) -> Speech:
        """What has been read so far; `complete` says whether that is all."""
        answer = self._answer
        return Speech(
            audio=Audio(b"".join(self._pieces), answer.mime_type if answer is not None else None),
            complete=self._complete,
            model=self._request.model,
            request_id=answer.request_id if answer is not None else None,
            metadata=self._request.metadata,
        )


def stream_synthesize(
    engine: Engine, text: str | SpeechRequest, **options: Unpack[SpeechOptions]
) -> AbstractAsyncContextManager[SpeechStream]:
    """Say something, and take the audio as it arrives.

        async with allm.stream_synthesize(engine, "Hello.", voice="alloy") as speech:
            async for piece in speech:
                player.write(piece)

    Leaving the block for any reason closes the connection before the next statement runs. A request is repeated only
    while no audio has come.

    Args:
        engine: Who speaks: its `speech_adapter`, with its `speech_model`.
        text: What to say, or a whole request.
        options: See `SpeechOptions`; `first_event_timeout` is also the longest wait for the next piece, and
            `request_timeout` ends waiting for the provider, never the code of the block.

    Raises:
        EngineError, OptionError, ValidationError: What is wrong with the call, at the call itself; nothing is sent.
        AdapterError: Entering or reading: the provider failed, or could not be reached in time.
    """
    request = text if isinstance(text, SpeechRequest) else SpeechRequest(text)
    call, request = _resolved(engine, request, options)
    return _opened(call, request, call.adapter.prepare(request, call.adapter_options))


async def synthesize(engine: Engine, text: str | SpeechRequest, **options: Unpack[SpeechOptions]) -> Speech:
    """Say something: the fold of `stream_synthesize`.

        speech = await allm.synthesize(engine, "Hello.", voice="alloy")
        speech.audio.save("hello.mp3")

    Raises:
        AdapterError: The provider failed.
        EngineError, OptionError, ValidationError: What is wrong with the call; nothing has been sent.
    """
    async with stream_synthesize(engine, text, **options) as speech:
        async for _ in speech:
            pass
    return speech.result()


def _resolved(
    engine: Engine, request: SpeechRequest, options: Mapping[str, Any]
) -> tuple[UnaryCall[Any, Any], SpeechRequest]:
    given = {name: value for name, value in options.items() if name in FIELDS and value is not None}
    others = {name: value for name, value in options.items() if name not in FIELDS}
    call = resolve_unary(engine, "speech", others, also=FIELDS, method="open")
    model = call.model or request.model or engine.speech_model
    request = attrs.evolve(request, **given, model=model, options={**request.options, **call.body})
    check_speech_request(request)
    if model is None and as_adapter(call.adapter).requires_model:
        raise EngineError(
            "no model for speech is given: pass model=, set Engine(speech_model=...), or use "
            "engine.with_services(speech_model='provider:model')",
            reason="missing_model",
        )
    return call, request


@asynccontextmanager
async def _opened(call: UnaryCall[Any, Any], request: SpeechRequest, prepared: Any) -> AsyncGenerator[SpeechStream]:
    adapter: Any = call.adapter  # a `SpeechAdapter`
    # The place at the limiter is kept as long as the connection is in use: to the end of the audio or of the block.
    with call.started(model=request.model) as span, ExitStack() as place:
        stream = SpeechStream(request, call, place)
        async with AsyncExitStack() as stack:

            async def begin() -> tuple[SpokenAnswer, bytes]:
                async with AsyncExitStack() as attempt:
                    answer: SpokenAnswer = await attempt.enter_async_context(adapter.open(prepared))
                    first = await anext(answer.pieces, b"")
                    if not first:
                        raise AdapterError("the answer has no audio in it", reason="malformed_response")
                    await stack.enter_async_context(attempt.pop_all())
                return answer, first

            with call.within_limit():
                opened = await call.attempt(begin, span, after=place)
            stream._begin(*opened)
            try:
                yield stream
            finally:
                stream._end()
