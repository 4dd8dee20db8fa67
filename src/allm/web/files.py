"""Files of pages and clients, as parts of ours: images, documents, audio and videos.

A visitor can write anything for one. So it holds its bytes itself, or is at a web address, which the provider fetches;
never is it a file of the server, or one that a provider keeps.
"""

from __future__ import annotations

from typing import Any

import attrs

from allm.data.audio import Audio
from allm.data.content import OF_MEDIA, MediaPart
from allm.data.document import Document, Video
from allm.data.errors import ValidationError
from allm.data.image import Image
from allm.data.media import Media
from allm.data.problems import Problem

__all__ = ["KINDS", "read_file"]

KINDS: dict[str, type[Media]] = {kind.word: kind for kind in (Image, Document, Audio, Video)}
"""By the names that AG-UI has too."""
_WEB = ("https://", "http://")


def read_file(
    kind: type[Media], value: str, mime_type: Any, problems: list[Problem], *, is_url: bool = True, name: Any = None
) -> list[MediaPart]:
    """The part in a list, or none; adds what is wrong with it to the problems.

    Args:
        kind: Of file.
        value: Its address, or its bytes in base64.
        mime_type: What the page calls it.
        is_url: Whether it is an address, which may also hold the bytes (`data:`).
        name: Of the file, as the visitor has it.
    """
    known = mime_type if isinstance(mime_type, str) and "/" in mime_type else None
    inside = value[:5].lower() == "data:"
    if is_url and not inside and not value[:8].lower().startswith(_WEB):
        problems.append(Problem((), "unsupported_part", "has a URL of another kind than data:, https: and http:"))
        return []
    try:
        media = kind.from_base64(value, known) if inside or not is_url else kind.from_url(value, known)
    except ValidationError as error:
        problems += error.problems
        return []
    return [OF_MEDIA[kind](attrs.evolve(media, name=name) if isinstance(name, str) and name else media)]
