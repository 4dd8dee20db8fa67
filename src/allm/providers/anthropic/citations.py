"""What a text block names as its sources: https://platform.claude.com/docs/en/build-with-claude/citations.

A citation is for the whole of its block. Its place in the source counts characters and blocks from 0, and pages from 1.
"""

from __future__ import annotations

from typing import Any

from allm.adapters import as_count, as_text
from allm.data.citation import Citation, SourcePlace
from allm.providers.anthropic.names import PROVIDER

__all__ = ["citation_of"]

_PLACES: tuple[tuple[Any, str], ...] = (
    ("characters", "{}_char_index"),
    ("pages", "{}_page_number"),
    ("blocks", "{}_block_index"),
)


def citation_of(data: dict[str, Any], length: int) -> Citation:
    """One citation of a block whose text has `length` code points."""
    url = as_text(data.get("url")) or as_text(data.get("source"))
    return Citation(
        0 if length else None,
        length or None,
        quote=as_text(data.get("cited_text")) or None,
        title=as_text(data.get("title")) or as_text(data.get("document_title")) or None,
        url=url or None,
        file_id=as_text(data.get("file_id")) or None,
        source=_place(data),
        provider=PROVIDER,
        data=data,
    )


def _place(data: dict[str, Any]) -> SourcePlace | None:
    index = as_count(data.get("document_index"))
    if index is None:
        index = as_count(data.get("search_result_index"))
    for unit, name in _PLACES:
        start, end = as_count(data.get(name.format("start"))), as_count(data.get(name.format("end")))
        if start is not None and end is not None:
            return SourcePlace(unit, start, end=end, index=index)
    return None
