"""Answers as documents: `markdown` writes one with footnotes for its sources."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.citation import Citation
from allm.data.content import TextPart
from allm.data.markdown_code import code_spans
from allm.data.message import Message
from allm.data.response import Response
from allm.data.results import ChatResult

__all__ = ["markdown"]

_SPECIAL = re.compile(r"([\\`*_\[\]<>~|$&#!])")
_WEB = re.compile(r"https?://", re.IGNORECASE)
_UNSAFE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029<>\\\"`|]")
_NUMBER = re.compile(r"\[\^(\d{1,9})\]")
_MARK = re.compile(r"\[\d{1,3}\]")
_LINK = re.compile(r"\]\((?:<[^<>\n]*>|[^()\s<]*(?:\([^()\s]*\)[^()\s]*)*)(?:[ \t]+\"[^\"\n]*\")?\)|https?://[^\s<>]+")


def markdown(value: Response[Any] | Message | ChatResult[Any]) -> str:
    """The text of an answer in Markdown, with a footnote for each source.

    A mark stands at the end of each place that relies on the source, behind code and addresses that end there; a
    source without a place has its mark at the end of the text. A mark that the model wrote itself for the source, as
    `[1]`, gives way to it. Only addresses of the web are links.

    Args:
        value: A response, a message, or the result of a turn, of which the last response is taken.
    """
    if isinstance(value, ChatResult):
        message = value.final_response.message if value.final_response is not None else Message("assistant", "")
    else:
        message = value.message if isinstance(value, Response) else value
    text = message.text
    if not message.citations:
        return text
    notes = _Notes(max((int(found) for found in _NUMBER.findall(text)), default=0))
    body = "".join(
        notes.mark(part.text, part.citations) for part in message.parts if isinstance(part, TextPart)
    ).rstrip()
    return "\n".join([body, "", *notes.lines()])


@define(eq=False)
class _Source:
    citation: Citation
    pages: dict[int, None] = attrs.field(factory=dict[int, None])

    def line(self) -> str:
        title, url = self.citation.title, self.citation.url or ""
        web = _WEB.match(url.strip())
        if title is None and not web and ":" not in url:
            title = url or None
        name = _plain(title or (url if web else "") or self.citation.quote or self.citation.file_id or "a source")
        shown = f"[{name}]({_address(url.strip())})" if web else name
        pages = ", ".join(map(str, sorted(self.pages)))
        return f"{shown}, page{'s' if len(self.pages) > 1 else ''} {pages}" if pages else shown


@define(eq=False)
class _Notes:
    """The footnotes so far, by what tells one source from another.

    Attributes:
        before: The highest number of a footnote that the text has itself.
    """

    before: int
    _sources: dict[Any, _Source] = attrs.field(factory=dict[Any, _Source], init=False)
    _numbers: dict[Any, int] = attrs.field(factory=dict[Any, int], init=False)

    def lines(self) -> Iterator[str]:
        return (f"[^{self._numbers[key]}]: {source.line()}" for key, source in self._sources.items())

    def mark(self, text: str, citations: tuple[Citation, ...]) -> str:
        """The text with its marks."""
        end = len(text.rstrip())
        closed = _Closed(text)
        places: dict[int, dict[Citation, None]] = {}
        replaced: dict[int, int] = {}
        for citation in citations:
            start, stop = citation.within(len(text)).start, citation.end
            if start is None or stop is None:
                place = end
            else:
                while stop > start and text[stop - 1].isspace():
                    stop -= 1
                place = closed.behind(stop)
                if _MARK.fullmatch(text, start, stop) and place == stop:
                    replaced[start] = stop
            places.setdefault(place, {})[citation] = None
        pieces: list[str] = []
        done = 0
        for start, stop in sorted([*replaced.items(), *((place, place) for place in places)]):
            if start < stop:
                pieces.append(text[done:start])
                done = stop
            elif start in places:
                pieces.append(text[done:start])
                pieces.append(self._marks(places[start], closed, start, pieces[-1]))
                done = start
        return "".join([*pieces, text[done:]])

    def _marks(self, citations: dict[Citation, None], closed: _Closed, place: int, before: str) -> str:
        numbers = sorted({self._number(citation) for citation in citations})
        marks = "".join(f"[^{number}]" for number in numbers)
        if closed.ends_block(place):  # on a line of its own, which is no part of the block
            return ("" if before.endswith("\n") else "\n") + f"\n{marks}\n"
        return f" {marks}" if before.endswith("]") else marks  # `[a][^1]` would be a link

    def _number(self, citation: Citation) -> int:
        place = citation.source
        which = place.index if place is not None else None
        key = citation.url or citation.file_id or (which, citation.title or citation.quote)
        source = self._sources.get(key)
        if source is None:
            source = self._sources[key] = _Source(citation)
            self._numbers[key] = self.before + len(self._sources)
        if place is not None and place.unit == "pages":
            source.pages |= dict.fromkeys(range(place.start, min(place.end, place.start + _MOST_PAGES)))
        return self._numbers[key]


_MOST_PAGES = 50
"""Pages of one citation that are listed; a service may send any number."""


@define(eq=False)
class _Closed:
    """The places of a text in which a mark would break something: code, and addresses."""

    text: str
    _spans: list[tuple[int, int]] = attrs.field(init=False)
    _blocks: set[int] = attrs.field(init=False)  # ends of code blocks

    def __attrs_post_init__(self) -> None:
        code = code_spans(self.text)
        links = [found.span() for found in _LINK.finditer(self.text)]
        self._spans = []
        for start, end in sorted([*code, *links]):  # what overlaps is one
            if self._spans and start < self._spans[-1][1]:
                start, end = self._spans[-1][0], max(end, self._spans.pop()[1])
            self._spans.append((start, end))
        fenced = (self.text[start:end] for start, end in code)
        self._blocks = {
            end for (_, end), block in zip(code, fenced, strict=True) if "```" in block[:99] or "~~~" in block[:99]
        }

    def behind(self, place: int) -> int:
        """The place, or the end of what must not be broken there."""
        at = bisect.bisect_left(self._spans, (place, place)) - 1
        if at < 0:
            return place
        start, end = self._spans[at]
        # The line break that ends a code block belongs to it.
        inside = start < place < end or (place == end - 1 and end in self._blocks)
        return end if inside else place

    def ends_block(self, place: int) -> bool:
        """Whether a code block ends there, or the line break behind it."""
        return place in self._blocks or place + 1 in self._blocks


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _address(url: str) -> str:
    """An address as the target of a link."""
    safe = _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found.group().encode()), url)
    return f"<{safe}>" if "(" in safe or ")" in safe else safe
