"""ElevenLabs' transcription: POST /speech-to-text.

Facts: https://elevenlabs.io/docs/api-reference/speech-to-text/convert, and `speech_to_text.convert` of its own SDK.
"""

from __future__ import annotations

from typing import Any, final

import attrs

from allm.adapters import (
    AdapterOptions,
    HttpCall,
    JsonResponse,
    Problem,
    UnaryAdapter,
    as_number,
    as_objects,
    as_text,
    explains_settings,
    file_field,
    form_fields,
    multipart,
    post_json,
    refuse,
    speaker_turns,
    transcription_part,
    unsupported_fields,
)
from allm.data.errors import AdapterError
from allm.data.speech import Transcription, TranscriptionRequest
from allm.providers.elevenlabs.connection import Connection

__all__ = ["ElevenLabsTranscription", "decode_transcription", "encode_transcription"]


def encode_transcription(request: TranscriptionRequest) -> dict[str, Any]:
    """The fields of the form beside the file; `request.options` win.

    Raises:
        ValidationError: What ElevenLabs does not take; all problems at once.
    """
    problems = unsupported_fields(request, ("prompt",), "elevenlabs")
    if "segment" in request.timestamps and not request.diarize:
        sentence = "elevenlabs gives the times of words, and of what each speaker says where it tells them apart"
        problems.append(Problem(("timestamps",), "unsupported_option", sentence))
    refuse(problems)
    fields = {
        "model_id": request.model,
        "language_code": request.language,
        "diarize": request.diarize,
        "temperature": request.temperature,
        "timestamps_granularity": "word" if request.timestamps else None,
        "cloud_storage_url": request.audio.url,
    }
    return {**{name: value for name, value in fields.items() if value is not None}, **request.options}


def decode_transcription(document: dict[str, Any], *, model: str | None) -> Transcription:
    """The text of an answer, its words, and the turns of the speakers.

    Raises:
        AdapterError: `malformed_response`: there is no text in it.
    """
    text = document.get("text")
    if not isinstance(text, str):
        raise AdapterError("the answer has no text in it", reason="malformed_response")
    items = [item for item in as_objects(document.get("words")) if item.get("type") != "spacing"]
    words = tuple(transcription_part(item, "text", "speaker_id") for item in items)
    identifier = as_text(document.get("transcription_id"))
    return Transcription(
        text=text,
        language=as_text(document.get("language_code")),
        duration=as_number(document.get("audio_duration_secs")),
        segments=speaker_turns(text, words),
        words=words,
        model=model,
        metadata={} if identifier is None else {"elevenlabs": {"transcription_id": identifier}},
    )


@attrs.frozen
class _Prepared:
    call: HttpCall
    model: str | None


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class ElevenLabsTranscription(Connection, UnaryAdapter[TranscriptionRequest, Transcription]):
    """Transcription by ElevenLabs.

    Args:
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(elevenlabs=...)`, `keys.put`, then ELEVENLABS_API_KEY.
        base_url: With the version segment; else ELEVENLABS_BASE_URL, else ElevenLabs itself.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
    """

    def prepare(self, request: TranscriptionRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What ElevenLabs does not take; all problems at once.
        """
        audio, fields = request.audio, form_fields(encode_transcription(request))
        kind, form = multipart(fields, [] if audio.url else [("file", file_field(audio))])
        return _Prepared(self.call(self.url("/speech-to-text", options), form, options, kind), request.model)

    async def send(self, prepared: _Prepared) -> Transcription:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """

        def decode(answer: JsonResponse) -> Transcription:
            found = decode_transcription(answer.document, model=prepared.model)
            return attrs.evolve(found, request_id=answer.request_id)

        return await post_json(prepared.call, decode)
