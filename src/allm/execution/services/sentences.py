"""Text that is still arriving, as pieces to be spoken: whole sentences, or words where a sentence is very long."""

from __future__ import annotations

import re

from allm.data.attrs_classes import define

__all__ = ["Sentences"]

SHORTEST = 20
"""Characters: a shorter sentence is said with the next one, so that "Yes." is no request, nor "Dr." a sentence."""
LONGEST = 1000
"""Characters; the smallest limit of a vendor is far above, but speech that begins late is no stream."""
# An end counts when what follows it is there, as 3.14 has a stop in it. Chinese and Japanese (their full stop, ! and ?)
# have no space behind one. Quotation marks and brackets that close belong to the sentence.
_CLOSING = r"\"'\u201d\u2019\u00bb)\]\u300d\u300f\uff09"
_EAST = r"\u3002\uff01\uff1f"
_END = re.compile(rf"[.!?\u2026]+[{_CLOSING}]*(?=\s)|[{_EAST}]+[{_CLOSING}]*(?=[^{_EAST}{_CLOSING}])|\n+")


@define(eq=False)
class Sentences:
    """Splits a text that comes in pieces; the pieces that it gives are the text again, but for space around them."""

    _text: str = ""

    def feed(self, text: str) -> list[str]:
        """The pieces that can be said now."""
        self._text += text
        pieces: list[str] = []
        while (end := self._end()) is not None:
            piece, self._text = self._text[:end].strip(), self._text[end:]
            if piece:
                pieces.append(piece)
        return pieces

    def rest(self) -> list[str]:
        """What is left when the text has ended."""
        piece, self._text = self._text.strip(), ""
        return [piece] if piece else []

    def _end(self) -> int | None:
        lead = len(self._text) - len(self._text.lstrip())
        found = _END.search(self._text, lead + SHORTEST)
        if found is not None and found.end() <= LONGEST:
            return found.end()
        if len(self._text) <= LONGEST:
            return None
        space = self._text.rfind(" ", SHORTEST, LONGEST)
        return LONGEST if space < 0 else space
