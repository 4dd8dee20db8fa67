"""The requests and results of speech synthesis and transcription."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any, Literal, get_args

import attrs

from allm.data.attrs_classes import frozen
from allm.data.audio import Audio
from allm.data.media import media_problem
from allm.data.problems import Problem, mapping_field, shown, wrong_type
from allm.data.response import Usage
from allm.data.transcript_parts import TranscriptionPart

__all__ = [
    "Granularity",
    "Speech",
    "SpeechRequest",
    "Transcription",
    "TranscriptionRequest",
    "speech_problems",
    "transcription_problems",
]

Granularity = Literal["segment", "word"]
MIME_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(;[\w.+=; -]*)?", re.ASCII)


@frozen
class SpeechRequest:
    """A request to synthesize speech.

    Attributes:
        text: What to say.
        model: The provider's model id; None: the engine's.
        voice, format, instructions: In the provider's terms; formats are `mp3`, `wav`, `opus`, `flac`, `aac`, `pcm`.
        speed: 1.0 is normal, 2.0 twice as fast.
        options: Fields added to the provider's request body as they are.
        metadata: Your own data; the response has it too.
    """

    text: str
    model: str | None = attrs.field(default=None, kw_only=True)
    voice: str | None = attrs.field(default=None, kw_only=True)
    format: str | None = attrs.field(default=None, kw_only=True)
    speed: float | None = attrs.field(default=None, kw_only=True)
    instructions: str | None = attrs.field(default=None, kw_only=True)
    options: dict[str, Any] = mapping_field()
    metadata: dict[str, Any] = mapping_field()


@frozen(kw_only=True)
class Speech:
    """Synthesized speech.

    Attributes:
        audio: The audio, or as much of it as arrived.
        complete: Whether all of it arrived.
        usage: Tokens and costs, where the provider says them with the audio (Gemini).
        request_id: The provider's id of the HTTP request.
    """

    audio: Audio
    complete: bool = True
    model: str | None = None
    usage: Usage = attrs.field(factory=Usage)
    request_id: str | None = None
    metadata: dict[str, Any] = mapping_field()


def _audio(value: Any) -> Any:
    return Audio.from_file(value) if isinstance(value, (str, os.PathLike)) else value


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,)


@frozen
class TranscriptionRequest:
    """A request to transcribe audio.

    Attributes:
        audio: An `Audio`, or the path of a file.
        model: The provider's model id; None: the engine's.
        language: The spoken language, as an ISO 639-1 code; None lets the model detect it.
        prompt: Names and words that occur in the audio.
        temperature: How freely the model chooses words, where it can be told.
        timestamps: `segment`, `word`, both or none.
        diarize: Tell speakers apart; None leaves it to the model.
        options: Fields added to the provider's request as they are.
        metadata: Your own data; the transcription has it too.
    """

    audio: Audio = attrs.field(converter=_audio)
    model: str | None = attrs.field(default=None, kw_only=True)
    language: str | None = attrs.field(default=None, kw_only=True)
    prompt: str | None = attrs.field(default=None, kw_only=True)
    temperature: float | None = attrs.field(default=None, kw_only=True)
    timestamps: tuple[Granularity, ...] = attrs.field(default=(), kw_only=True, converter=_several)
    diarize: bool | None = attrs.field(default=None, kw_only=True)
    options: dict[str, Any] = mapping_field()
    metadata: dict[str, Any] = mapping_field()


@frozen(kw_only=True)
class Transcription:
    """Transcribed speech.

    Attributes:
        text: All of it.
        language: The detected language, as the provider names it.
        duration: The length of the audio, in seconds.
        segments, words: Parts with their times, if these were asked for. Of a service that tells speakers by the
            word, a segment is what one of them says without another in between.
        usage: In tokens, or with the seconds that were paid for as `usage.extra["seconds"]`; the costs as for chat.
        model: The model, where the provider names it.
        request_id: The provider's id of the HTTP request.
        complete: Whether it is all of it: not where a stream was left before its end.
        metadata: That of the request, and what else the provider says.
    """

    text: str
    language: str | None = None
    duration: float | None = None
    segments: tuple[TranscriptionPart, ...] = ()
    words: tuple[TranscriptionPart, ...] = ()
    model: str | None = None
    usage: Usage = attrs.field(factory=Usage)
    request_id: str | None = None
    complete: bool = True
    metadata: dict[str, Any] = mapping_field()


def speech_problems(request: SpeechRequest) -> list[Problem]:
    """The problems of a speech request."""
    problems = _wrong_types(request, dict.fromkeys(("model", "voice", "format", "instructions"), str))
    if not isinstance(request.text, str):
        problems.append(wrong_type(("text",), request.text, "str"))
    elif not request.text.strip():
        problems.append(Problem(("text",), "empty", "there is nothing to say"))
    if request.speed is not None and not (type(request.speed) in {int, float} and request.speed > 0):
        sentence = f"is {shown(request.speed)}; expected a number above 0, where 1 is normal"
        problems.append(Problem(("speed",), "must_be_positive", sentence))
    return problems


def transcription_problems(request: TranscriptionRequest) -> list[Problem]:
    """The problems of a transcription request."""
    problems = _wrong_types(request, dict.fromkeys(("model", "language", "prompt"), str))
    if (problem := media_problem(request.audio, Audio)) is not None:
        problems.append(problem.under("audio"))
    elif request.audio.source == ("bytes", b""):
        problems.append(Problem(("audio",), "empty", "there are no bytes in it"))
    mime_type = getattr(request.audio, "mime_type", None)
    if mime_type is not None and not (isinstance(mime_type, str) and MIME_TYPE.fullmatch(mime_type)):
        sentence = f"is {shown(mime_type)}; expected a type such as 'audio/wav', or None"
        problems.append(Problem(("audio", "mime_type"), "invalid_format", sentence))
    if request.temperature is not None and type(request.temperature) not in {int, float}:
        problems.append(wrong_type(("temperature",), request.temperature, "a number"))
    if request.diarize is not None and type(request.diarize) is not bool:
        problems.append(wrong_type(("diarize",), request.diarize, "a bool"))
    for word in request.timestamps:
        if word not in get_args(Granularity):
            sentence = f"has {shown(word)}; expected 'segment' or 'word'"
            problems.append(Problem(("timestamps",), "unknown", sentence))
    return problems


def _wrong_types(request: Any, expected: dict[str, type]) -> list[Problem]:
    return [
        wrong_type((name,), value, kind.__name__)
        for name, kind in expected.items()
        if (value := getattr(request, name)) is not None and not isinstance(value, kind)
    ]
