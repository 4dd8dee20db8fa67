"""Images and sound in a Chat Completions answer.

Images come whole, as `images` of a message (OpenRouter, LiteLLM) or among the parts of its content. Sound comes as
`audio` (https://platform.openai.com/docs/guides/audio): in a stream, pieces of its data and of its transcript, and the
id and the time until which it can be referred to. The transcript is visible text; the sound is kept beside it.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import attrs

from allm.adapters import as_object, as_text, image_of_url
from allm.data.content import ImagePart, ProviderPart
from allm.data.events import AdapterEvent, ImageCompleted, ProviderPartCompleted, TextDelta

__all__ = ["Media"]

_TRANSCRIPT = "audio-0"


@attrs.define(eq=False)
class Media:
    """What has come of it.

    Attributes:
        provider: Whose part the sound becomes.
    """

    provider: str
    _urls: list[str] = attrs.field(factory=list[str], init=False)
    _audio: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)
    _data: list[str] = attrs.field(factory=list[str], init=False)
    _transcript: list[str] = attrs.field(factory=list[str], init=False)

    def image(self, part: dict[str, Any]) -> list[AdapterEvent]:
        """The events of `{"image_url": {"url": ...}}`; some services repeat the images in their last chunk."""
        given = part.get("image_url")
        url = as_text(given) or as_text(as_object(given).get("url"))
        image = None if url is None or url in self._urls else image_of_url(url, None)
        if url is None or image is None:
            return []
        self._urls.append(url)
        return [ImageCompleted(f"image-{len(self._urls) - 1}", ImagePart(image))]

    def audio(self, audio: dict[str, Any]) -> list[AdapterEvent]:
        """The events of a piece."""
        pieces = {"data": self._data, "transcript": self._transcript}
        for name, value in audio.items():
            if name not in pieces:
                self._audio[name] = value
            elif text := as_text(value):
                pieces[name].append(text)
        text = as_text(audio.get("transcript"))
        return [TextDelta(_TRANSCRIPT, text)] if text is not None else []

    def complete(self) -> list[AdapterEvent]:
        """The events at the end of the answer."""
        if not self._data:
            return []
        audio = {**self._audio, "data": _joined(self._data), "transcript": "".join(self._transcript)}
        part = ProviderPart(self.provider, {"type": "audio", "audio": audio})
        return [ProviderPartCompleted("audio", part)]


def _joined(pieces: list[str]) -> str:
    """Base64 texts as one: each may have an end of its own."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(base64.b64decode(piece, validate=True) for piece in pieces)).decode("ascii")
    except (binascii.Error, ValueError):  # cut anywhere: then only the whole is base64
        return "".join(pieces)
