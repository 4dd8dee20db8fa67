"""The items of a JSON list whose text arrives in pieces: each is given once, as soon as its text is there.

Theory of operation. `Nesting` tells after each piece that may end an item how deep the text is. Where the list stands
open at depth 0, everything up to the last comma or bracket or quote of an item is whole, and is parsed in one go; the
tail is kept, and is not parsed before it is whole itself. So every item is parsed once, by the same parser as a whole
answer. A number or a name (`true`) is whole at the comma or the bracket behind it.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Container
from typing import Any, Literal

import attrs

from allm.data.attrs_classes import define
from allm.data.json.growing import SPACE, STEPS, JsonStart, Nesting, first_value
from allm.data.json.text import JsonTextError, loads

__all__ = ["GrowingList"]

_MEMBER = re.compile(r'[ \t\n\r]*("(?:[^"\\]|\\.)*+")[ \t\n\r]*:[ \t\n\r]*(?=[^ \t\n\r])', re.DOTALL)
_AFTER_MEMBER = re.compile(r"[ \t\n\r]*([,}])")
_SEPARATORS = re.compile(r'[,"\[\]{}]')
_UNQUOTED = {ord("["): 1, ord("]"): 2, ord("{"): 3, ord("}"): 4}


@define(eq=False)
class GrowingList:
    """The list of an answer: the answer itself, or a property of it.

    Attributes:
        keys: The names that the property with the list may have, if the answer is an object; None: it is the first one
            with a list.
        problem: What is wrong with its JSON; no further items can be read then.
        count: Items so far.
    """

    keys: Container[str] | None = None
    problem: str | None = attrs.field(default=None, init=False)
    count: int = attrs.field(default=0, init=False)
    _state: Literal["before", "object", "list", "closed", "none"] = attrs.field(default="before", init=False)
    _start: JsonStart = attrs.field(factory=JsonStart, init=False)
    _nesting: Nesting = attrs.field(factory=Nesting, init=False)
    _pieces: list[str] = attrs.field(factory=list[str], init=False)  # since the end of the last item
    _unread: list[str] = attrs.field(factory=list[str], init=False)  # those that `_nesting` has not read

    @property
    def is_closed(self) -> bool:
        """Whether the list is whole."""
        return self._state == "closed"

    @property
    def has_begun(self) -> bool:
        """Whether the list was found."""
        return self._state in {"list", "closed"}

    def begin_block(self) -> None:
        """The text goes on in another block, in which the JSON may begin."""
        self._start.begin_line()

    def add(self, piece: str) -> list[Any]:
        """More text; returns the items that it completes."""
        if self._state == "before":
            found = self._start.find(piece)
            if found is None:
                return []
            self._state, piece = "list" if found[0] == "[" else "object", found[1:]
        if self._state == "object":
            self._pieces.append(piece)
            rest = self._descend(piece)
            if rest is None:
                return []
            self._state, piece = "list", rest
            self._pieces, self._nesting = [], Nesting()
        if self._state != "list" or self.problem is not None:
            return []
        self._pieces.append(piece)
        self._unread.append(piece)
        return self._take() if self._may_end_an_item(piece) else []

    def _descend(self, piece: str) -> str | None:
        """The text behind the bracket that opens the list of the object, once it is there."""
        marks, lowest = self._nesting.read(piece)
        if lowest > 0 or not (self._nesting.quotes or (marks and not self._nesting.in_string)):
            return None  # in the middle of another property, which may be long
        text = "".join(self._pieces)
        start = 0
        while (member := _MEMBER.match(text, start)) is not None:
            try:
                if text[member.end()] == "[" and (self.keys is None or loads(member[1]) in self.keys):
                    return text[member.end() + 1 :]
                _, end = first_value(text, member.end())
            except JsonTextError:  # its value is not whole, or is no JSON
                break
            after = _AFTER_MEMBER.match(text, end)
            if after is None:
                break
            if after[1] == "}":
                self._state = "none"
                return None
            start = after.end()
        self._pieces = [text[start:]]
        return None

    def _may_end_an_item(self, piece: str) -> bool:
        if self._nesting.depth:
            return "}" in piece or "]" in piece
        return '"' in piece if self._nesting.in_string else _SEPARATORS.search(piece) is not None

    def _take(self) -> list[Any]:
        """The items that have come to their end."""
        before = self._nesting.depth
        marks, lowest = self._nesting.read("".join(self._unread))
        self._unread.clear()
        if lowest < 0:  # whatever follows is no part of the list
            text = "".join(self._pieces)
            end = _position(text, marks, _closing(marks, before))
            self._state = "closed"
            self._pieces = []
            if text[end] == "}":
                self.problem = "a list that was opened with '[' ends with '}'"
            return self._parsed(text[:end], is_end=True)
        if lowest > 0 or (self._nesting.in_string and not self._nesting.quotes):
            return []  # before the pieces are joined: an item may be as long as the answer
        text = "".join(self._pieces)
        end = self._end(text, marks)
        if end <= 0:
            return []
        self._pieces = [text[end:]]
        return self._parsed(text[:end], is_end=False)

    def _end(self, text: str, marks: bytes) -> int:
        """Where the last whole item of `text` ends; not above 0 if there is none."""
        if self._nesting.depth:
            return text.rfind(",", 0, _position(text, marks, self._nesting.last_opening(marks)))
        if self._nesting.in_string:
            return text.rfind(",", 0, _open_quote(text))
        return max(text.rfind(","), *(text.rfind(mark) + 1 for mark in '"]}'))

    def _parsed(self, text: str, *, is_end: bool) -> list[Any]:
        text = text.strip(SPACE)
        if self.count and text:
            if text[0] != ",":
                self.problem = "expected a comma between two items"
                return []
            text = text[1:].lstrip(SPACE)
            if not text:
                if is_end:
                    self.problem = "expected an item after the comma"
                else:
                    self._pieces.insert(0, ",")
                return []
        try:
            items = loads(f"[{text}]")
        except JsonTextError as error:
            items, self.problem = _valid_items(text), self.problem or str(error)
        self.count += len(items)
        return items  # type: ignore[no-any-return]


def _closing(marks: bytes, depth: int) -> int:
    """Of `marks`, that of the end of the list, at whose beginning the depth is `depth`."""
    steps = itertools.accumulate(map(STEPS.__getitem__, marks), initial=depth)
    return list(steps).index(-1) - 1


def _position(text: str, marks: bytes, index: int) -> int:
    """Where in `text`, at whose end `marks` are, the bracket `marks[index]` is."""
    bracket = marks[index]
    behind = marks.count(bracket, index + 1) + marks.count(_UNQUOTED[bracket], index + 1)
    position = len(text)
    for _ in range(behind + 1):
        position = text.rfind(chr(bracket), 0, position)
    return position


def _open_quote(text: str) -> int:
    """Where the string begins that is open at the end of `text`."""
    position = len(text)
    while True:
        position = first = text.rfind('"', 0, position)
        while text[first - 1 : first] == "\\":
            first -= 1
        if (position - first) % 2 == 0:
            return position


def _valid_items(text: str) -> list[Any]:
    """The items before the one that is no JSON."""
    items: list[Any] = []
    start = 0
    try:
        while True:
            start = len(text) - len(text[start:].lstrip(SPACE))
            item, start = first_value(text, start)
            items.append(item)
            start = len(text) - len(text[start:].lstrip(SPACE))
            if text[start : start + 1] != ",":
                return items
            start += 1
    except JsonTextError:
        return items
