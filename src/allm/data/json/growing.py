"""JSON that arrives in pieces: where it begins in an answer, how deep a text is in it, and snapshots of what is there.

`GrowingValue` gives snapshots of the whole value; `growing_list` has the items of a list, each once. Both get the text
as it arrives, in pieces that may be cut anywhere, and keep what they have not used yet.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from typing import Any, Final

import attrs

from allm.data.attrs_classes import define
from allm.data.json.text import JsonTextError, loads
from allm.data.json.whole import whole

__all__ = ["NOTHING", "SPACE", "STEPS", "GrowingValue", "Growth", "JsonStart", "Nesting", "answer_value", "first_value"]

SPACE = " \t\n\r"
"""What JSON takes for space; `str.strip` takes more."""


class _Nothing:
    """Stands for no value, since None is one."""


NOTHING: Final = _Nothing()


@define
class Growth:
    """Whether to look at a growing text again: each look at it takes as long as it is.

    Attributes:
        looks: How often it was due.
    """

    looks: int = 0
    _last: int = 0

    ALWAYS = 4096
    """Characters up to which a look costs no more than the event that brought the text."""
    SHARE = 1.06
    """Growth from one look to the next above that: all of them together cost 17 times the last."""

    def is_due(self, size: int) -> bool:
        """Whether a text of `size` characters has grown enough since the last look."""
        if size > self.ALWAYS and size < self._last * self.SHARE:
            return False
        self.looks, self._last = self.looks + 1, size
        return True


# --- where it begins -------------------------------------------------------------------------------------------------

_BEGINS = re.compile(r'\[\s*["\[{\]\-\dtfn]|\{\s*["}]')


@define(eq=False)
class JsonStart:
    """Finds where the JSON begins: at a list or an object at the start of a line, such as that below a code fence.

    Models that are not held to a schema write a sentence before it. What stands in the middle of a line, such as a
    footnote `[1]`, is a part of a sentence.
    """

    _line: str = ""
    _is_prose: bool = False

    def begin_line(self) -> None:
        """What follows is a block of its own, whatever stands before it."""
        self._is_prose = False

    def find(self, piece: str) -> str | None:
        """The JSON from its first bracket on, if it begins in this piece."""
        while True:
            if self._is_prose:
                end = piece.find("\n")
                if end < 0:
                    return None
                piece, self._is_prose = piece[end + 1 :], False
            line = (self._line + piece).lstrip()
            self._line = ""
            if _BEGINS.match(line):
                return line
            if line.rstrip() in {"", "[", "{"}:  # the next piece will tell
                self._line = line.rstrip()
                return None
            piece, self._is_prose = line, True


# --- how deep ---------------------------------------------------------------------------------------------------------

_ESCAPE = re.compile(r"\\.", re.DOTALL)
_OTHERS = bytes(code for code in range(256) if code not in b'"[]{}')
_QUOTED = bytes.maketrans(b"[]{}", b"\1\2\3\4")
_IN_STRINGS = b"\1\2\3\4"
_FEW = 32  # brackets that are counted in less time than they are removed
STEPS = tuple({ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}.get(code, 0) for code in range(256))
"""The step in depth of each mark."""


@define(eq=False)
class Nesting:
    """How deep in lists and objects a text has come, and whether it is in a string.

    Theory of operation. A loop over characters or tokens in Python takes many times as long as the parser in C. So each
    text is boiled down with a few calls into C: escapes go first, since they may hide a quote; then all but quotes and
    brackets; then each pair of adjacent quotes, a string without brackets, which changes nothing for what is around
    it. The few quotes that are left are those of strings with brackets in them.

    Attributes:
        depth: Levels of lists and objects that are open after what was read.
        in_string: Whether a string is.
        quotes: Beginnings and ends of strings in the text that was read last.
    """

    depth: int = 0
    in_string: bool = False
    quotes: int = 0
    _in_escape: bool = False

    def read(self, text: str) -> tuple[bytes, int]:
        r"""Read on.

        Returns:
            The brackets in `text`, with others (`\1\2\3\4` for `[]{}`) for those in strings; and its lowest depth.
        """
        if self._in_escape and text:
            text, self._in_escape = text[1:], False
        if "\\" in text:
            text = _ESCAPE.sub("", text)
            self._in_escape = text.endswith("\\")
        marks = text.encode("utf-8", "surrogatepass").translate(None, _OTHERS)
        self.quotes = marks.count(b'"')
        if self.in_string:
            marks = b'"' + marks
        marks = marks.replace(b'""', b"")
        self.in_string = False
        if b'"' in marks:
            parts = marks.split(b'"')
            parts[1::2] = [part.translate(_QUOTED) for part in parts[1::2]]
            self.in_string = len(parts) % 2 == 0
            marks = b"".join(parts)
        rest = marks.translate(None, _IN_STRINGS)
        if len(rest) > _FEW:
            for _ in range(2):  # what was opened and closed is no deeper before than behind it
                rest = rest.replace(b"[]", b"").replace(b"{}", b"")
        depths = list(itertools.accumulate(map(STEPS.__getitem__, rest), initial=self.depth))
        self.depth = depths[-1]
        return marks, min(depths)

    def last_opening(self, marks: bytes) -> int:
        """Of the marks read last, that of the list or object that is open at their end and in no other."""
        depth = self.depth
        for index in range(len(marks) - 1, -1, -1):
            depth -= STEPS[marks[index]]
            if depth == 0:
                return index
        raise AssertionError  # only called where there is one


# --- snapshots --------------------------------------------------------------------------------------------------------

_IN_NUMBERS = "0123456789+-.eE"


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


_first = json.JSONDecoder(parse_constant=_no_constant).raw_decode


def first_value(text: str, start: int = 0) -> tuple[Any, int]:
    """The JSON value that begins at `start` exactly, and where it ends.

    Raises:
        JsonTextError: None does, or it is cut off, or nested too deep.
    """
    try:
        value, end = _first(text, start)
        return whole(value), end
    except RecursionError:
        raise JsonTextError("nested too deep") from None
    except ValueError as error:
        raise JsonTextError(str(error)) from error


_FENCED = re.compile(r"\s*```(?:json)?\s*\n(?P<inside>.*)\n\s*```\s*", re.DOTALL | re.IGNORECASE)
_GOES_ON = re.compile(r'[ \t\n\r]*[\[\]{},:"]')


def answer_value(text: str) -> Any:
    """The JSON of an answer: all of its text, or what is in a code fence, or below and above a sentence.

    Raises:
        JsonTextError: There is none, or it is cut off, or is followed by more JSON.
    """
    try:
        return loads(fenced["inside"] if (fenced := _FENCED.fullmatch(text)) else text)
    except JsonTextError:
        found = JsonStart().find(text)
        with contextlib.suppress(JsonTextError):
            if found is not None:
                value, end = first_value(found)
                if _GOES_ON.match(found, end) is None:
                    return value
        raise


@define(eq=False)
class GrowingValue:
    """A JSON value whose text arrives in pieces."""

    _start: JsonStart | None = attrs.field(factory=JsonStart)
    _growth: Growth = attrs.field(factory=Growth)
    _nesting: Nesting = attrs.field(factory=Nesting)
    _pieces: list[str] = attrs.field(factory=list[str])
    _size: int = 0
    _all: list[str] = attrs.field(factory=list[str])  # while the JSON has not begun

    @property
    def parses(self) -> int:
        """How often the text was parsed for a snapshot."""
        return self._growth.looks

    def begin_block(self) -> None:
        """The text goes on in another block, in which the JSON may begin."""
        if self._start is not None:
            self._start.begin_line()

    def add(self, piece: str) -> None:
        """More text."""
        if self._start is not None:
            self._all.append(piece)
            found = self._start.find(piece)
            if found is None:
                return
            piece, self._start = found, None
            self._all.clear()
        self._nesting.read(piece)
        self._pieces.append(piece)
        self._size += len(piece)

    def snapshot(self, *, at_last: bool = False) -> Any:
        """The value as far as it has come; `NOTHING` if there is none yet, or too little is new for one but the last.

        Unfinished strings are as long as they are so far. Unfinished numbers, names and keys are left out, so that what
        one snapshot has, all later ones have.
        """
        if self._start is not None or not (self._growth.is_due(self._size) or at_last):
            return NOTHING
        text = "".join(self._pieces)
        self._pieces = [text]
        if not self._nesting.in_string:
            text = text.rstrip(_IN_NUMBERS)
        from jiter import from_json  # loaded with the first snapshot

        try:
            return from_json(
                text.encode("utf-8", "replace"),
                partial_mode="trailing-strings",
                allow_inf_nan=False,
                cache_mode="keys",  # strings are seen again and again in snapshots, and seldom anywhere else
            )
        except ValueError:  # no JSON, or some that only `final` takes, such as half of a character
            return NOTHING

    def final(self) -> Any:
        """The whole value.

        Raises:
            JsonTextError: The text is not JSON, or cut off.
        """
        return answer_value(self.text())

    def text(self) -> str:
        """The text from the JSON on; all of it while there is none."""
        return "".join(self._all if self._start is not None else self._pieces)
