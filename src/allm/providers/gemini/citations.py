"""What an answer names as its sources, as citations of its text.

`groundingMetadata` comes at the end and has sources (`groundingChunks`) and the segments of the answer that they
support: https://ai.google.dev/api/generate-content#GroundingMetadata. `citationMetadata` has segments that repeat what
is public: https://ai.google.dev/api/generate-content#v1beta.CitationMetadata. Both count UTF-8 bytes, `startIndex`
is left out where it is 0, and, unlike documented, a segment without `partIndex` is one of all texts of the answer
joined. A segment whose place does not have its text is looked for by that text.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from allm.adapters import as_count, as_list, as_object, as_objects, as_text, whole_text
from allm.data.citation import Citation
from allm.data.events import CitationAdded
from allm.providers.gemini.part_decode import PROVIDER

__all__ = ["citations_of"]

_KINDS = ("web", "retrievedContext", "maps", "image")
_NAMED = frozenset({"uri", "title", "text"})


def citations_of(
    texts: Mapping[str, str], grounding: dict[str, Any], citation_notes: dict[str, Any]
) -> Iterator[CitationAdded]:
    """The citations of an answer whose blocks of text have these ids; nothing without a text.

    Args:
        texts: The blocks in order.
        grounding: Its `groundingMetadata`.
        citation_notes: Its `citationMetadata`.
    """
    if not any(texts.values()):
        return
    answer = _Answer({block: whole_text(text) for block, text in texts.items()})
    sources = [_source(chunk) for chunk in as_list(grounding.get("groundingChunks"))]
    supports = as_objects(grounding.get("groundingSupports"))
    for support in supports:
        place = answer.place_of(as_object(support.get("segment")))
        for index in as_list(support.get("groundingChunkIndices")):
            number = as_count(index)
            if number is not None and number < len(sources):
                yield place.of(sources[number])
    for source in () if supports else sources:
        if source != _UNKNOWN:
            yield answer.nowhere.of(source)
    # The Gemini API has the one name, Vertex AI the other.
    for name in ("citationSources", "citations"):
        for segment in as_objects(citation_notes.get(name)):
            yield answer.place_of(segment).of(_recited(segment))


_UNKNOWN = Citation(provider=PROVIDER)


def _source(chunk: Any) -> Citation:
    fields = as_object(chunk)
    for kind in _KINDS:
        if found := as_object(fields.get(kind)):
            rest = {name: value for name, value in found.items() if name not in _NAMED}
            return _named(found, {kind: rest} if rest else {})
    return _UNKNOWN


def _recited(source: dict[str, Any]) -> Citation:
    known = {"startIndex", "endIndex", *_NAMED}
    return _named(source, {name: value for name, value in source.items() if name not in known})


def _named(fields: dict[str, Any], rest: dict[str, Any]) -> Citation:
    quote, title, url = (as_text(fields.get(name)) or None for name in ("text", "title", "uri"))
    url = url or as_text(fields.get("sourceUri")) or None  # of an image
    return Citation(quote=quote, title=title, url=url, provider=PROVIDER, data=rest)


_MOST_SEARCHES = 500
"""Each goes through the whole text; an answer that was recorded with wrong places had five."""


@attrs.frozen
class _Place:
    block: str
    start: int | None = None
    end: int | None = None

    def of(self, source: Citation) -> CitationAdded:
        return CitationAdded(self.block, attrs.evolve(source, start=self.start, end=self.end))


@attrs.define(eq=False)
class _Answer:
    """The texts of an answer, and the place in one of them for a place in all of them."""

    texts: Mapping[str, str]
    _joined: str = attrs.field(init=False)
    _data: bytes = attrs.field(init=False)
    _begins: list[int] = attrs.field(init=False)  # of each text in the joined one
    _known: list[tuple[int, int]] = attrs.field(init=False)  # bytes and code points from the beginning, ascending
    _searches: int = attrs.field(default=_MOST_SEARCHES, init=False)  # that may still be made

    def __attrs_post_init__(self) -> None:
        self._joined = "".join(self.texts.values())
        self._data = self._joined.encode("utf-8", "surrogatepass")
        self._begins, begin = [], 0
        for text in self.texts.values():
            self._begins.append(begin)
            begin += len(text)
        self._known = [(0, 0)]

    @property
    def nowhere(self) -> _Place:
        return _Place(next(iter(self.texts)))

    def place_of(self, segment: dict[str, Any]) -> _Place:
        end = as_count(segment.get("endIndex"))
        start = as_count(segment.get("startIndex")) or 0
        text = as_text(segment.get("text")) or ""
        for base in self._bases(segment) if end and start < end else ():
            first, last = self._characters(base + start), self._characters(base + (end or 0))
            if first is not None and last is not None and (not text or self._joined.startswith(text, first, last)):
                return self._in_block(first, last)
        found = self._find(text, start) if text else -1
        return self.nowhere if found < 0 else self._in_block(found, found + len(text))

    def _bases(self, segment: dict[str, Any]) -> Iterator[int]:
        """Where the segment's bytes may begin to count: with the answer, or with the text that it names."""
        part = as_count(segment.get("partIndex"))
        if part is not None and part < len(self.texts):
            yield sum(len(text.encode("utf-8", "surrogatepass")) for text in list(self.texts.values())[:part])
        if not part or segment.get("text"):
            yield 0

    def _characters(self, size: int) -> int | None:
        """How many characters the first bytes are; None inside a character, or behind the end."""
        if size > len(self._data) or (size < len(self._data) and self._data[size] & 0xC0 == 0x80):  # noqa: PLR2004
            return None
        at = bisect.bisect_right(self._known, (size, size)) - 1
        begin, characters = self._known[at]
        characters += len(self._data[begin:size].decode("utf-8", "surrogatepass"))
        if begin != size:
            self._known.insert(at + 1, (size, characters))
        return characters

    def _find(self, text: str, near: int) -> int:
        """Where the text is: the first one not far before that many bytes, or anywhere."""
        self._searches -= 1
        if self._searches < 0:
            return -1
        about = len(self._data[:near].decode("utf-8", "ignore"))
        found = self._joined.find(text, max(0, about - len(text)))
        return self._joined.find(text) if found < 0 else found

    def _in_block(self, start: int, end: int) -> _Place:
        """The place in the block in which it begins; what goes on in the next one is left out."""
        at = bisect.bisect_right(self._begins, start) - 1
        block, begin = list(self.texts)[at], self._begins[at]
        return _Place(block, start - begin, min(end - begin, len(self.texts[block])))
