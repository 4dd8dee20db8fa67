"""The sources that an answer in one of OpenAI's formats names, as citations of its text.

`annotations` stand beside a text, in a stream between its deltas and once more with the whole item. Their places count
code points of that text: https://platform.openai.com/docs/guides/tools-web-search. A file has one position and no
range. 0 to 0 means that there is no place: OpenRouter sends it for all that its web plugin finds, and OpenAI for a file
that the text does not mention. Perplexity and others have a list for the whole answer, to whose entries marks in the
text refer, `[1]` to the first one: https://docs.perplexity.ai/api-reference/chat-completions-post.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from allm.adapters import as_count, as_list, as_object, as_objects, as_text, code_spans, dumps, whole_text
from allm.data.citation import Citation
from allm.data.events import CitationAdded

__all__ = ["Annotations", "annotate", "cite_the_rest"]

_TEXT = "text-0"  # the block of the text in Chat Completions
_POSITIONS = frozenset({"file_citation", "file_path"})
_MARK = re.compile(r"\[(\d{1,3})\]")


@attrs.define(eq=False)
class Annotations:
    """The annotations of one text while it grows: each becomes a citation once, when the text has its place.

    Those behind one whose place is still to come wait too, as they have to go back in their order.

    Attributes:
        provider: Who sent them.
        files: Those that are no citations: files that OpenRouter has read, which go back so that it need not again.
    """

    provider: str
    files: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]], init=False)
    _cites: bool = attrs.field(default=False, init=False)
    _taken: Counter[int] = attrs.field(factory=Counter[int], init=False)  # hashes
    _waiting: deque[Citation] = attrs.field(factory=deque[Citation], init=False)

    def take(self, annotations: Any, length: int) -> list[Citation]:
        """Take more annotations, each once; the citations whose place is in a text of this length."""
        for annotation in as_objects(annotations):
            key = hash(dumps(annotation))
            if not self._taken[key]:
                self._taken[key] = 1
                self._add(annotation)
        return self._ready(length)

    def close(self, length: int, annotations: Any = None) -> list[Citation]:
        """The citations that are left; the whole list, if it is known, has all that were taken, and maybe more."""
        for annotation in as_objects(annotations):
            key = hash(dumps(annotation))
            if self._taken[key] > 0:
                self._taken[key] -= 1
            else:
                self._add(annotation)
        rest = [citation.within(length) for citation in self._waiting]
        self._waiting.clear()
        return rest

    def end(self, text: str, notes: Mapping[str, Any]) -> list[Citation]:
        """The citations that are left at the end of a text; without any, those of the lists among the notes, once."""
        if not text:
            return []
        text = whole_text(text)
        rest = self.close(len(text)) if self._cites else _listed(text, notes, self.provider)
        self._cites = True
        return rest

    def _add(self, annotation: dict[str, Any]) -> None:
        if annotation.get("type") == "file":
            self.files.append(annotation)
        else:
            self._cites = True
            self._waiting.append(_citation(annotation, self.provider))

    def _ready(self, length: int) -> list[Citation]:
        ready: list[Citation] = []
        while self._waiting and (self._waiting[0].end or 0) <= length:
            ready.append(self._waiting.popleft().within(length))
        return ready


def annotate(decoder: Any, annotations: Any) -> None:
    """Take more annotations of a Chat Completions answer."""
    decoder.annotations = decoder.annotations or Annotations(decoder.provider)
    for citation in decoder.annotations.take(annotations, decoder.message.length("text")):
        decoder.add(CitationAdded(_TEXT, citation))


def cite_the_rest(decoder: Any) -> None:
    """The citations that are left at its end, or those of an answer that only lists its sources."""
    decoder.annotations = decoder.annotations or Annotations(decoder.provider)
    for citation in decoder.annotations.end(decoder.message.texts().get(_TEXT, ""), decoder.notes):
        decoder.add(CitationAdded(_TEXT, citation))


def _citation(annotation: dict[str, Any], provider: str) -> Citation:
    kind = as_text(annotation.get("type")) or ""
    fields = as_object(annotation.get(kind)) or annotation  # Chat Completions has one more level
    start, end = as_count(fields.get("start_index")), as_count(fields.get("end_index"))
    if kind in _POSITIONS and start is None:
        start = end = as_count(fields.get("index"))
    if start is None or not end or start > end:
        start = end = None
    return Citation(
        start,
        end,
        quote=as_text(fields.get("content")) or as_text(fields.get("quote")) or None,
        title=as_text(fields.get("title")) or as_text(fields.get("filename")) or None,
        url=as_text(fields.get("url")) or None,
        file_id=as_text(fields.get("file_id")) or None,
        provider=provider,
        data=annotation,
    )


def _listed(text: str, notes: Mapping[str, Any], provider: str) -> list[Citation]:
    """The citations of an answer that lists its sources: those with marks in the text, then the others.

    Args:
        text: The text of the answer.
        notes: The lists, under their names.
        provider: Who sent them.
    """
    sources = list(_sources(notes, provider))
    marks: list[Citation] = []
    named: set[int] = set()
    for mark in _marks(text) if sources else ():
        place = int(mark.group(1)) - 1
        if 0 <= place < len(sources):
            named.add(place)
            marks.append(attrs.evolve(sources[place], start=mark.start(), end=mark.end()))
    unknown = Citation(provider=provider)
    return marks + [source for place, source in enumerate(sources) if place not in named and source != unknown]


def _sources(notes: Mapping[str, Any], provider: str) -> Iterable[Citation]:
    results = {as_text(result.get("url")): result for result in reversed(as_objects(notes.get("search_results")))}
    sources = as_list(notes.get("citations")) or as_list(notes.get("search_results"))
    for source in sources:
        fields = as_object(source)
        url = as_text(fields.get("url")) if fields else as_text(source)
        if url is None:
            yield Citation(provider=provider)  # which has a number all the same
            continue
        fields = {**results.get(url, {}), **fields}
        rest = {name: value for name, value in fields.items() if name not in {"url", "title", "snippet"}}
        quote, title = as_text(fields.get("snippet")), as_text(fields.get("title"))
        yield Citation(quote=quote or None, title=title or None, url=url or None, provider=provider, data=rest)


def _marks(text: str) -> Iterable[re.Match[str]]:
    """The marks in order, but for what is code."""
    begin = 0
    for start, end in code_spans(text):
        yield from _MARK.finditer(text, begin, start)
        begin = end
    yield from _MARK.finditer(text, begin)
