"""ElevenLabs' speech: POST /text-to-speech/{voice}/stream.

Facts: https://elevenlabs.io/docs/api-reference/text-to-speech/stream, and `TextToSpeechStreamRequestOutputFormat` of
ElevenLabs' own SDK. The format is in the URL, with its rates; a stream has no WAV, which begins with its length.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, final
from urllib.parse import quote, urlencode

import attrs

from allm.adapters import (
    AdapterOptions,
    HttpCall,
    Problem,
    SpeechAdapter,
    SpokenAnswer,
    explains_settings,
    open_audio,
    refuse,
    unsupported_fields,
)
from allm.data.speech import SpeechRequest
from allm.providers.elevenlabs.connection import Connection

__all__ = ["ElevenLabsSpeech", "encode_speech"]

FORMATS = {"mp3": "mp3_44100_128", "pcm": "pcm_24000", "opus": "opus_48000_128"}
"""What a format is called there; others are passed on with their rates, such as `ulaw_8000`."""
MIME_TYPES = {"mp3": "audio/mpeg", "pcm": "audio/pcm", "opus": "audio/ogg"}
"""By the beginning of a format."""


def encode_speech(request: SpeechRequest) -> dict[str, Any]:
    """The body; `request.options` win.

    Raises:
        ValidationError: What ElevenLabs does not take; all problems at once.
    """
    problems = unsupported_fields(request, ("instructions",), "elevenlabs")
    if not request.voice:
        sentence = "elevenlabs has no default voice; expected the id of one, such as 'JBFqnCBsd6RMkjVDRZzb'"
        problems.append(Problem(("voice",), "missing", sentence))
    elif not request.voice.isalnum():
        problems.append(Problem(("voice",), "invalid_format", "is not the id of a voice, which has letters and digits"))
    if request.format is not None and request.format not in FORMATS and "_" not in request.format:
        known = ", ".join(map(repr, FORMATS))
        sentence = f"elevenlabs streams no {request.format!r}; expected {known}, or one of its own such as 'ulaw_8000'"
        problems.append(Problem(("format",), "unsupported_option", sentence))
    refuse(problems)
    settings = None if request.speed is None else {"speed": request.speed}
    fields = {"text": request.text, "model_id": request.model, "voice_settings": settings}
    return {**{name: value for name, value in fields.items() if value is not None}, **request.options}


@attrs.frozen
class _Prepared:
    call: HttpCall
    mime_type: str | None


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class ElevenLabsSpeech(Connection, SpeechAdapter):
    """Speech by ElevenLabs. The arguments are those of `ElevenLabsTranscription`."""

    def prepare(self, request: SpeechRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What ElevenLabs does not take; all problems at once.
        """
        body = encode_speech(request)
        wanted = request.format or "mp3"
        url = self.url(f"/text-to-speech/{quote(request.voice or '', safe='')}/stream", options)
        query = urlencode({"output_format": FORMATS.get(wanted, wanted)})
        call = self.call(f"{url}{'&' if '?' in url else '?'}{query}", body, options)
        return _Prepared(call, MIME_TYPES.get(wanted.partition("_")[0]))

    def open(self, prepared: _Prepared) -> AbstractAsyncContextManager[SpokenAnswer]:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return open_audio(prepared.call, mime_type=prepared.mime_type, otherwise="audio/mpeg")
