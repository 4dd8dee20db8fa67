"""Deepgram's transcription: POST /listen (https://developers.deepgram.com/reference/speech-to-text/listen-pre-recorded).

The settings are in the URL, as `listen.v1.media` of Deepgram's own SDK has them, and the body is the file itself, or
JSON with its URL.
"""

from __future__ import annotations

from typing import Any, final
from urllib.parse import urlencode

import attrs

from allm.adapters import (
    AdapterOptions,
    HttpAdapter,
    HttpCall,
    JsonResponse,
    KeyHeader,
    UnaryAdapter,
    Vendor,
    as_number,
    as_object,
    as_objects,
    as_text,
    explains_settings,
    file_field,
    form_fields,
    post_json,
    refuse,
    speaker_turns,
    transcription_part,
    unsupported_fields,
)
from allm.data.errors import AdapterError
from allm.data.response import Usage
from allm.data.speech import Transcription, TranscriptionRequest

__all__ = ["DeepgramTranscription", "decode_transcription", "encode_transcription"]

DEEPGRAM = Vendor(
    name="deepgram",
    base_url="https://api.deepgram.com/v1",
    base_url_env="DEEPGRAM_BASE_URL",
    key_env=("DEEPGRAM_API_KEY",),
    key_header=KeyHeader("authorization", "Token "),
    request_id_header=None,
)


def encode_transcription(request: TranscriptionRequest) -> dict[str, Any]:
    """The settings in the URL; `request.options` win.

    Raises:
        ValidationError: What Deepgram does not take; all problems at once.
    """
    refuse(unsupported_fields(request, ("prompt", "temperature"), "deepgram"))
    fields = {
        "model": request.model,
        "smart_format": True,
        "language": request.language,
        "detect_language": True if request.language is None else None,
        "diarize": request.diarize,
        "utterances": True if request.diarize or "segment" in request.timestamps else None,
    }
    return {**{name: value for name, value in fields.items() if value is not None}, **request.options}


def decode_transcription(document: dict[str, Any], *, model: str | None) -> Transcription:
    """The text of an answer, its words, and the utterances if these were asked for.

    Raises:
        AdapterError: `malformed_response`: there is no text in it.
    """
    results, metadata = as_object(document.get("results")), as_object(document.get("metadata"))
    channels = as_objects(results.get("channels"))
    best = [next(iter(as_objects(channel.get("alternatives"))), {}) for channel in channels]
    texts = [text for item in best if (text := as_text(item.get("transcript"))) is not None]
    if not texts:
        raise AdapterError("the answer has no text in it", reason="malformed_response")
    # Each channel of a recording in several has a text of its own.
    text = "\n".join(texts)
    words = tuple(
        transcription_part(item, "punctuated_word" if "punctuated_word" in item else "word")
        for channel in best
        for item in as_objects(channel.get("words"))
    )
    utterances = tuple(transcription_part(item, "transcript") for item in as_objects(results.get("utterances")))
    duration = as_number(metadata.get("duration"))
    return Transcription(
        text=text,
        language=next((as_text(channel.get("detected_language")) for channel in channels), None),
        duration=duration,
        segments=utterances or speaker_turns(text, words),
        words=words,
        model=model,
        usage=Usage(extra={} if duration is None else {"seconds": duration}),
        request_id=as_text(metadata.get("request_id")),
    )


@attrs.frozen
class _Prepared:
    call: HttpCall
    model: str | None


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class DeepgramTranscription(HttpAdapter, UnaryAdapter[TranscriptionRequest, Transcription]):
    """Transcription by Deepgram; `options=` are settings of its URL, such as `{"filler_words": True}`.

    Args:
        api_key: A text, or a function without arguments that returns one, sync or async. Else
            `keys.override(deepgram=...)`, `keys.put`, then DEEPGRAM_API_KEY.
        base_url: With the version segment; else DEEPGRAM_BASE_URL, else Deepgram itself.
        headers: Sent with every request.
        http_client: Your own client, never closed here; wins over the engine's.
    """

    @property
    def vendor(self) -> Vendor:
        """Deepgram."""
        return DEEPGRAM

    def prepare(self, request: TranscriptionRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What Deepgram does not take; all problems at once.
        """
        query = urlencode(form_fields(encode_transcription(request)), doseq=True).replace("%5B%5D=", "=")
        url = self.url("/listen", options)
        url = f"{url}{'&' if '?' in url else '?'}{query}"
        if request.audio.url is not None:
            return _Prepared(self.call(url, {"url": request.audio.url}, options), request.model)
        _, body, kind = file_field(request.audio)
        return _Prepared(self.call(url, body, options, kind), request.model)

    async def send(self, prepared: _Prepared) -> Transcription:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """

        def decode(answer: JsonResponse) -> Transcription:
            return decode_transcription(answer.document, model=prepared.model)

        return await post_json(prepared.call, decode)
