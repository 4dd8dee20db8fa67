"""xAI's transcription: POST /stt (https://docs.x.ai/docs/guides/speech-to-text). The file comes last in its form."""

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
from allm.providers.xai.connection import Connection

__all__ = ["XaiTranscription", "decode_transcription", "encode_transcription"]


def encode_transcription(request: TranscriptionRequest) -> dict[str, Any]:
    """The fields of the form beside the file; `request.options` win.

    Raises:
        ValidationError: What xAI does not take; all problems at once.
    """
    problems = unsupported_fields(request, ("prompt", "temperature"), "xai")
    if "segment" in request.timestamps and not request.diarize:
        sentence = "xai gives the times of words, and of what each speaker says where it tells them apart"
        problems.append(Problem(("timestamps",), "unsupported_option", sentence))
    refuse(problems)
    fields = {"language": request.language, "diarize": request.diarize}
    return {**{name: value for name, value in fields.items() if value is not None}, **request.options}


def decode_transcription(document: dict[str, Any], *, model: str | None) -> Transcription:
    """The text of an answer, its words, and the turns of the speakers.

    Raises:
        AdapterError: `malformed_response`: there is no text in it.
    """
    text = document.get("text")
    if not isinstance(text, str):
        raise AdapterError("the answer has no text in it", reason="malformed_response")
    words = tuple(transcription_part(item, "text") for item in as_objects(document.get("words")))
    return Transcription(
        text=text,
        language=as_text(document.get("language")),
        duration=as_number(document.get("duration")),
        segments=speaker_turns(text, words),
        words=words,
        model=model,
    )


@attrs.frozen
class _Prepared:
    call: HttpCall
    model: str | None


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class XaiTranscription(Connection, UnaryAdapter[TranscriptionRequest, Transcription]):
    """Transcription by xAI.

    Args:
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(xai=...)`, `keys.put`, then XAI_API_KEY.
        base_url: With the version segment; else XAI_BASE_URL, else xAI itself.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
    """

    def prepare(self, request: TranscriptionRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What xAI does not take; all problems at once.
        """
        fields = form_fields(encode_transcription(request))
        kind, form = multipart(fields, [("file", file_field(request.audio))])
        return _Prepared(self.call(self.url("/stt", options), form, options, kind), request.model)

    async def send(self, prepared: _Prepared) -> Transcription:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """

        def decode(answer: JsonResponse) -> Transcription:
            found = decode_transcription(answer.document, model=prepared.model)
            return attrs.evolve(found, request_id=answer.request_id)

        return await post_json(prepared.call, decode)
