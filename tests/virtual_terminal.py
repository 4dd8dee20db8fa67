"""A terminal in memory that interprets what programs write, so that tests see what a person sees."""

from __future__ import annotations

import re

from rich.cells import cell_len

_CSI = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])")
_OSC = re.compile(r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)")
_BEGUN = re.compile(r"\x1b(?:\[[?0-9;]*|\][^\x07\x1b]*\x1b?)?")


class VirtualTerminal:
    """Lines of cells, the last `rows` of which are the screen; the others have scrolled away and cannot be changed."""

    def __init__(self, columns=80, rows=24):
        self.columns, self.rows = columns, rows
        self.lines = [[]]
        self.row = self.column = 0
        self.wraps = True
        self.styles = set()
        self.styled = []  # (character, styles) of everything that was printed, in order
        self.erased = 0  # characters that were on the screen and are not any more
        self._rest = ""

    @property
    def text(self):
        """All lines, also those that have scrolled away, without white space at their ends."""
        return "\n".join("".join(line).rstrip() for line in self.lines).rstrip("\n") + "\n"

    @property
    def cursor_line(self):
        """The text of the line with the cursor, up to it."""
        return "".join((self.lines[self.row] + [" "] * self.columns)[: self.column])

    def words_in(self, style):
        """The text that was printed in a style, such as "1" for bold; the last printing counts."""
        return "".join(character for character, styles in self.styled if style in styles)

    def feed(self, text):
        """Interpret output of a program."""
        text = self._rest + text
        self._rest = ""
        position = 0
        while position < len(text):
            character = text[position]
            if character != "\x1b":
                self._put(character)
                position += 1
                continue
            found = _CSI.match(text, position) or _OSC.match(text, position)
            if found is None:
                begun = _BEGUN.match(text, position)
                assert begun.end() == len(text), f"unknown sequence {text[position : position + 12]!r}"
                self._rest = text[position:]
                return
            if found.re is _CSI:
                self._control(found[1], found[2])
            position = found.end()

    def resize(self, columns, rows):
        """Change the size; long lines are not folded anew."""
        self.columns, self.rows = columns, rows
        self.column = min(self.column, columns - 1)

    @property
    def _top(self):
        return max(0, len(self.lines) - self.rows)

    def _put(self, character):
        match character:
            case "\r":
                self.column = 0
            case "\n":
                self._down()
            case "\b":
                self.column = max(0, min(self.column, self.columns - 1) - 1)
            case "\x07":
                pass
            case "\t":
                self.column = min(self.columns - 1, (self.column // 8 + 1) * 8)
            case _:
                assert character >= " ", f"control character {character!r}"
                self._print(character)

    def _print(self, character):
        width = cell_len(character)
        if self.column + width > self.columns:
            if self.wraps:
                self._down()
                self.column = 0
            else:
                self.column = self.columns - width
        line = self.lines[self.row]
        line += [" "] * (self.column + width - len(line))
        line[self.column] = character
        for cell in range(self.column + 1, self.column + width):
            line[cell] = ""
        self.column += width
        self.styled.append((character, frozenset(self.styles)))

    def _down(self):
        self.row += 1
        if self.row == len(self.lines):
            self.lines.append([])

    def _control(self, parameters, name):
        count = int(parameters) if parameters.isdecimal() else 0
        match name:
            case "A":
                self.row = max(self._top, self.row - (count or 1))
            case "B":
                self.row = min(len(self.lines) - 1, self.row + (count or 1))
            case "C":
                self.column = min(self.columns - 1, self.column + (count or 1))
            case "D":
                self.column = max(0, min(self.column, self.columns - 1) - (count or 1))
            case "G":
                self.column = max(0, (count or 1) - 1)
            case "K":
                assert count in {0, 2}
                self._erase(self.row, 0 if count else self.column)
            case "J":
                assert count == 0
                self._erase(self.row, self.column)
                for row in range(self.row + 1, len(self.lines)):
                    self._erase(row, 0)
            case "m":
                self._style(parameters)
            case "h" | "l":
                if parameters == "?7":
                    self.wraps = name == "h"
            case _:
                raise AssertionError(f"unknown sequence {parameters}{name}")

    def _erase(self, row, column):
        self.erased += len("".join(self.lines[row][column:]).strip())
        del self.lines[row][column:]

    def _style(self, parameters):
        for code in parameters.split(";"):
            match code:
                case "" | "0":
                    self.styles.clear()
                case "22":
                    self.styles -= {"1", "2"}
                case "23" | "24" | "29":
                    self.styles.discard(code[1])
                case "39":
                    self.styles = {style for style in self.styles if style[0] not in "39" or len(style) == 1}
                case _:
                    self.styles.add(code)
