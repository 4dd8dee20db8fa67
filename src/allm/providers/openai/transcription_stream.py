"""The events of a transcription that OpenAI streams.

They have no `event:` lines, and end with `[DONE]`. Models that tell speakers apart send segments, the others deltas.
whisper-1 ignores that it was asked to stream: its answer is the document of any other call. Mistral has the same events
under other names (`transcription.segment`), and one for the language.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import attrs

from allm.adapters import (
    JsonTextError,
    OpenCall,
    SSEDecoder,
    as_object,
    as_text,
    loads,
    malformed,
)
from allm.data.errors import AdapterError
from allm.data.speech import Transcription
from allm.data.transcript_parts import TranscriptionPart
from allm.data.transcription_events import (
    TranscriptionCompleted,
    TranscriptionDelta,
    TranscriptionEvent,
    TranscriptionSegment,
)
from allm.providers.openai.transcription import decode_segment, decode_transcription

__all__ = ["TranscriptEvents"]

MOST_BYTES = 64 * 1024 * 1024
"""Of an answer in one piece; an hour of words with their times has about one megabyte."""


@attrs.define(eq=False)
class TranscriptEvents:
    """The events of one answer.

    Attributes:
        opened: Its call.
        chunks: Its body.
        model: What was asked for.
    """

    opened: OpenCall
    chunks: AsyncIterator[bytes]
    model: str | None
    _sse: SSEDecoder = attrs.field(factory=SSEDecoder, init=False)
    _segments: list[TranscriptionPart] = attrs.field(factory=list[TranscriptionPart], init=False)
    _ready: deque[TranscriptionEvent] = attrs.field(factory=deque[TranscriptionEvent], init=False)
    _begun: bool = attrs.field(default=False, init=False)
    _language: str | None = attrs.field(default=None, init=False)
    _error: AdapterError | None = attrs.field(default=None, init=False)
    _done: bool = attrs.field(default=False, init=False)

    def __aiter__(self) -> AsyncIterator[TranscriptionEvent]:
        return self

    async def __anext__(self) -> TranscriptionEvent:
        """The next event.

        Raises:
            AdapterError: The service failed, or its answer cannot be read.
        """
        try:
            while not (self._ready or self._done or self._error):
                chunk = await anext(self.chunks, None)
                if chunk is None:
                    self._feed(self._sse.close())
                    break
                if not self._begun:
                    self._begun = bool(chunk.strip())
                    if chunk.lstrip()[:1] == b"{":
                        await self._document(chunk)
                        break
                self._feed(self._sse.feed(chunk))
        except AdapterError as error:
            self._error = self.opened.annotate(error)
        if self._ready:  # also what came before the failure
            return self._ready.popleft()
        if self._error is not None:
            raise self._error from self._error.__cause__
        if not self._done:
            cut = AdapterError("the transcription ended before its last event", reason="stream_truncated")
            raise self.opened.annotate(cut)
        raise StopAsyncIteration

    async def _document(self, head: bytes) -> None:
        pieces, size = [head], len(head)
        async for chunk in self.chunks:
            pieces.append(chunk)
            size += len(chunk)
            if size > MOST_BYTES:
                raise malformed(self.opened.call.provider, f"the answer is longer than {MOST_BYTES} bytes", head)
        document = self._parsed(b"".join(pieces))
        self._refuse_error(document)
        whole = decode_transcription(document, provider=self.opened.call.provider, model=self.model)
        self._ready.extend(TranscriptionSegment(segment) for segment in whole.segments)
        if not whole.segments and whole.text:
            self._ready.append(TranscriptionDelta(whole.text))
        self._finish(whole)

    def _feed(self, events: Any) -> None:
        for _, data in events:
            if self._done or not data.strip() or data.strip() == b"[DONE]":
                continue
            self._event(self._parsed(data))

    def _parsed(self, data: bytes) -> dict[str, Any]:
        try:
            document = loads(data)
        except JsonTextError as error:
            raise malformed(self.opened.call.provider, f"expected JSON ({error})", data[:1000]) from error
        return as_object(document)

    def _event(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind in {"transcript.text.delta", "transcription.text.delta"}:
            self._ready.append(TranscriptionDelta(as_text(event.get("delta", event.get("text"))) or ""))
        elif kind in {"transcript.text.segment", "transcription.segment"}:
            segment = decode_segment(event)
            self._segments.append(segment)
            self._ready.append(TranscriptionSegment(segment))
        elif kind == "transcription.language":
            self._language = as_text(event.get("audio_language"))
        elif kind in {"transcript.text.done", "transcription.done"}:
            whole = decode_transcription(event, provider=self.opened.call.provider, model=self.model)
            self._finish(
                attrs.evolve(
                    whole, segments=whole.segments or tuple(self._segments), language=whole.language or self._language
                )
            )
        else:
            self._refuse_error(event)  # other events are new ones, which say nothing of the text

    def _refuse_error(self, event: dict[str, Any]) -> None:
        if event.get("type") == "error" or event.get("error"):
            error = self.opened.call.classify(self.opened.response.status, self.opened.headers, event)
            error.status = None  # it was one of success
            raise error

    def _finish(self, whole: Transcription) -> None:
        self._ready.append(TranscriptionCompleted(whole))
        self._done = True
