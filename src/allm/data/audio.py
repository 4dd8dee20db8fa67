"""Audio as a value."""

from __future__ import annotations

from typing import ClassVar

from allm.data.attrs_classes import frozen
from allm.data.media import Media

__all__ = ["Audio", "sniff_audio"]

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
class Audio(Media):
    """A piece of audio. Build it with a `from_...` constructor; nothing is read or fetched until bytes are asked for.

    Attributes:
        source: `(kind, value)`, kind one of `bytes`, `base64`, `url`, `file`, `upload`.
        mime_type: Such as `audio/mpeg`; detected from the name or the bytes if not given, None if unknown.
        name: A file name for the provider; some detect the format by it.
    """

    word: ClassVar[str] = "audio"
    phrase: ClassVar[str] = "audio"
    _extensions: ClassVar[dict[str, str]] = EXTENSIONS

    @staticmethod
    def _sniff(head: bytes) -> str | None:
        return sniff_audio(head)

    @property
    def data(self) -> bytes:
        """The bytes of the file, as `to_bytes` gives them."""
        return self.to_bytes()
