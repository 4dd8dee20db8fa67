"""`transcribe`: speech to text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Unpack

import attrs

from allm.data.audio import Audio
from allm.data.speech import Granularity, Transcription, TranscriptionRequest
from allm.execution.services.service import Service, UnaryOptions, own_options
from allm.execution.services.unary import UnaryCall, ask, resolve_unary
from allm.runtime.costs import load_prices
from allm.runtime.engine import Engine
from allm.runtime.option_table import seal
from allm.runtime.service_costs import audio_usage

__all__ = ["TRANSCRIPTION", "TranscriptionOptions", "priced", "transcribe"]


class TranscriptionOptions(UnaryOptions, total=False):
    """Options of `transcribe`: those of `UnaryOptions`, and the fields of `TranscriptionRequest` under their names."""

    language: str | None
    prompt: str | None
    temperature: float | None
    timestamps: Granularity | Iterable[Granularity]
    diarize: bool | None


def _priced(provider: str, request: TranscriptionRequest, found: Transcription) -> Transcription:
    seconds = found.usage.extra.get("seconds", found.duration)
    if request.diarize and provider == "deepgram":  # https://deepgram.com/pricing: it is charged for beside the rest
        seconds = None
    return attrs.evolve(found, usage=audio_usage(provider, found.model or request.model, found.usage, seconds=seconds))


TRANSCRIPTION: Service[TranscriptionRequest, Transcription] = Service(
    name="transcription",
    noun="transcription",
    span="transcription",
    request_type=TranscriptionRequest,
    facts=lambda _request, response: {"usage": response.usage, "duration": response.duration},
    priced=_priced,
    fields=own_options(TranscriptionOptions),
)


async def transcribe(
    engine: Engine,
    audio: Audio | str | os.PathLike[str] | TranscriptionRequest,
    **options: Unpack[TranscriptionOptions],
) -> Transcription:
    """Transcribe audio.

        print((await allm.transcribe(engine, "meeting.mp3", language="en")).text)

    Args:
        engine: The engine, with a `transcription_adapter` and a `transcription_model`.
        audio: An `Audio`, the path of a file, or a whole `TranscriptionRequest`.
        options: See `TranscriptionOptions`.

    Raises:
        AdapterError: The provider failed, or could not be reached in time.
        EngineError, OptionError, ValidationError: The call is invalid; nothing was sent.
    """
    seal(options)
    call = resolve_unary(TRANSCRIPTION, engine, options)
    request = call.request_for(TRANSCRIPTION.request_of(audio))
    load_prices(call.adapter.provider)
    return priced(call, request, await ask(call, request))


def priced(call: UnaryCall[Any, Any], request: TranscriptionRequest, found: Transcription) -> Transcription:
    """The transcription with its costs, as far as they are known."""
    return TRANSCRIPTION.priced(call.adapter.provider, request, found)
