"""The conformance suites for adapters of speech and of transcription, whole and as it arrives."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Sequence
from typing import Any, ClassVar, get_args

import attrs
import trio

from allm.data.audio import Audio
from allm.data.errors import AdapterError
from allm.data.json.codec import from_json, to_json
from allm.data.speech import Speech, SpeechRequest, Transcription, TranscriptionRequest
from allm.data.transcription_events import TranscriptionCompleted, TranscriptionDelta
from allm.execution.services.speech import stream_synthesize, synthesize
from allm.execution.services.transcription import transcribe
from allm.execution.services.transcription_stream import stream_transcribe
from allm.runtime.engine import Engine
from allm.testing.conformance.checks import holds, same
from allm.testing.conformance.lifetime_cases import settled
from allm.testing.conformance.unary_cases import ServiceCapability, UnaryCases, unary_case
from allm.testing.faults import Cut, Stall
from allm.testing.replies import Reply

__all__ = ["SpeechAdapterConformance", "TranscriptionAdapterConformance"]

SAID = "A conformance sentence 7f3a."
SENTENCES = ("The first sentence is 81c0. ", "And the second sentence is 52de.")
# Longer than what a client may hold back, and without the halves of a sample.
SOUND = bytes(range(256)) * 64
HEARD = ("a conformance", " text \u00e4 \U0001f98a", " 7f3a")
RECORDING = Audio(b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(range(256)), "audio/wav")


@attrs.define
class _Arriving:
    _left: list[str]

    def __aiter__(self) -> AsyncIterator[str]:
        return self

    async def __anext__(self) -> str:
        await trio.lowlevel.checkpoint()
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


class SpeechAdapterConformance(UnaryCases):
    """Cases for adapters of speech. Subclass it, define `make_adapter` and `make_reply`, and run pytest.

    Attributes:
        model: A model id for the requests.
        options: Options of every call, such as a `voice` that the provider insists on.
        lacks: Capabilities that the adapter lacks, each with the reason that is shown for the skipped cases:

            - `http`: it uses HTTP, at `setup.base_url`
            - `api_key`: it sends `setup.api_key` in a header
            - `streaming`: the audio is the body of the response, so that pieces of it can be read as they arrive
    """

    options: ClassVar[dict[str, Any]] = {}
    _slot = "speech"
    _capabilities: ClassVar[Sequence[str]] = get_args(ServiceCapability)[:3]
    _unusable = (b"",)  # whatever else comes as audio is audio
    _shows_its_end = False

    def make_reply(self, sound: bytes) -> Reply:
        """An answer with this audio, as the provider would send it."""
        raise NotImplementedError(self._undefined("make_reply(self, sound)"))

    def _request(self) -> SpeechRequest:
        return SpeechRequest(SAID, model=self.model, **self.options)

    async def _ask(self, engine: Engine, **options: Any) -> Speech:
        return await synthesize(engine, SAID, **self.options, **options)

    def _sample(self) -> Reply:
        return self._reply(SOUND)

    def _reply(self, sound: bytes) -> Reply:
        return Reply() if "http" in self.lacks else self.make_reply(sound)

    @unary_case()
    async def test_the_audio_arrives(self) -> None:
        """All of it, with its type, and the result survives JSON."""
        async with self._playing(self._sample()) as stage:
            speech = await self._ask(stage.engine)
            holds(speech.complete, "the result of a whole call is not complete")
            holds(speech.audio.to_bytes(), "the audio has no bytes")
            holds(speech.audio.mime_type, "the audio has no mime_type")
            same(from_json(to_json(speech)), speech, "the result against itself after JSON")
            if "http" not in self.lacks:
                holds(SOUND in speech.audio.to_bytes(), "the audio that was sent is not in the audio that came")
                [request] = stage.server.requests
                holds(SAID.encode() in request.body, "the text is not in the request")

    @unary_case("http", "streaming")
    async def test_pieces_can_be_read_before_the_end(self) -> None:
        """What arrived before a failure is in the result, which is not complete."""
        half = len(self._sample().body) // 2
        async with self._playing(attrs.evolve(self._sample(), fault=Stall(half))) as stage:
            pieces: list[bytes] = []
            async with stream_synthesize(stage.engine, SAID, first_event_timeout=20, **self.options) as speech:
                try:
                    async for piece in speech:
                        pieces.append(piece)  # noqa: PERF401  (kept when it fails)
                except AdapterError as error:
                    same(error.reason, "timeout", "the reason of a silence in the middle")
                else:
                    raise AssertionError("half of the audio was taken for all of it")
                same(speech.result().audio.to_bytes(), b"".join(pieces), "the result against the pieces")
                holds(pieces and not speech.result().complete, "half of the audio is no result that is not complete")

    @unary_case("http", "streaming")
    async def test_leaving_the_block_closes_the_connection(self) -> None:
        """Before the next statement runs, in the middle of the audio."""
        half = len(self._sample().body) // 2
        async with self._playing(attrs.evolve(self._sample(), fault=Stall(half))) as stage:
            async with stream_synthesize(stage.engine, SAID, **self.options) as speech:
                await anext(speech)
            await settled(stage.server)

    @unary_case()
    async def test_a_text_that_is_still_arriving_is_said(self) -> None:
        """All of it, in its order."""
        async with self._playing(*[self._sample() for _ in SENTENCES]) as stage:
            speech = await synthesize(stage.engine, _Arriving(list(SENTENCES)), **self.options)
            holds(speech.complete, "the result is not complete")
            if "http" not in self.lacks:
                sent = b"".join(request.body for request in stage.server.requests)
                places = [sent.find(sentence.strip().encode()) for sentence in SENTENCES]
                holds(-1 not in places and places == sorted(places), "a sentence is missing, or not in its place")


class TranscriptionAdapterConformance(UnaryCases):
    """Cases for adapters of transcription. Subclass it, define `make_adapter` and `make_reply`, and run pytest.

    Attributes:
        model: A model id for the requests.
        options: Options of every call, such as a `language` that the provider insists on.
        lacks: Capabilities that the adapter lacks, each with the reason that is shown for the skipped cases:

            - `http`: it uses HTTP, at `setup.base_url`
            - `api_key`: it sends `setup.api_key` in a header
            - `streaming`: it has `prepare_stream` and `open`; define `make_stream` too
    """

    options: ClassVar[dict[str, Any]] = {}
    _slot = "transcription"
    _capabilities: ClassVar[Sequence[str]] = get_args(ServiceCapability)[:3]

    def make_reply(self, text: str) -> Reply:
        """An answer with this text, as the provider would send it."""
        raise NotImplementedError(self._undefined("make_reply(self, text)"))

    def make_stream(self, pieces: Sequence[str]) -> Reply:
        """A streamed answer with these pieces of a text, as the provider would send it."""
        raise NotImplementedError(self._undefined("make_stream(self, pieces)", "streaming"))

    def _request(self) -> TranscriptionRequest:
        return TranscriptionRequest(RECORDING, model=self.model, **self.options)

    async def _ask(self, engine: Engine, **options: Any) -> Transcription:
        return await transcribe(engine, RECORDING, **self.options, **options)

    def _sample(self) -> Reply:
        return Reply() if "http" in self.lacks else self.make_reply("".join(HEARD))

    @unary_case()
    async def test_the_text_arrives(self) -> None:
        """With any character; the audio is in the request, and the result survives JSON."""
        async with self._playing(self._sample()) as stage:
            heard = await self._ask(stage.engine)
            holds(heard.complete and heard.text, "the result is not complete, or has no text")
            same(from_json(to_json(heard)), heard, "the result against itself after JSON")
            if "http" not in self.lacks:
                same(heard.text, "".join(HEARD), "the text")
                sent = b"".join(request.body for request in stage.server.requests)
                sound = RECORDING.to_bytes()
                holds(sound in sent or base64.b64encode(sound) in sent, "the audio is not in the request")

    @unary_case()
    async def test_the_events_are_the_text(self) -> None:
        """Of a model that answers in one piece too; the whole transcription is the last of them."""
        streamed = "http" not in self.lacks and "streaming" not in self.lacks
        async with self._playing(self.make_stream(HEARD) if streamed else self._sample()) as stage:
            async with stream_transcribe(stage.engine, RECORDING, **self.options) as events:
                seen = [event async for event in events]
            holds(isinstance(seen[-1], TranscriptionCompleted), "the last event is not TranscriptionCompleted")
            result = events.result()
            holds(result.complete, "the result of the whole stream is not complete")
            deltas = [event.text for event in seen if isinstance(event, TranscriptionDelta)]
            same("".join(deltas) or result.text, result.text, "the pieces against the text")
            if "http" not in self.lacks:
                same(result.text, "".join(HEARD), "the text")

    @unary_case("http", "streaming")
    async def test_a_truncated_stream_is_never_a_success(self) -> None:
        """Wherever it is cut; what had arrived is in the result."""
        reply = self.make_stream(HEARD)
        for after in sorted({0, len(reply.body) // 3, len(reply.body) // 2}):
            async with self._playing(attrs.evolve(reply, fault=Cut(after))) as stage:
                try:
                    async with stream_transcribe(stage.engine, RECORDING, **self.options) as events:
                        async for _ in events:
                            pass
                except AdapterError:
                    continue
                raise AssertionError(f"a stream that was cut after {after} bytes is a success: {events.result()!r}")
