"""Show the text of answers at a terminal or elsewhere: as it is, or as `MarkdownText` renders it."""

from __future__ import annotations

from typing import final

import attrs

from allm.cli.terminal import Output

__all__ = ["PlainText", "TextDisplay"]


class TextDisplay:
    """Shows the text of one answer after the other."""

    def show(self, text: str) -> None:
        """Show more of an answer."""
        raise NotImplementedError

    def end(self) -> None:
        """End the answer: what follows begins on a new line."""
        raise NotImplementedError


@final
@attrs.define(eq=False)
class PlainText(TextDisplay):
    """Text as it is."""

    _output: Output

    def show(self, text: str) -> None:
        """Show more of an answer."""
        self._output.show(text)

    def end(self) -> None:
        """End the answer."""
        self._output.end_line()
