"""Gemini's speech: `generateContent` of a model that answers with audio.

Facts: https://ai.google.dev/gemini-api/docs/speech-generation. The audio is raw samples, little-endian in spite of what
their type says (`audio/L16;codec=pcm;rate=24000`). They get the header of a WAV file unless `pcm` is asked for.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, final

import attrs

from allm.adapters import (
    AdapterOptions,
    HttpCall,
    JsonResponse,
    Problem,
    SpeechAdapter,
    SpokenAnswer,
    as_count,
    as_object,
    as_objects,
    as_text,
    explains_settings,
    one_piece,
    post_json,
    refuse,
    unsupported_fields,
    wav_header,
)
from allm.data.errors import AdapterError
from allm.data.response import Usage
from allm.data.speech import SpeechRequest
from allm.providers.gemini.adapter import Connection
from allm.providers.gemini.errors import is_withheld

__all__ = ["GeminiSpeech", "decode_speech", "encode_speech"]

VOICE = "Kore"
"""For a request that names none, as the API has no default."""
FORMATS = ("wav", "pcm")
RATE = 24_000
"""Of samples whose type does not say it."""
_RATE = re.compile(r"rate=(\d+)")


def encode_speech(request: SpeechRequest) -> dict[str, Any]:
    """The request body; `request.options` win.

    Raises:
        ValidationError: What Gemini does not take; all problems at once.
    """
    problems = unsupported_fields(request, ("speed",), "gemini")
    if request.format is not None and request.format not in FORMATS:
        sentence = f"{request.format!r}; gemini gives one of {', '.join(FORMATS)}"
        problems.append(Problem(("format",), "unsupported_audio_format", sentence))
    refuse(problems)
    # Its models are told how to speak in the text itself: "Say cheerfully: ...".
    text = request.text if request.instructions is None else f"{request.instructions}: {request.text}"
    voice = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": request.voice or VOICE}}}
    return {
        "contents": [{"role": "user", "parts": [{"text": text}]}],
        "generationConfig": {"responseModalities": ["AUDIO"], "speechConfig": voice},
        **request.options,
    }


def decode_speech(document: dict[str, Any], *, raw: bool = False) -> tuple[bytes, str]:
    """The audio of an answer, and its MIME type.

    Args:
        document: The parsed body.
        raw: Leave samples as they are.

    Raises:
        AdapterError: `content_filter`: it was withheld; `malformed_response`: there is none in it.
    """
    candidate = next(iter(as_objects(document.get("candidates"))), {})
    parts = as_objects(as_object(candidate.get("content")).get("parts"))
    inlines = [inline for part in parts if (inline := as_object(part.get("inlineData")))]
    sound = b"".join(_decoded(as_text(inline.get("data")) or "") for inline in inlines)
    if not sound:
        blocked = as_text(as_object(document.get("promptFeedback")).get("blockReason"))
        reason = blocked or as_text(candidate.get("finishReason"))
        raise AdapterError(
            f"the answer has no audio in it ({reason or 'no reason given'})",
            reason="content_filter" if blocked or is_withheld(reason) else "malformed_response",
            provider_code=reason,
        )
    kind = as_text(inlines[0].get("mimeType")) or "audio/L16"
    if not kind.lower().startswith(("audio/l16", "audio/pcm")):
        return sound, kind.partition(";")[0]
    if raw:
        return sound, "audio/pcm"
    rate = _RATE.search(kind)
    return wav_header(len(sound), int(rate[1]) if rate is not None else RATE) + sound, "audio/wav"


def _usage(usage: dict[str, Any]) -> Usage:
    said = as_objects(usage.get("candidatesTokensDetails"))
    sound = next((as_count(item.get("tokenCount")) for item in said if item.get("modality") == "AUDIO"), None)
    return Usage(
        input_tokens=as_count(usage.get("promptTokenCount")),
        output_tokens=as_count(usage.get("candidatesTokenCount")),
        total_tokens=as_count(usage.get("totalTokenCount")),
        extra={} if sound is None else {"output_audio_tokens": sound},
    )


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise AdapterError(f"the audio is no base64 text ({error})", reason="malformed_response") from error


@attrs.frozen
class _Prepared:
    call: HttpCall
    raw: bool


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class GeminiSpeech(Connection, SpeechAdapter):
    """Speech by Gemini's models, as WAV, in one piece. The arguments are those of `Gemini`."""

    def prepare(self, request: SpeechRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What Gemini does not take; all problems at once.
        """
        body = encode_speech(request)
        return _Prepared(self.post(request.model or "", "generateContent", body, options), request.format == "pcm")

    @asynccontextmanager
    async def open(self, prepared: _Prepared) -> AsyncGenerator[SpokenAnswer]:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """

        def decode(answer: JsonResponse) -> SpokenAnswer:
            sound, mime_type = decode_speech(answer.document, raw=prepared.raw)
            return SpokenAnswer(
                pieces=one_piece(sound),
                mime_type=mime_type,
                request_id=answer.request_id,
                usage=_usage(as_object(answer.document.get("usageMetadata"))),
            )

        yield await post_json(prepared.call, decode)
