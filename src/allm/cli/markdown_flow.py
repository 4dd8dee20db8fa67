"""Put words on a terminal as they arrive, folded at its width, without ever changing a line that is finished.

Only the line under way is written again, and only where its unfinished end turns out to look different. So nothing
flickers, the scrollback has each line once, and a change of the width is right from the next line on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import final

import attrs

from allm.cli.markdown_inline import Run, can_fold_at, width_of
from allm.cli.terminal import Output

__all__ = ["Flow", "coded"]

Cell = tuple[str, str]
"""A character and the codes of its style."""

_NARROWEST = 8  # columns for text beside an indentation, or else the text begins at the margin


def coded(runs: Iterable[Run]) -> str:
    """The runs with escape codes."""
    return "".join(f"\x1b[{style}m{text}\x1b[0m" if style else text for text, style in runs)


@final
@attrs.define(eq=False)
class Flow:
    """The line under way.

    Attributes:
        width: Columns of the terminal, as when the line began.
    """

    _output: Output
    width: int = attrs.field(default=80, init=False)
    _hanging: list[Cell] = attrs.field(factory=list[Cell], init=False)  # begins each line but the first
    _line: list[Cell] = attrs.field(factory=list[Cell], init=False)  # for good
    _spaces: list[Cell] = attrs.field(factory=list[Cell], init=False)  # after it; dropped where the line is folded
    _indent: int = attrs.field(default=0, init=False)  # cells of the line that are no text
    _shown: list[Cell] = attrs.field(factory=list[Cell], init=False)  # what the terminal has in this line
    _writes: list[str] = attrs.field(factory=list[str], init=False)

    def begin(self, first: Iterable[Run] = (), hanging: Iterable[Run] = ()) -> None:
        """Begin a line with `first`, which is not folded; the lines that it is folded into begin with `hanging`."""
        self.width = max(self._output.size[0], 2)
        self._hanging = _cells(hanging)
        if _width(self._hanging) > self.width - _NARROWEST:
            self._hanging = []
        self._line = _cells(first)
        self._indent = len(self._line)
        self._spaces = []

    def add(self, runs: Iterable[Run]) -> None:
        """Add text for good, which is folded between words."""
        self._notice_a_break()
        word: list[Cell] = []
        for cell in _cells(runs):
            wide = can_fold_at(cell[0])
            if cell[0] == " " or wide:
                self._word(word)
                word = []
            if wide:
                self._word([cell])
            elif cell[0] == " ":
                self._spaces += [cell] * (len(self._line) > self._indent)
            else:
                word.append(cell)
        self._word(word)

    def show(self, runs: Iterable[Run] = (), *, grows: bool = False) -> None:
        """Write what was added, and after it text that may change; of this only as much as fits into the line.

        Args:
            runs: The text that may change.
            grows: Whether it is the beginning of a word that can only become longer, so that it may be folded now.
        """
        self._notice_a_break()
        end = _cells(runs)
        if grows and self._is_full(end):
            self._fold()
        begun = [*self._line, *self._spaces]
        fitting = _fitting(end, self.width - 1 - _width(begun))
        self._write([*begun, *fitting] if fitting else self._line)
        self._flush()

    def whole(self, runs: Iterable[Run]) -> None:
        """Write a line that is not folded, such as of code, and end it."""
        self._line = [*self._line, *_cells(runs)]
        self.end()

    def end(self) -> None:
        """End the line."""
        self._notice_a_break()
        self._new_line()
        self._line, self._spaces, self._hanging = [], [], []
        self._flush()

    def raw(self, text: str) -> None:
        """Write text that is neither folded nor kept, in place of what may have changed."""
        self._write([])
        self._writes.append(text)
        self._flush()

    def _notice_a_break(self) -> None:
        """Go on in a new line if another line, such as a warning, was written below the one under way."""
        if self._shown and not self._writes and not self._output.line_open:
            self._line = self._line[len(self._shown) :]
            self._spaces, self._shown, self._indent = [], [], 0

    def _word(self, word: list[Cell]) -> None:
        if not word:
            return
        if self._is_full(word):
            self._fold()
        self._line += [*self._spaces, *word]
        self._spaces = []
        if _width(self._line) > self.width:
            self._overflow()

    def _is_full(self, word: list[Cell]) -> bool:
        """Whether the line has to be folded before the word, and can be."""
        if len(self._line) <= self._indent or not word:
            return False
        between = self._spaces or can_fold_at(word[0][0]) or can_fold_at(self._line[-1][0])
        return bool(between) and _width([*self._line, *self._spaces, *word]) > self.width

    def _fold(self) -> None:
        self._new_line()
        self.width = max(self._output.size[0], 2)
        self._line, self._spaces = list(self._hanging), []
        self._indent = len(self._line)

    def _overflow(self) -> None:
        """Let the terminal break a word that is longer than the line, so that a long URL stays one."""
        self._write(self._line)
        while _width(self._line) > self.width:
            del self._line[: max(1, len(_fitting(self._line, self.width)))]
        self._shown = list(self._line)
        self._indent = 0

    def _new_line(self) -> None:
        self._write(self._line)
        self._writes.append("\n")
        self._shown = []

    def _write(self, wanted: list[Cell]) -> None:
        """Make the terminal's line show `wanted`: what it has already stays, as far as it is the same."""
        same = 0
        for shown, cell in zip(self._shown, wanted, strict=False):
            if shown != cell:
                break
            same += 1
        if too_much := _width(self._shown[same:]):
            self._writes.append(f"\x1b[{too_much}D\x1b[K")
        self._writes.append(coded(_runs(wanted[same:])))
        self._shown = list(wanted)

    def _flush(self) -> None:
        text = "".join(self._writes)
        self._writes.clear()
        self._output.write(text)


def _cells(runs: Iterable[Run]) -> list[Cell]:
    return [(character, style) for text, style in runs for character in _characters(text)]


def _characters(text: str) -> Iterable[str]:
    """The characters, each with the marks that combine with it."""
    if text.isascii():
        return text
    found: list[str] = []
    for character in text:
        if found and (width_of(character) == 0 or found[-1].endswith("\u200d")):
            found[-1] += character
        else:
            found.append(character)
    return found


def _runs(cells: Iterable[Cell]) -> list[Run]:
    runs: list[Run] = []
    for character, style in cells:
        if runs and runs[-1][1] == style:
            runs[-1] = (runs[-1][0] + character, style)
        else:
            runs.append((character, style))
    return runs


def _width(cells: Iterable[Cell]) -> int:
    return sum(width_of(character) for character, _ in cells)


def _fitting(cells: list[Cell], width: int) -> list[Cell]:
    """As many of the cells as fit."""
    for index, (character, _) in enumerate(cells):
        width -= width_of(character)
        if width < 0:
            return cells[:index]
    return cells
