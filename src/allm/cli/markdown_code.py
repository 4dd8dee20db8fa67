"""Colours for the lines of a block of code, one line after the other."""

from __future__ import annotations

import functools
from typing import Any, final

import attrs

from allm.cli.markdown_inline import Run

__all__ = ["Highlighter"]

_MOST_LINES = 80
"""Lines that are read again for the next one, which may be inside of a string that began in them: a bound, so that long
code costs no more for each line than short code."""


@final
@attrs.define(eq=False)
class Highlighter:
    """Highlights code as rich does, in the colours that the terminal has."""

    _language: str
    _lines: list[str] = attrs.field(factory=list[str], init=False)

    def line(self, source: str) -> list[Run]:
        """The runs of the next line."""
        if len(self._lines) >= _MOST_LINES:
            del self._lines[: _MOST_LINES // 2]
        self._lines.append(source)
        if not self._language or len(source) > 2000:  # noqa: PLR2004  (data, such as one long line of JSON)
            return [(source, "")]
        return _last_line("\n".join(self._lines), self._language) or [(source, "")]


@functools.cache
def _console() -> Any:
    from rich.console import Console

    return Console(width=10_000)


def _last_line(code: str, language: str) -> list[Run]:
    from rich.syntax import Syntax

    syntax = Syntax("", language, theme="ansi_dark", background_color="default", tab_size=8)
    if syntax.lexer is None:  # it is not a language that pygments knows
        return []
    text = syntax.highlight(code)
    text.rstrip()
    lines = text.split("\n", allow_blank=True)
    plain = code.rpartition("\n")[2]
    if not lines or lines[-1].plain.rstrip() != plain.rstrip():
        return []
    return [(piece.text, _codes(piece.style)) for piece in lines[-1].render(_console(), end="")]


def _codes(style: Any) -> str:
    from rich.color import ColorSystem

    if style is None:
        return ""
    return str(style.without_color._make_ansi_codes(ColorSystem.STANDARD)) if style.color is None else _colored(style)


def _colored(style: Any) -> str:
    from rich.color import ColorSystem

    rendered: str = style.render("x", color_system=ColorSystem.STANDARD)
    return rendered.partition("[")[2].partition("m")[0]
