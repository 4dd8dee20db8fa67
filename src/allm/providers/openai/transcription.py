"""OpenAI's transcription: POST /audio/transcriptions.

Facts: https://platform.openai.com/docs/api-reference/audio/createTranscription. Times need `verbose_json`, which only
whisper-1 has; the models that tell speakers apart need `diarized_json` and a chunking strategy.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, final

import attrs

from allm.adapters import (
    AdapterOptions,
    HttpCall,
    JsonResponse,
    Problem,
    UnaryAdapter,
    as_count,
    as_object,
    as_objects,
    as_text,
    explains_settings,
    multipart,
    post_json,
    refuse,
)
from allm.data.errors import AdapterError
from allm.data.response import Usage
from allm.data.speech import Transcription, TranscriptionPart, TranscriptionRequest
from allm.providers.openai.connection import Connection
from allm.providers.openai.form_encode import form_fields, streaming_problems
from allm.providers.openai.presets import OPENAI_ITSELF
from allm.providers.openai.shared_encode import own_name

__all__ = ["OpenAITranscription", "decode_transcription", "encode_transcription"]

MOST_BYTES = 25 * 1024 * 1024
WITHOUT_TIMES = "gpt-4o"
DIARIZES = "diarize"
PLAIN = frozenset({"text", "srt", "vtt"})
FORMATS = frozenset({"audio/mpeg", "audio/mp4", "audio/wav", "audio/webm", "audio/flac", "audio/ogg"})


def encode_transcription(request: TranscriptionRequest, provider: str = "openai") -> dict[str, Any]:
    """The fields of the form beside the file; `request.options` win.

    Raises:
        ValidationError: What OpenAI does not take, or no call could read the answer to; all problems at once.
    """
    model = own_name(request.model)
    refuse(
        [
            *(_of_the_audio(request) if provider in OPENAI_ITSELF else ()),
            *_of_the_model(request, model),
            *_of_the_options(request),
        ]
    )
    body: dict[str, Any] = {"model": request.model}
    if DIARIZES in model:
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


def _of_the_model(request: TranscriptionRequest, model: str) -> Iterator[Problem]:
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
        duration=_seconds(document.get("duration")) or _seconds(usage.get("seconds")),
        segments=tuple(_part(item, "text") for item in as_objects(document.get("segments"))),
        words=tuple(_part(item, "word") for item in as_objects(document.get("words"))),
        model=model,
        usage=Usage(
            input_tokens=as_count(usage.get("input_tokens")),
            output_tokens=as_count(usage.get("output_tokens")),
            total_tokens=as_count(usage.get("total_tokens")),
            extra={"seconds": usage["seconds"]} if "seconds" in usage else {},
        ),
    )


def _part(item: dict[str, Any], key: str) -> TranscriptionPart:
    return TranscriptionPart(
        text=as_text(item.get(key)) or "",
        start=_seconds(item.get("start")),
        end=_seconds(item.get("end")),
        speaker=as_text(item.get("speaker")),
    )


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


@attrs.frozen
class _Prepared:
    call: HttpCall
    model: str | None


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class OpenAITranscription(Connection, UnaryAdapter[TranscriptionRequest, Transcription]):
    """Transcription by OpenAI, and by services that speak its format. The arguments are those of `OpenAI`."""

    def prepare(self, request: TranscriptionRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What OpenAI does not take; all problems at once.
        """
        body, audio = encode_transcription(request, self.provider), request.audio
        file = (audio.file_name(), audio.data, audio.mime_type or "application/octet-stream")
        kind, form = multipart(form_fields(body), [("file", file)])
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
