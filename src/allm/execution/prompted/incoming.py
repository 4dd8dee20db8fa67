"""JSON text that is read while it arrives.

Theory of operation. Whoever reads is a recursive descent parser in generators, which `yield` where more text is needed,
so that a text means the same wherever it is cut. What is known to be wanted is taken as it arrives, and given to a
`Sink`; what is not known yet is looked at ahead, by its offset, and stays. Each such look is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from typing import TypeAlias, TypeVar

import attrs

from allm.data.attrs_classes import define
from allm.data.json.growing import SPACE
from allm.data.json.text import JsonTextError, loads

__all__ = ["MOST_AHEAD", "Incoming", "Reading", "Sink"]

T = TypeVar("T")
Reading: TypeAlias = Generator[None, None, T]
Sink: TypeAlias = Callable[[str], None]

MOST_AHEAD = 1000
"""Characters of a name or of space that are looked at ahead; no tool's name is longer than 64."""
_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["{}\[\]]')
_BEHIND_SCALAR = re.compile(r"[\s,}\]]")
_CODE = ("\\", "u", *4 * ("0123456789abcdefABCDEF",))
_NO_CODE, _CUT_OFF = -1, -2
_FIRST_HALVES = range(0xD800, 0xDC00)
_SECOND_HALVES = range(0xDC00, 0xE000)
"""Numbers that make one character together."""
_ESCAPES = {'"': '"', "\\": "\\", "/": "/", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


@define(eq=False)
class Incoming:
    """The text that has arrived and was not taken yet.

    Attributes:
        text: It begins at the index `at`.
        ended: No more will come.
    """

    text: str = attrs.field(default="", init=False)
    at: int = attrs.field(default=0, init=False)
    ended: bool = attrs.field(default=False, init=False)

    def add(self, text: str) -> None:
        """More text."""
        self.text, self.at = self.text[self.at :] + text, 0

    def drop_rest(self) -> None:
        """Leave out what has arrived."""
        self.at = len(self.text)

    # --- looking ahead ---

    def has(self, offset: int) -> Reading[bool]:
        """Whether there is a character so far ahead, now or later."""
        while len(self.text) - self.at <= offset:
            if self.ended:
                return False
            yield
        return True

    def char(self, offset: int) -> Reading[str]:
        """The character so far ahead; empty at the end."""
        return self.text[self.at + offset] if (yield from self.has(offset)) else ""

    def behind_space(self, offset: int) -> Reading[int]:
        """The offset of what follows the space so far ahead."""
        most = offset + MOST_AHEAD
        while offset < most and (yield from self.has(offset)) and self.text[self.at + offset] in SPACE:
            offset += 1
        return offset

    def literal(self, offset: int) -> Reading[tuple[str | None, int]]:
        """The JSON string so far ahead, and the offset of what is behind it; None if there is none."""
        end = offset + 1
        if (yield from self.char(offset)) != '"':
            return None, offset
        while end < offset + MOST_AHEAD and (yield from self.has(end)):
            char = self.text[self.at + end]
            end += 2 if char == "\\" else 1
            if char == '"':
                try:
                    return str(loads(self.text[self.at + offset : self.at + end])), end
                except JsonTextError:
                    break
        return None, offset

    def key(self, offset: int) -> Reading[tuple[str | None, int]]:
        """The key of a property so far ahead, and the offset of its value."""
        key, end = yield from self.literal(offset)
        end = yield from self.behind_space(end)
        if key is None or (yield from self.char(end)) != ":":
            return None, offset
        return key, (yield from self.behind_space(end + 1))

    # --- taking ---

    def take(self, size: int, sink: Sink) -> None:
        """Take so many characters."""
        if size:
            sink(self.text[self.at : self.at + size])
            self.at += size

    def take_until(self, mark: re.Pattern[str], sink: Sink) -> re.Match[str] | None:
        """Take what is there up to a mark, which stays; None if there is none yet."""
        found = mark.search(self.text, self.at)
        self.take((len(self.text) if found is None else found.start()) - self.at, sink)
        return found

    def raw(self, sink: Sink) -> Reading[None]:
        """Take the text of a value of any kind."""
        if (yield from self.char(0)) not in {"{", "[", '"'}:
            while (yield from self.has(0)) and self.take_until(_BEHIND_SCALAR, sink) is None:
                pass
            return
        depth, in_string = 0, False
        while (yield from self.has(0)):
            mark = self.take_until(_IN_STRING if in_string else _OUTSIDE, sink)
            if mark is None:
                continue
            self.take(1, sink)
            match mark[0]:
                case "\\":
                    if (yield from self.has(0)):
                        self.take(1, sink)
                case '"':
                    in_string = not in_string
                case "{" | "[":
                    depth += 1
                case _:
                    depth -= 1
            if depth <= 0 and not in_string:
                return

    def string(self, sink: Sink) -> Reading[None]:
        """Take what the string means whose first quote was taken, and its last quote."""
        while (yield from self.has(0)):
            mark = self.take_until(_IN_STRING, sink)
            if mark is None:
                continue
            if mark[0] == "\\":
                yield from self._escape(sink)
            elif (yield from self._ends_string()):
                self.at += 1
                return
            else:
                self.take(1, sink)  # a quote that was not escaped

    def _ends_string(self) -> Reading[bool]:
        at = yield from self.behind_space(1)
        char = yield from self.char(at)
        if char == ",":
            return (yield from self.char((yield from self.behind_space(at + 1)))) in {'"', ""}
        return char in {"}", ""}

    def _escape(self, sink: Sink) -> Reading[None]:
        char = yield from self.char(1)
        if char != "u":
            if char:  # an escape that JSON does not have is what it looks like
                sink(_ESCAPES.get(char, f"\\{char}"))
            self.at += 1 + len(char)
            return
        code, size = (yield from self._code(0)), len("\\uXXXX")
        if code in _FIRST_HALVES:
            second = yield from self._code(size)
            if second in _SECOND_HALVES:
                code, size = 0x10000 + ((code - _FIRST_HALVES[0]) << 10) + (second - _SECOND_HALVES[0]), 2 * size
            elif second == _CUT_OFF:
                code = _CUT_OFF
        if code == _CUT_OFF:
            self.drop_rest()
        elif code == _NO_CODE:
            self.take(2, sink)
        else:
            sink("\N{REPLACEMENT CHARACTER}" if code in _FIRST_HALVES or code in _SECOND_HALVES else chr(code))
            self.at += size

    def _code(self, offset: int) -> Reading[int]:
        r"""The number of the `\uXXXX` so far ahead."""
        for index, expected in enumerate(_CODE):
            char = yield from self.char(offset + index)
            if char == "" or char not in expected:
                return _NO_CODE if char else _CUT_OFF
        return int(self.text[self.at + offset + 2 : self.at + offset + len(_CODE)], 16)
