"""Speech of a text that is still arriving: one request for each piece of it, in order.

Three work at the same time: whoever writes the text, the request whose audio is read, and the next one, which is made
while the former plays. There are never more than two requests, and each holds back when its audio is not read.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

import attrs
import trio

from allm.data.attrs_classes import define
from allm.data.errors import AdapterError
from allm.data.speech import SpeechRequest
from allm.data.wav import WavJoin
from allm.execution.services.sentences import Sentences
from allm.execution.services.unary import UnaryCall, typed
from allm.runtime import telemetry
from allm.runtime.adapters import SpokenAnswer

if TYPE_CHECKING:
    from allm.execution.services.charging import ServiceCharge

__all__ = ["ArrivingSpeech", "begin_speech"]

AHEAD = 64
"""Pieces of audio of the next request that are kept while the former plays; one is some kilobytes."""
CLEANUP_SECONDS = 1.0

_Part = trio.MemoryReceiveChannel[bytes | Exception]


async def begin_speech(
    call: UnaryCall[Any, Any],
    prepared: Any,
    span: telemetry.Span,
    stack: AsyncExitStack,
    place: ExitStack,
    charge: ServiceCharge | None,
) -> tuple[SpokenAnswer, bytes]:
    """Make one request, with retries until its first audio is there.

    Args:
        call: The resolved call.
        prepared: What its adapter made of the request.
        span: Of the call.
        stack: Keeps the answer open.
        place: Keeps the place at the engine's limiter.
        charge: What the request is charged to.

    Raises:
        AdapterError: The provider failed.
    """
    adapter: Any = call.adapter  # a `SpeechAdapter`

    async def begin() -> tuple[SpokenAnswer, bytes]:
        async with AsyncExitStack() as attempt:
            answer: SpokenAnswer = await attempt.enter_async_context(adapter.open(prepared))
            first = await anext(answer.pieces, b"")
            if not first:
                raise AdapterError("the response has no audio in it", reason="malformed_response")
            await stack.enter_async_context(attempt.pop_all())
        return answer, first

    with call.within_limit():
        begun: tuple[SpokenAnswer, bytes] = await call.attempt(
            begin, span, prepared=prepared, after=place, charge=charge
        )
    if charge is not None:
        place.callback(charge.end, begun[0].usage)
    return begun


@define(eq=False)
class ArrivingSpeech:
    """The audio of a text that is still arriving, as one stream of bytes.

    Attributes:
        answers: To the requests that have begun.
        said: How many characters each of them says.
    """

    _call: UnaryCall[Any, Any]
    _request: SpeechRequest  # what each piece is asked for with
    _texts: AsyncIterable[str]
    _span: telemetry.Span
    answers: list[SpokenAnswer] = attrs.field(factory=list[SpokenAnswer], init=False)
    said: list[int] = attrs.field(factory=list[int], init=False)
    _failure: Exception | None = attrs.field(default=None, init=False)  # of the text, or of a request before its audio
    _wav: WavJoin | None = attrs.field(default=None, init=False)
    _part: _Part | None = attrs.field(default=None, init=False)
    _begun: trio.MemorySendChannel[_Part] = attrs.field(init=False)
    _parts: trio.MemoryReceiveChannel[_Part] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._begun, self._parts = trio.open_memory_channel[_Part](0)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """The next piece of audio.

        Raises:
            AdapterError: A request failed.
            Exception: Whatever the text raised, after what was said before it.
        """
        while True:
            if self._part is None and not await self._next_part():
                raise StopAsyncIteration
            item = await self._next_item()
            if isinstance(item, Exception):
                raise item
            if item:
                return item

    async def _next_part(self) -> bool:
        try:
            self._part = await self._parts.receive()
        except trio.EndOfChannel:
            if self._failure is not None:
                raise self._failure from self._failure.__cause__
            return False
        if self._wav is None and self.answers[0].mime_type == "audio/wav":
            self._wav = WavJoin()  # else players would stop at the end of the first file
        return True

    async def _next_item(self) -> bytes | Exception:
        assert self._part is not None  # noqa: S101  (the loop's condition)
        try:
            item = await self._part.receive()
        except trio.EndOfChannel:
            self._part = None
            return b"" if self._wav is None else self._wav.next_file()
        return item if self._wav is None or isinstance(item, Exception) else self._wav.feed(item)

    async def run(self, nursery: trio.Nursery) -> None:
        """Read the text and make the requests; a failure is raised where the audio is read."""
        with self._begun:
            try:
                await self._speak_all(nursery)
            except Exception as error:
                self._failure = error
            finally:
                texts: Any = self._texts
                if inspect.isasyncgen(texts):
                    with trio.move_on_after(CLEANUP_SECONDS, shield=True):
                        await texts.aclose()

    async def _speak_all(self, nursery: trio.Nursery) -> None:
        sentences = Sentences()
        async for text in self._texts:
            for piece in sentences.feed(text):
                await self._speak(piece, nursery)
        for piece in sentences.rest():
            await self._speak(piece, nursery)

    async def _speak(self, text: str, nursery: trio.Nursery) -> None:
        request = attrs.evolve(self._request, text=text)
        prepared, charge = self._call.prepare(request), self._call.charge(request)
        spoken, part = trio.open_memory_channel[bytes | Exception](AHEAD)
        # They begin one after the other: with an engine that makes one request at a time, the earlier has the place.
        self.said.append(len(text))
        await nursery.start(self._play, prepared, charge, spoken, name="allm speech of a piece")
        await self._begun.send(part)

    async def _play(  # noqa: ASYNC114  (it has no context manager that starts it)
        self,
        prepared: Any,
        charge: ServiceCharge | None,
        spoken: trio.MemorySendChannel[bytes | Exception],
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        """Make one request and pass its audio on; what goes wrong before the audio is raised by `start`."""
        with spoken, ExitStack() as place:
            async with AsyncExitStack() as stack:
                try:
                    answer, piece = await begin_speech(self._call, prepared, self._span, stack, place, charge)
                except AdapterError as error:
                    raise typed(error, self._call.error_type) from error.__cause__
                self.answers.append(answer)
                task_status.started()
                try:
                    while piece:
                        await spoken.send(piece)
                        piece = await self._next_piece(answer)
                except Exception as error:
                    await spoken.send(error)

    async def _next_piece(self, answer: SpokenAnswer) -> bytes:
        call = self._call
        limit = call.execution_options.first_event_timeout
        with call.within_limit(), trio.move_on_after(float("inf") if limit is None else limit):
            return await anext(answer.pieces, b"")
        raise call.error_type(
            f"no more audio for {limit} s (first_event_timeout)", reason="timeout", provider=call.adapter.provider
        )
