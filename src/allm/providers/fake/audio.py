"""`FakeSpeech` and `FakeTranscription`: adapters that need no key and no network."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import final

import attrs
import trio

from allm.adapters import AdapterOptions, SpokenAnswer, StreamedTranscription
from allm.data.errors import AdapterError, AllmError
from allm.data.speech import SpeechRequest, Transcription, TranscriptionRequest
from allm.data.transcription_events import (
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionEvent,
    TranscriptionSegment,
)

__all__ = ["FakeSpeech", "FakeTranscription"]


@attrs.define
class _Pieces:
    _left: list[bytes | AllmError | float]

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while self._left:
            item = self._left.pop(0)
            if isinstance(item, bytes):
                return item
            if isinstance(item, AllmError):
                raise item
            await trio.sleep(item)
        raise StopAsyncIteration


@attrs.define
class _Events:
    _left: list[TranscriptionEvent]

    def __aiter__(self) -> AsyncIterator[TranscriptionEvent]:
        return self

    async def __anext__(self) -> TranscriptionEvent:
        await trio.lowlevel.checkpoint()
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


@final
class FakeSpeech:
    """Says the words of a text as pieces of bytes, or what its script says: bytes, seconds to wait, errors.

    Attributes:
        requests: What was asked, in order.
    """

    provider = "fake"
    requires_model = False

    def __init__(self, script: Iterable[bytes | AllmError | float] | None = None) -> None:
        self._script = None if script is None else list(script)
        self.requests: list[SpeechRequest] = []

    def prepare(self, request: SpeechRequest, _options: AdapterOptions) -> SpeechRequest:
        """Note the request."""
        self.requests.append(request)
        return request

    @asynccontextmanager
    async def open(self, prepared: SpeechRequest) -> AsyncGenerator[SpokenAnswer]:
        """Give the pieces; each call plays the whole script."""
        await trio.lowlevel.checkpoint()
        words: list[bytes | AllmError | float] = [f"{word} ".encode() for word in prepared.text.split()]
        yield SpokenAnswer(pieces=_Pieces(list(words if self._script is None else self._script)), mime_type="audio/wav")


@final
class FakeTranscription:
    """Answers one text after the other, or raises the errors in their place.

    Attributes:
        requests: What was asked, in order.
    """

    provider = "fake"
    requires_model = False

    def __init__(self, script: Iterable[str | Transcription | AllmError] = ()) -> None:
        self._script = list(script)
        self._next = 0
        self.requests: list[TranscriptionRequest] = []

    def prepare(self, request: TranscriptionRequest, _options: AdapterOptions) -> TranscriptionRequest:
        """Note the request."""
        self.requests.append(request)
        return request

    async def send(self, prepared: TranscriptionRequest) -> Transcription:
        """The next entry.

        Raises:
            AllmError: What the script says; `no_scripted_response` when it is used up.
        """
        await trio.lowlevel.checkpoint()
        return self._take(prepared)

    def prepare_stream(self, request: TranscriptionRequest, _options: AdapterOptions) -> TranscriptionRequest:
        """Note the request."""
        self.requests.append(request)
        return request

    @asynccontextmanager
    async def open(self, prepared: TranscriptionRequest) -> AsyncGenerator[StreamedTranscription]:
        """Give the next entry, its segments or else its words, one by one.

        Raises:
            AllmError: As `send`.
        """
        await trio.lowlevel.checkpoint()
        whole = self._take(prepared)
        words = re.findall(r"\s*\S+\s*$|\s*\S+|\s+", whole.text)
        parts: list[TranscriptionEvent] = [TranscriptionSegment(segment) for segment in whole.segments]
        parts = parts or [TranscriptionDelta(word) for word in words]
        yield StreamedTranscription(events=_Events([*parts, TranscriptionCompleted(whole)]))

    def _take(self, prepared: TranscriptionRequest) -> Transcription:
        if self._next >= len(self._script):
            raise AdapterError(
                f"FakeTranscription has no entry left for call number {len(self.requests)}: its script has "
                f"{len(self._script)}",
                reason="no_scripted_response",
                provider=self.provider,
            ).advised("; add one for each attempt")
        entry = self._script[self._next]
        self._next += 1
        if isinstance(entry, AllmError):
            raise entry
        return entry if isinstance(entry, Transcription) else Transcription(text=entry, model=prepared.model)
