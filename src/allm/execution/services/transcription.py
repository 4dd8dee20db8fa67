"""`transcribe`: speech as text."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Unpack

import attrs

from allm.data.audio import Audio, Granularity, Transcription, TranscriptionRequest, check_transcription_request
from allm.data.errors import EngineError
from allm.execution.services.unary import UnaryOptions, resolve_unary
from allm.runtime.adapters import as_adapter
from allm.runtime.engine import Engine

__all__ = ["TranscriptionOptions", "transcribe"]


class TranscriptionOptions(UnaryOptions, total=False):
    """Options of `transcribe`: those of `UnaryOptions`, and the fields of `TranscriptionRequest` under their names."""

    language: str | None
    prompt: str | None
    temperature: float | None
    timestamps: Granularity | Iterable[Granularity]


FIELDS = TranscriptionOptions.__annotations__.keys() - UnaryOptions.__annotations__.keys()


async def transcribe(
    engine: Engine,
    audio: Audio | str | os.PathLike[str] | TranscriptionRequest,
    **options: Unpack[TranscriptionOptions],
) -> Transcription:
    """Write down what is said.

        print((await allm.transcribe(engine, "meeting.mp3", language="en")).text)

    Args:
        engine: Who listens: its `transcription_adapter`, with its `transcription_model`.
        audio: An `Audio`, the path of a file, or a whole request.
        options: See `TranscriptionOptions`.

    Raises:
        AdapterError: The provider failed, or could not be reached in time.
        EngineError, OptionError, ValidationError: What is wrong with the call; nothing has been sent.
    """
    given: dict[str, Any] = {name: value for name, value in options.items() if name in FIELDS and value is not None}
    others = {name: value for name, value in options.items() if name not in FIELDS}
    call = resolve_unary(engine, "transcription", others, also=FIELDS)
    request = audio if isinstance(audio, TranscriptionRequest) else TranscriptionRequest(audio)
    model = call.model or request.model or engine.transcription_model
    request = attrs.evolve(request, **given, model=model, options={**request.options, **call.body})
    check_transcription_request(request)
    if model is None and as_adapter(call.adapter).requires_model:
        raise EngineError(
            "no model for transcription is given: pass model=, set Engine(transcription_model=...), or use "
            "engine.with_services(transcription_model='provider:model')",
            reason="missing_model",
        )
    prepared = call.adapter.prepare(request, call.adapter_options)
    with call.running(model=model) as span:
        answer: Transcription = await call.send(prepared, span)
        span.stop(usage=answer.usage, duration=answer.duration)
    return attrs.evolve(answer, metadata={**request.metadata, **answer.metadata})
