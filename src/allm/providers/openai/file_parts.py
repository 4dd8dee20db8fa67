"""Documents, audio and videos as parts of a message, and what OpenAI's two APIs take of them.

https://developers.openai.com/api/docs/guides/file-inputs: Chat Completions takes PDF, in the request or by its id, and
no URL; Responses takes many kinds, and URLs too. Audio, of which only Chat Completions takes any, is WAV or MP3:
https://platform.openai.com/docs/guides/audio. Which parts other services take is in their `Preset`. A document that is
text is sent as text where it is not a file for the API.
"""

from __future__ import annotations

from typing import Any

import attrs

from allm.adapters import (
    Media,
    MediaPart,
    Origin,
    UnusableMediaError,
    base64_text,
    document_note,
    document_text,
    media_of,
    mime_type_of,
    own_upload,
)
from allm.data.content import DocumentPart
from allm.data.errors import ValidationError
from allm.providers.openai.presets import OPENAI_ITSELF, Preset

__all__ = ["FileEncoder"]

AUDIO_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
OTHER_AUDIO_FORMATS = {
    "audio/flac": "flac",
    "audio/ogg": "ogg",
    "audio/aac": "aac",
    "audio/mp4": "m4a",
    "audio/aiff": "aiff",
}
"""What other services take as well, with the words that they have for it."""
MAX_FILE_BYTES = 50 * 1024 * 1024
"""Of all files in a request, at OpenAI itself: its guide to PDF files."""
_PDF = "application/pdf"


@attrs.define(eq=False)
class FileEncoder:
    """Encodes the files of one request, other than images, and counts them.

    Attributes:
        preset: The service.
        origin: Whose uploaded files it can refer to.
        responses: For the Responses API; else for Chat Completions.
    """

    preset: Preset
    origin: Origin
    responses: bool
    _inline: int = attrs.field(default=0, init=False)

    def encode(self, part: MediaPart) -> list[dict[str, Any]]:
        """The parts: that of the file, and before it a text where there is something to say of it.

        Raises:
            UnusableMediaError: The service would refuse the request.
        """
        if isinstance(part, DocumentPart):
            return self._document(part)
        media = media_of(part)
        if self.responses:
            what = f"the Responses API does not take {media.phrase}"
            advice = (
                "; a model that hears is called through endpoint='chat_completions'" if media.word == "audio" else ""
            )
            raise UnusableMediaError("unsupported_part", what + advice)
        return [self._audio(media) if media.word == "audio" else self._video(media)]

    def _document(self, part: DocumentPart) -> list[dict[str, Any]]:
        document = part.document
        file = own_upload(document, self.origin)
        text = self._text_type()
        if self._is_text(document) and not (self.responses and self._at_openai):
            return [{"type": text, "text": document_text(part)}]
        note = document_note(part, titled=file is None and document.url is None)
        before = [] if note is None else [{"type": text, "text": note}]
        if file is not None:
            self._needs("file", document)
            sent: dict[str, Any] = {"file_id": file.id}
        elif document.url is not None:
            return [*before, self._linked(document, document.url)]
        elif "document_url" in self.preset.files and not self.responses:
            return [*before, {"type": "document_url", "document_url": self._data_url(document)}]
        else:
            self._needs("file", document)
            sent = {"filename": _filename(part), "file_data": self._data_url(document)}
        return [*before, {"type": "input_file", **sent} if self.responses else {"type": "file", "file": sent}]

    def _linked(self, document: Media, url: str) -> dict[str, Any]:
        if self.responses:
            return {"type": "input_file", "file_url": url}
        if "document_url" in self.preset.files:
            return {"type": "document_url", "document_url": url}
        if "file_url" in self.preset.files:
            return {"type": "file", "file": {"filename": document.file_name(), "file_data": url}}
        what = f"Chat Completions of {self.preset.name} takes no URL of a document"
        raise UnusableMediaError("unsupported_document_url", f"{what}; pass its content with Document.from_bytes")

    def _data_url(self, media: Media) -> Any:
        mime_type = mime_type_of(media)
        if not self.responses and self._at_openai and mime_type != _PDF:
            what = f"Chat Completions does not take {mime_type}"
            advice = "convert it to PDF or to a text, or use endpoint='responses'"
            raise UnusableMediaError("unsupported_document_format", f"{what}; {advice}")
        return self._base64(media, f"data:{mime_type};base64,")

    def _audio(self, media: Media) -> dict[str, Any]:
        self._needs("input_audio", media)
        if own_upload(media, self.origin) is not None or media.url is not None:
            what = f"Chat Completions of {self.preset.name} takes audio only in the request"
            raise UnusableMediaError("unsupported_audio_url", f"{what}; pass it with Audio.from_file or from_bytes")
        mime_type = mime_type_of(media)
        formats = AUDIO_FORMATS if self._at_openai else AUDIO_FORMATS | OTHER_AUDIO_FORMATS
        if mime_type not in formats:
            what = f"{self.preset.name} does not take {mime_type}; convert it to WAV or MP3"
            raise UnusableMediaError("unsupported_audio_format", what)
        return {"type": "input_audio", "input_audio": {"data": self._base64(media), "format": formats[mime_type]}}

    def _video(self, media: Media) -> dict[str, Any]:
        self._needs("video_url", media)
        if own_upload(media, self.origin) is not None:
            what = f"{self.preset.name} takes videos in the request or at a URL, not by an id"
            raise UnusableMediaError("unsupported_part", f"{what}; pass it with Video.from_file or from_url")
        url = media.url or self._base64(media, f"data:{mime_type_of(media)};base64,")
        return {"type": "video_url", "video_url": {"url": url}}

    def _base64(self, media: Media, prefix: str = "") -> Any:
        try:
            text = base64_text(media, prefix)
        except ValidationError as error:
            raise UnusableMediaError(error.errors[0][1], str(error)) from error
        self._inline += len(text) * 3 // 4
        if self._at_openai and self._inline > MAX_FILE_BYTES:
            what = f"the files of this request have more than {MAX_FILE_BYTES:,} bytes"
            raise UnusableMediaError(f"{media.word}_too_large", f"{what}; upload them, or send fewer at once")
        return text

    def _needs(self, form: str, media: Media) -> None:
        if not self.responses and form not in self.preset.files:
            what = f"Chat Completions of {self.preset.name} does not take {media.phrase}"
            raise UnusableMediaError("unsupported_part", what)

    def _is_text(self, document: Any) -> bool:
        try:
            return bool(document.is_text)
        except ValidationError as error:
            raise UnusableMediaError(error.errors[0][1], str(error)) from error

    def _text_type(self) -> str:
        return "input_text" if self.responses else "text"

    @property
    def _at_openai(self) -> bool:
        return self.preset.name in OPENAI_ITSELF and self.origin.place is None


def _filename(part: DocumentPart) -> str:
    """The name under which the model sees it: the title, with the suffix by which services tell the type."""
    name = part.document.file_name()
    if part.title is None:
        return name
    suffix = name[name.rfind(".") :] if "." in name else ""
    return part.title if part.title.endswith(suffix) else part.title + suffix
