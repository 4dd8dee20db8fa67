"""OpenAI's transcription: POST /audio/transcriptions.

Facts: https://platform.openai.com/docs/api-reference/audio/createTranscription. Times need `verbose_json`, which only
whisper-1 has; the models that tell speakers apart need `diarized_json` and a chunking strategy. Mistral has a field for
speakers and no formats (https://docs.mistral.ai/capabilities/audio_transcription).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any, final

import attrs

from allm.adapters import (
    AdapterOptions,
    HttpCall,
    JsonResponse,
    Problem,
    StreamedTranscription,
    TranscriptionAdapter,
    as_count,
    as_number,
    as_object,
    as_objects,
    as_text,
    explains_settings,
    file_field,
    form_fields,
    multipart,
    open_call,
    post_json,
    refuse,
    transcription_part,
    unsupported_fields,
)
from allm.data.errors import AdapterError
from allm.data.response import Usage
from allm.data.speech import Transcription, TranscriptionRequest
from allm.data.transcript_parts import TranscriptionPart
from allm.providers.openai.connection import Connection
from allm.providers.openai.form_encode import streaming_problems
from allm.providers.openai.presets import OPENAI_ITSELF
from allm.providers.openai.shared_encode import own_name

__all__ = [
    "OpenAITranscription",
    "decode_segment",
    "decode_transcription",
    "decode_usage",
    "encode_transcription",
]

MOST_BYTES = 25 * 1024 * 1024
WITHOUT_TIMES = "gpt-4o"
MISTRAL = "mistral"
STREAMS = OPENAI_ITSELF | {MISTRAL}
DIARIZES = "diarize"
PLAIN = frozenset({"text", "srt", "vtt"})
FORMATS = frozenset({"audio/mpeg", "audio/mp4", "audio/wav", "audio/webm", "audio/flac", "audio/ogg"})


def encode_transcription(
    request: TranscriptionRequest, provider: str = "openai", *, limits_bind: bool = True
) -> dict[str, Any]:
    """The fields of the form beside the file; `request.options` win.

    Args:
        request: What is to be heard.
        provider: Whose format it is.
        limits_bind: Whether it goes to OpenAI itself.

    Raises:
        ValidationError: What OpenAI does not take, or no call could read the answer to; all problems at once.
    """
    model = own_name(request.model)
    refuse(
        [
            *(_of_the_audio(request) if limits_bind else ()),
            *(_of_mistral(request) if provider == MISTRAL else _of_the_model(request, model)),
            *_of_the_options(request),
        ]
    )
    body: dict[str, Any] = {"model": request.model}
    if provider == MISTRAL:
        times = request.timestamps or (("segment",) if request.diarize else ())  # it has speakers of segments only
        body.update({"diarize": request.diarize, "timestamp_granularities": list(times)})
    elif DIARIZES in model and request.diarize is not False:
        body.update(response_format="diarized_json", chunking_strategy="auto")
    elif request.timestamps:
        body.update({"response_format": "verbose_json", "timestamp_granularities": list(request.timestamps)})
    else:
        body["response_format"] = "json"
    optional = {"language": request.language, "prompt": request.prompt, "temperature": request.temperature}
    return {**body, **{name: value for name, value in optional.items() if value is not None}, **request.options}


def _of_the_audio(request: TranscriptionRequest) -> Iterator[Problem]:
    audio = request.audio
    if len(audio.data) > MOST_BYTES:
        sentence = f"{len(audio.data)} bytes; OpenAI takes {MOST_BYTES} in a call, so send it in parts or compressed"
        yield Problem(("audio",), "too_large", sentence)
    if audio.mime_type is not None and audio.mime_type not in FORMATS:
        sentence = f"OpenAI does not take {audio.mime_type}; convert it to one of {', '.join(sorted(FORMATS))}"
        yield Problem(("audio",), "unsupported_audio_format", sentence)


def _of_mistral(request: TranscriptionRequest) -> Iterator[Problem]:
    yield from unsupported_fields(request, ("prompt",), MISTRAL)
    if request.diarize and "word" in request.timestamps:
        yield Problem(("timestamps",), "unsupported_option", "mistral tells the speakers of segments, not of words")


def _of_the_model(request: TranscriptionRequest, model: str) -> Iterator[Problem]:
    if request.diarize and DIARIZES not in model:
        sentence = f"{model} does not tell speakers apart; OpenAI's gpt-4o-transcribe-diarize does"
        yield Problem(("diarize",), "unsupported_option", sentence)
    if DIARIZES in model:
        if request.prompt is not None:
            yield Problem(("prompt",), "unsupported_option", f"{model} takes none")
        if "word" in request.timestamps:
            yield Problem(
                ("timestamps",), "unsupported_option", f"{model} gives the times of segments; whisper-1 of words"
            )
    elif request.timestamps and model.startswith(WITHOUT_TIMES):
        yield Problem(("timestamps",), "unsupported_option", f"{model} gives no times; whisper-1 does")


def _of_the_options(request: TranscriptionRequest) -> Iterator[Problem]:
    wanted = request.options.get("response_format")
    if wanted in PLAIN:
        sentence = f"{wanted!r} is no JSON, which the answer is read as; timestamps='segment' gives the times as values"
        yield Problem(("options", "response_format"), "unsupported_option", sentence)
    yield from streaming_problems(request.options)


def decode_transcription(document: dict[str, Any], *, provider: str, model: str | None) -> Transcription:
    """The text of an answer, and what else is in it.

    Raises:
        AdapterError: `malformed_response`: there is no text in it.
    """
    text = document.get("text")
    if not isinstance(text, str):
        raise AdapterError("the answer has no text in it", reason="malformed_response", provider=provider)
    usage = as_object(document.get("usage"))
    return Transcription(
        text=text,
        language=as_text(document.get("language")),
        duration=as_number(document.get("duration")) or as_number(usage.get("seconds")),
        segments=tuple(map(decode_segment, as_objects(document.get("segments")))),
        words=tuple(transcription_part(item, "word") for item in as_objects(document.get("words"))),
        model=as_text(document.get("model")) or model,
        usage=decode_usage(usage),
    )


def decode_segment(item: dict[str, Any]) -> TranscriptionPart:
    """A segment, as it is in an answer and in an event."""
    return transcription_part(item, "text", "speaker" if "speaker" in item else "speaker_id")


def decode_usage(usage: dict[str, Any]) -> Usage:
    """Tokens, or seconds of sound; Mistral tells both, under its own names."""
    details = as_object(usage.get("input_token_details")) or as_object(usage.get("prompt_tokens_details"))
    seconds = usage.get("seconds", usage.get("prompt_audio_seconds"))
    extra = {"seconds": as_number(seconds), "input_audio_tokens": as_count(details.get("audio_tokens"))}
    given = as_count(usage.get("input_tokens", usage.get("prompt_tokens")))
    written = as_count(usage.get("output_tokens", usage.get("completion_tokens")))
    total, heard = as_count(usage.get("total_tokens")), as_count(details.get("audio_tokens"))
    if heard and given is not None and given + heard + (written or 0) == total:
        given += heard  # Mistral counts its sound beside the prompt
    return Usage(
        input_tokens=given,
        output_tokens=written,
        total_tokens=total,
        total_cost=as_number(usage.get("cost")),
        extra={name: value for name, value in extra.items() if value is not None},
    )


@attrs.frozen
class _Prepared:
    call: HttpCall
    model: str | None


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class OpenAITranscription(Connection, TranscriptionAdapter):
    """Transcription by OpenAI, and by services that speak its format. The arguments are those of `OpenAI`."""

    def prepare(self, request: TranscriptionRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What OpenAI does not take; all problems at once.
        """
        return self._prepared(request, options, {})

    def prepare_stream(self, request: TranscriptionRequest, options: AdapterOptions) -> _Prepared:
        """As `prepare`, for `open`."""
        streams = self.provider in STREAMS  # others answer in one piece, and may refuse a field that they do not know
        return self._prepared(request, options, {"stream": True} if streams else {})

    def _prepared(self, request: TranscriptionRequest, options: AdapterOptions, more: dict[str, Any]) -> _Prepared:
        bound = self.limits_bind(options, request.model)
        body = {**encode_transcription(request, self.provider, limits_bind=bound), **more}
        kind, form = multipart(form_fields(body), [("file", file_field(request.audio))])
        return _Prepared(self.post("/audio/transcriptions", form, options, kind, model=request.model), request.model)

    async def send(self, prepared: _Prepared) -> Transcription:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """

        def decode(answer: JsonResponse) -> Transcription:
            found = decode_transcription(answer.document, provider=self.provider, model=prepared.model)
            return attrs.evolve(found, request_id=answer.request_id)

        return await post_json(prepared.call, decode)

    @asynccontextmanager
    async def open(self, prepared: _Prepared) -> AsyncGenerator[StreamedTranscription]:
        """Make the call, and read its events as they arrive.

        Raises:
            AdapterError: Whatever went wrong.
        """
        from allm.providers.openai.transcription_stream import TranscriptEvents

        async with open_call(prepared.call) as opened, opened.response.chunks() as chunks:
            events = TranscriptEvents(opened, chunks, prepared.model)
            yield StreamedTranscription(events=events, request_id=opened.request_id)
