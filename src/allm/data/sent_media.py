"""Files of a prompt in forms that more than one vendor takes, and what is wrong with those that only one can read."""

from __future__ import annotations

import time
from html import escape

from allm.data.content import DocumentPart
from allm.data.errors import ValidationError
from allm.data.file_ref import FileRef
from allm.data.media import Media
from allm.data.message_builder import Origin
from allm.data.problems import UnusableMediaError

__all__ = ["document_note", "document_text", "mime_type_of", "own_upload"]


def own_upload(media: Media, origin: Origin) -> FileRef | None:
    """The file that this service keeps; None if the content is here, or at a URL.

    Raises:
        UnusableMediaError: Another service keeps it, or this one has deleted it.
    """
    file = media.upload
    if file is None:
        return None
    kind = type(media).__name__
    if file.provider != origin.provider or (file.endpoint != origin.place and (origin.has_own or file.endpoint)):
        where = file.provider if file.endpoint is None else f"{file.provider} at {file.endpoint}"
        what = f"the {media.word} {file.filename or file.id!r} is kept by {where}, and {origin.provider} cannot read it"
        raise UnusableMediaError("foreign_upload", f"{what}; send its content with {kind}.from_file or from_bytes")
    if file.expires_at is not None and file.expires_at <= time.time():
        what = f"{origin.provider} has deleted the {media.word} {file.filename or file.id!r}, as its time is over"
        raise UnusableMediaError("expired_upload", f"{what}; upload it again")
    return file


def mime_type_of(media: Media) -> str:
    """The MIME type, which has to be known.

    Raises:
        UnusableMediaError: It is not, or the file cannot be read.
    """
    try:
        return media.resolved_mime_type()
    except ValidationError as error:
        raise UnusableMediaError(error.errors[0][1], str(error)) from error


def document_text(part: DocumentPart) -> str:
    """A document that is text, as text with a line before and after it that says where it begins and ends.

    Raises:
        UnusableMediaError: It is no text in UTF-8, or the file cannot be read.
    """
    title = part.title or (part.document.file_name() if part.document.source[0] != "text" else None)
    named = "" if title is None else f' title="{escape(title)}"'
    source = "" if part.source is None else f' source="{escape(part.source)}"'
    context = "" if part.context is None else f' context="{escape(part.context)}"'
    try:
        return f"<document{named}{source}{context}>\n{part.document.text()}\n</document>"
    except ValidationError as error:
        raise UnusableMediaError(error.errors[0][1], str(error)) from error


def document_note(part: DocumentPart, *, titled: bool = False) -> str | None:
    """What a service without fields for it is told in a text before a document; None if there is nothing to tell.

    Args:
        part: Whose title, source and context.
        titled: The service has a field for the title.
    """
    told = [] if part.title is None or titled else [f"Title of the next file: {part.title}"]
    if part.source is not None:
        told.append(f"Source of the next file: {part.source}")
    if part.context is not None:
        told.append(f"Context of the next file: {part.context}")
    return "\n".join(told) or None
