"""Where a Markdown text has code, in which nothing else of Markdown has a meaning: https://spec.commonmark.org."""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator

__all__ = ["code_spans"]

_FENCE = re.compile(r"^[ >]*(?:[-*+] +|\d+[.)] +)?(`{3,}|~{3,})([^\n]*)\n?", re.MULTILINE)
_RUN = re.compile(r"(?<![\\`])`+")
_BLANK = re.compile(r"\n[ \t]*\n")


def code_spans(text: str) -> list[tuple[int, int]]:
    """The begin and the end of each code block between fences, and of each code span in a line, in order."""
    spans: list[tuple[int, int]] = []
    begin, fence, opened = 0, "", 0
    for found in _FENCE.finditer(text) if "```" in text or "~~~" in text else ():
        marks, info = found.group(1), found.group(2)
        if not fence and ("`" not in info or marks[0] == "~"):
            spans += _inline(text, begin, found.start())
            fence, opened = marks, found.start()
        elif fence and marks[0] == fence[0] and len(marks) >= len(fence) and not info.strip():
            spans.append((opened, found.end()))
            begin, fence = found.end(), ""
    if fence:  # never closed: all the rest is code
        return [*spans, (opened, len(text))]
    return spans + list(_inline(text, begin, len(text)))


def _inline(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans between runs of equally many backticks; none is longer than a paragraph."""
    if text.find("`", begin, end) < 0:
        return
    for blank in _BLANK.finditer(text, begin, end):
        yield from _of_paragraph(text, begin, blank.start())
        begin = blank.end()
    yield from _of_paragraph(text, begin, end)


def _of_paragraph(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    runs = [(found.start(), found.end()) for found in _RUN.finditer(text, begin, end)]
    starts: dict[int, list[int]] = {}
    for start, stop in runs:
        starts.setdefault(stop - start, []).append(start)
    done = begin
    for start, stop in runs:
        if start < done:
            continue
        same = starts[stop - start]
        following = bisect.bisect_right(same, start)
        if following < len(same):
            done = same[following] + stop - start
            yield start, done
