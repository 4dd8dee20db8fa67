"""Tells whether the arguments of a call, whose text comes in pieces, are whole, and reads each piece once.

Parsing what there is with every piece would cost time in the square of its length. So brackets are counted, outside of
strings, and the text is parsed once: when the first bracket or quote has closed, or the word `null` is there. Whatever
follows then makes it no JSON.
"""

from __future__ import annotations

import re

import attrs

from allm.adapters import Pieces, parse_arguments

__all__ = ["ArgumentEnd"]

_MARK = re.compile(r'[\\"{}\[\]]|[^\s\\"{}\[\]]+')
_NULL = "null"


@attrs.define(eq=False)
class ArgumentEnd:
    """Reads the arguments of one call."""

    _depth: int = attrs.field(default=0, init=False)
    _quoted: bool = attrs.field(default=False, init=False)
    _escaped: bool = attrs.field(default=False, init=False)
    _word: str = attrs.field(default="", init=False)  # outside of everything
    _closed: bool = attrs.field(default=False, init=False)
    _broken: bool = attrs.field(default=False, init=False)
    _valid: bool | None = attrs.field(default=None, init=False)

    def is_reached(self, new: str, pieces: Pieces) -> bool:
        """Whether the pieces so far, of which `new` has come since the last time, are the whole arguments."""
        if self._broken:  # whatever follows
            return False
        for mark in _MARK.findall(new):
            self._take(mark)
            if self._broken:
                return False
        if not self._closed:
            return False
        if self._valid is None:
            self._valid = parse_arguments(pieces.text()) is not None
        return self._valid

    def _take(self, mark: str) -> None:
        if self._closed:
            self._broken = True
        elif self._escaped:
            self._escaped = False
        elif self._quoted:
            self._escaped, self._quoted = mark == "\\", mark != '"'
            self._closed = not self._quoted and self._depth == 0
        elif mark == '"':
            self._quoted = True
        elif mark in "{[":
            self._depth += 1
        elif mark in "}]":
            self._depth -= 1
            self._closed = self._depth <= 0
        elif self._depth == 0:
            self._word += mark
            self._closed = self._word == _NULL
            self._broken = not _NULL.startswith(self._word)
