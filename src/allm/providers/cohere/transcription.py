"""Cohere's transcription: POST /v2/audio/transcriptions (https://docs.cohere.com/reference/create-audio-transcription)."""

from __future__ import annotations

from typing import Any, final

import attrs

from allm.adapters import (
    AdapterOptions,
    HttpCall,
    JsonResponse,
    Problem,
    UnaryAdapter,
    explains_settings,
    file_field,
    form_fields,
    multipart,
    post_json,
    refuse,
    unsupported_fields,
)
from allm.data.errors import AdapterError
from allm.data.speech import Transcription, TranscriptionRequest
from allm.providers.cohere.connection import Connection

__all__ = ["CohereTranscription", "encode_transcription"]


def encode_transcription(request: TranscriptionRequest) -> dict[str, Any]:
    """The fields of the form beside the file; `request.options` win.

    Raises:
        ValidationError: What Cohere does not take; all problems at once.
    """
    problems = unsupported_fields(request, ("prompt", "timestamps", "diarize"), "cohere")
    if request.language is None and "language" not in request.options:
        sentence = "cohere has to be told the language that is spoken: by a code such as 'en'"
        problems.append(Problem(("language",), "missing", sentence))
    refuse(problems)
    fields = {"model": request.model, "language": request.language, "temperature": request.temperature}
    return {**{name: value for name, value in fields.items() if value is not None}, **request.options}


@attrs.frozen
class _Prepared:
    call: HttpCall
    model: str | None


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class CohereTranscription(Connection, UnaryAdapter[TranscriptionRequest, Transcription]):
    """Transcription by Cohere, which has to be told the language.

    Args:
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(cohere=...)`, `keys.put`, then COHERE_API_KEY, then CO_API_KEY.
        base_url: With the version segment; else COHERE_V2_BASE_URL, else Cohere itself.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
    """

    def prepare(self, request: TranscriptionRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What Cohere does not take; all problems at once.
        """
        fields = form_fields(encode_transcription(request))
        kind, form = multipart(fields, [("file", file_field(request.audio))])
        return _Prepared(self.call(self.url("/audio/transcriptions", options), form, options, kind), request.model)

    async def send(self, prepared: _Prepared) -> Transcription:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """

        def decode(answer: JsonResponse) -> Transcription:
            text = answer.document.get("text")
            if not isinstance(text, str):
                raise AdapterError("the answer has no text in it", reason="malformed_response")
            return Transcription(text=text, model=prepared.model, request_id=answer.request_id)

        return await post_json(prepared.call, decode)
