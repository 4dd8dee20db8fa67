"""xAI's speech: POST /tts (https://docs.x.ai/docs/guides/text-to-speech)."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, final

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
from allm.providers.xai.connection import Connection

__all__ = ["XaiSpeech", "encode_speech"]


def encode_speech(request: SpeechRequest) -> dict[str, Any]:
    """The body; `request.options` win.

    Raises:
        ValidationError: What xAI does not take; all problems at once.
    """
    problems = unsupported_fields(request, ("instructions", "speed"), "xai")
    if request.format not in {None, "mp3"}:
        problems.append(Problem(("format",), "unsupported_audio_format", f"{request.format!r}; xai gives mp3"))
    refuse(problems)
    fields = {"text": request.text, "language": "auto", "voice": request.voice}
    return {**{name: value for name, value in fields.items() if value is not None}, **request.options}


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class XaiSpeech(Connection, SpeechAdapter):
    """Speech by xAI. The arguments are those of `XaiTranscription`."""

    def prepare(self, request: SpeechRequest, options: AdapterOptions) -> HttpCall:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What xAI does not take; all problems at once.
        """
        return self.call(self.url("/tts", options), encode_speech(request), options)

    def open(self, prepared: HttpCall) -> AbstractAsyncContextManager[SpokenAnswer]:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        return open_audio(prepared, otherwise="audio/mpeg")
