"""What a message is built from: texts, files and parts, and what is taken for one of them by mistake."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from allm.data.content import OF_MEDIA, PART_TYPES, Part, TextPart
from allm.data.errors import Problem, ValidationError
from allm.data.media import Media
from allm.data.problems import shown

__all__ = ["for_dicts", "parts_of", "refuse_file_name"]

_FILE_NAME = re.compile(
    r"\S+\.(?:(?P<Image>png|jpe?g|gif|webp)|(?P<Document>pdf|docx|xlsx)|(?P<Audio>mp3|wav)|(?P<Video>mp4|mov))",
    re.IGNORECASE,
)


def parts_of(pieces: tuple[Any, ...]) -> str | tuple[Part, ...]:
    """The content of a message that is built from these pieces.

    Raises:
        ValidationError: A piece is neither a text, nor a file, nor a part.
    """
    if len(pieces) == 1 and isinstance(pieces[0], str):
        return pieces[0]
    parts: list[Part] = []
    for index, piece in enumerate(pieces):
        if isinstance(piece, str):
            parts.append(TextPart(piece))
        elif isinstance(piece, Media):
            parts.append(OF_MEDIA[type(piece)](piece))
        elif isinstance(piece, PART_TYPES):
            parts.append(cast("Part", piece))
        else:
            sentence = (
                f"is {type(piece).__name__}; expected str, Image, Document or a part such as TextPart{for_dicts(piece)}"
            )
            raise ValidationError(
                [Problem(("content", index), "invalid_part_type", sentence)], reason="invalid_message"
            )
    return tuple(parts)


def refuse_file_name(text: str, index: int) -> None:
    """Refuse a text that is only the name of a file, of which the model would see nothing else.

    Raises:
        ValidationError: It is.
    """
    if (name := _FILE_NAME.fullmatch(text)) is None:
        return
    kind = next(kind for kind in OF_MEDIA if kind.__name__ == name.lastgroup)
    maker = f"{kind.__name__}.{'from_url' if '://' in text else 'from_file'}"
    sentence = f"is {shown(text)}, which would be sent as text; expected allm.{maker}({text!r})"
    problem = Problem(("content", index), f"{kind.word}_as_text", sentence)
    raise ValidationError([problem], reason="invalid_message")


def for_dicts(value: Any) -> str:
    """The way out for messages as OpenAI's library takes them."""
    return ". For OpenAI's dictionaries: allm.messages_from_openai([...])" if isinstance(value, Mapping) else ""
