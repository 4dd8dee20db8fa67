"""What a text names as its sources, in `citationsContent` and the deltas of citations.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Citation.html. A citation is for the whole of its
block. Its place in the source counts characters and chunks from 0, and pages from 1; one on the web has none.
"""

from __future__ import annotations

from typing import Any

from allm.adapters import as_count, as_object, as_objects, as_text
from allm.data.citation import Citation, SourcePlace
from allm.providers.bedrock.names import PROVIDER

__all__ = ["citation_of"]

_PLACES: tuple[tuple[Any, str, str], ...] = (
    ("characters", "documentChar", "documentIndex"),
    ("pages", "documentPage", "documentIndex"),
    ("blocks", "documentChunk", "documentIndex"),
    ("blocks", "searchResultLocation", "searchResultIndex"),
)


def citation_of(data: dict[str, Any], length: int) -> Citation:
    """One citation of a block whose text has `length` code points."""
    location = as_object(data.get("location"))
    quoted = "".join(as_text(piece.get("text")) or "" for piece in as_objects(data.get("sourceContent")))
    return Citation(
        0 if length else None,
        length or None,
        quote=quoted or None,
        title=as_text(data.get("title")) or None,
        url=as_text(as_object(location.get("web")).get("url")) or as_text(data.get("source")) or None,
        source=_place(location),
        provider=PROVIDER,
        data=data,
    )


def _place(location: dict[str, Any]) -> SourcePlace | None:
    for unit, name, index in _PLACES:
        place = as_object(location.get(name))
        start, end = as_count(place.get("start")), as_count(place.get("end"))
        if start is not None and end is not None:
            return SourcePlace(unit, start, end=end, index=as_count(place.get(index)))
    return None
