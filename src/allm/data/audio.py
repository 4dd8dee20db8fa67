"""Audio as a value, and the requests and results of speech synthesis and transcription."""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import attrs

from allm.data.atomic_write import write_whole
from allm.data.attrs_classes import frozen
from allm.data.errors import ValidationError
from allm.data.problems import Problem, mapping_field, shown, wrong_type
from allm.data.response import Usage

__all__ = [
    "Audio",
    "Granularity",
    "Speech",
    "SpeechRequest",
    "Transcription",
    "TranscriptionPart",
    "TranscriptionRequest",
    "sniff_audio",
    "speech_problems",
    "transcription_problems",
]

Granularity = Literal["segment", "word"]

EXTENSIONS = {
    ".aac": "audio/aac",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".mp4": "audio/mp4",
    ".mpeg": "audio/mpeg",
    ".mpga": "audio/mpeg",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
    ".webm": "audio/webm",
}
MIME_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(;[\w.+=; -]*)?", re.ASCII)
_SIGNATURES = (
    (b"ID3", "audio/mpeg"),
    (b"fLaC", "audio/flac"),
    (b"OggS", "audio/ogg"),
    (b"\x1aE\xdf\xa3", "audio/webm"),
)
_MPEG_SYNC = 0xFF
_MPEG_MASK, _ADTS, _LAYERS = 0xF6, 0xF0, 0xE6


def sniff_audio(data: bytes) -> str | None:
    """The MIME type according to the first bytes (RIFF, ISO 14496-12, RFC 9639, RFC 3533, ISO 11172-3), or None."""
    for signature, mime_type in _SIGNATURES:
        if data.startswith(signature):
            return mime_type
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        return "audio/wav"
    if data[4:8] == b"ftyp":
        return "audio/mp4"
    if len(data) > 1 and data[0] == _MPEG_SYNC:
        if data[1] & _MPEG_MASK == _ADTS:
            return "audio/aac"
        if data[1] & _LAYERS in {0xE2, 0xE4, 0xE6}:
            return "audio/mpeg"
    return None


@frozen(repr=False)
class Audio:
    """A piece of audio, as the bytes of a file.

    Attributes:
        data: The bytes of the file.
        mime_type: Such as `audio/mpeg`; detected from the bytes or the name if not given, None if unknown.
        name: A file name for the provider; some detect the format by it.
    """

    _in_json: ClassVar[str] = (
        "no tool can return audio yet: return a text, such as its transcription"  # see data/types/encode.py
    )

    data: bytes
    mime_type: str | None = None
    name: str | None = attrs.field(default=None, kw_only=True)

    @classmethod
    def from_bytes(cls, data: bytes, mime_type: str | None = None) -> Audio:
        """Make audio from raw bytes; `mime_type` is detected from them if not given."""
        return cls(bytes(data), mime_type or sniff_audio(data))

    @classmethod
    def from_base64(cls, text: str, mime_type: str | None = None) -> Audio:
        """Make audio from base64 text, as a provider sends it.

        Raises:
            ValidationError: It does not decode.
        """
        try:
            return cls.from_bytes(base64.b64decode(text, validate=True), mime_type)
        except binascii.Error as error:
            raise _unusable("invalid_base64", f"the base64 text of the audio does not decode: {error}") from error

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Audio:
        """Read the file at `path`.

        Raises:
            ValidationError: It cannot be read.
        """
        place = Path(path)
        try:
            data = place.read_bytes()
        except OSError as error:
            message = f"cannot read the audio file {os.fspath(path)!r}: {error.strerror}"
            raise _unusable("unreadable_file", message) from error
        return cls(data, EXTENSIONS.get(place.suffix.lower()) or sniff_audio(data), name=place.name)

    def to_base64(self) -> str:
        """The bytes as base64 text."""
        return base64.b64encode(self.data).decode("ascii")

    def file_name(self) -> str:
        """The name, or one with the suffix of the MIME type."""
        if self.name is not None:
            return self.name
        suffixes = {mime_type: suffix for suffix, mime_type in reversed(EXTENSIONS.items())}
        return f"audio{suffixes.get(self.mime_type or '', '')}"

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the bytes to `path`, replacing its content atomically, and return the path.

        Raises:
            OSError: The file cannot be written; its old content is unchanged.
        """
        return write_whole(path, self.data)

    def __repr__(self) -> str:
        return f"Audio(<{len(self.data)} bytes>, mime_type={self.mime_type!r}, name={self.name!r})"


def _unusable(tag: str, message: str) -> ValidationError:
    return ValidationError([Problem(("data",), tag, message)], reason="invalid_audio", message=message)


@frozen
class SpeechRequest:
    """A request to synthesize speech.

    Attributes:
        text: What to say.
        voice, format, instructions: In the provider's terms; formats are `mp3`, `wav`, `opus`, `flac`, `aac`, `pcm`.
        speed: 1.0 is normal.
        options: Fields added to the provider's request body as they are.
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
        request_id: The provider's id of the HTTP request.
    """

    audio: Audio
    complete: bool = True
    model: str | None = None
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
        language: The spoken language, as an ISO 639-1 code; None lets the model detect it.
        prompt: Names and words that occur in the audio.
        timestamps: `segment`, `word`, both or none.
        options: Fields added to the provider's request as they are.
    """

    audio: Audio = attrs.field(converter=_audio)
    model: str | None = attrs.field(default=None, kw_only=True)
    language: str | None = attrs.field(default=None, kw_only=True)
    prompt: str | None = attrs.field(default=None, kw_only=True)
    temperature: float | None = attrs.field(default=None, kw_only=True)
    timestamps: tuple[Granularity, ...] = attrs.field(default=(), kw_only=True, converter=_several)
    options: dict[str, Any] = mapping_field()
    metadata: dict[str, Any] = mapping_field()


@frozen(kw_only=True)
class TranscriptionPart:
    """A segment or a word.

    Attributes:
        start, end: Seconds from the beginning.
        speaker: The speaker, if the model distinguishes them.
    """

    text: str
    start: float | None = None
    end: float | None = None
    speaker: str | None = None


@frozen(kw_only=True)
class Transcription:
    """Transcribed speech.

    Attributes:
        language: The detected language, as the provider names it.
        duration: The length of the audio, in seconds.
        segments, words: Parts with their times, if these were asked for.
    """

    text: str
    language: str | None = None
    duration: float | None = None
    segments: tuple[TranscriptionPart, ...] = ()
    words: tuple[TranscriptionPart, ...] = ()
    model: str | None = None
    usage: Usage = attrs.field(factory=Usage)
    request_id: str | None = None
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
    if not isinstance(request.audio, Audio):
        problems.append(wrong_type(("audio",), request.audio, "Audio, or the path of a file"))
    elif not isinstance(request.audio.data, bytes):
        problems.append(wrong_type(("audio", "data"), request.audio.data, "bytes"))
    elif not request.audio.data:
        problems.append(Problem(("audio",), "empty", "there are no bytes in it"))
    mime_type = getattr(request.audio, "mime_type", None)
    if mime_type is not None and not (isinstance(mime_type, str) and MIME_TYPE.fullmatch(mime_type)):
        sentence = f"is {shown(mime_type)}; expected a type such as 'audio/wav', or None"
        problems.append(Problem(("audio", "mime_type"), "invalid_format", sentence))
    if request.temperature is not None and type(request.temperature) not in {int, float}:
        problems.append(wrong_type(("temperature",), request.temperature, "a number"))
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
