"""OpenAI's speech: POST /audio/speech (https://platform.openai.com/docs/api-reference/audio/createSpeech)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, final

import attrs

from allm.adapters import (
    AdapterOptions,
    HttpCall,
    Problem,
    SpeechAdapter,
    SpokenAnswer,
    as_text,
    explains_settings,
    open_audio,
    refuse,
)
from allm.data.speech import SpeechRequest
from allm.providers.openai.connection import Connection
from allm.providers.openai.presets import OPENAI_ITSELF
from allm.providers.openai.shared_encode import own_name

__all__ = ["OpenAISpeech", "encode_speech"]

MOST_CHARACTERS = 4096
SPEEDS = (0.25, 4.0)
VOICE = "alloy"
"""For a request to OpenAI that names none, as the API has no default; other services have other voices."""
MIME_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
DEFAULT = MIME_TYPES["mp3"]
"""Of an answer that says nothing, to a request that names no format."""
WITHOUT_INSTRUCTIONS = ("tts-1",)
MISTRAL = "mistral"
"""It answers with JSON, and its voices are its own: https://docs.mistral.ai/capabilities/audio."""


def encode_speech(request: SpeechRequest, provider: str = "openai", *, limits_bind: bool = True) -> dict[str, Any]:
    """The body; `request.options` win.

    Args:
        request: What is to be said.
        provider: Whose format it is.
        limits_bind: Whether it goes to OpenAI itself.

    Raises:
        ValidationError: What OpenAI does not take, or no call could read the answer to; all problems at once.
    """
    problems = list(_of_the_limits(request)) if limits_bind else []
    model = own_name(request.model)
    if request.instructions is not None and model.startswith(WITHOUT_INSTRUCTIONS):
        sentence = f"{model} takes none; gpt-4o-mini-tts does"
        problems.append(Problem(("instructions",), "unsupported_option", sentence))
    if request.options.get("stream_format") == "sse":
        sentence = "'sse' is no audio; stream_synthesize gives the audio as it arrives without it"
        problems.append(Problem(("options", "stream_format"), "unsupported_option", sentence))
    refuse(problems)
    body = {
        "model": request.model,
        "input": request.text,
        "voice": request.voice or (VOICE if provider in OPENAI_ITSELF else None),
    }
    optional = {"response_format": request.format, "speed": request.speed, "instructions": request.instructions}
    return {**{name: value for name, value in {**body, **optional}.items() if value is not None}, **request.options}


def _of_the_limits(request: SpeechRequest) -> Iterator[Problem]:
    if len(request.text) > MOST_CHARACTERS:
        sentence = f"{len(request.text)} characters; OpenAI says at most {MOST_CHARACTERS} in a call: say it in parts"
        yield Problem(("text",), "too_long", sentence)
    if request.speed is not None and not SPEEDS[0] <= request.speed <= SPEEDS[1]:
        yield Problem(("speed",), "out_of_range", f"{request.speed}; OpenAI takes {SPEEDS[0]} to {SPEEDS[1]}")
    if request.format is not None and request.format not in MIME_TYPES:
        expected = ", ".join(MIME_TYPES)
        yield Problem(("format",), "unsupported_audio_format", f"{request.format!r}; OpenAI gives one of {expected}")


@attrs.frozen
class _Prepared:
    call: HttpCall
    format: str | None


@final
@explains_settings
@attrs.frozen(kw_only=True, eq=False)
class OpenAISpeech(Connection, SpeechAdapter):
    """Speech by OpenAI, and by services that speak its format. The arguments are those of `OpenAI`."""

    def prepare(self, request: SpeechRequest, options: AdapterOptions) -> _Prepared:
        """The HTTP call for `request`.

        Raises:
            EngineError: `missing_key`, `invalid_key`, `invalid_base_url`.
            ValidationError: What OpenAI does not take; all problems at once.
        """
        body = encode_speech(request, self.provider, limits_bind=self.limits_bind(options, request.model))
        call = self.post("/audio/speech", body, options, model=request.model)
        return _Prepared(call, as_text(body.get("response_format")))

    def open(self, prepared: _Prepared) -> AbstractAsyncContextManager[SpokenAnswer]:
        """Make the call.

        Raises:
            AdapterError: Whatever went wrong.
        """
        mime_type = MIME_TYPES.get(prepared.format or "")
        json_field = "audio_data" if self.provider == MISTRAL else None
        return open_audio(prepared.call, mime_type=mime_type, otherwise=DEFAULT, json_field=json_field)
