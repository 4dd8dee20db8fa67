"""One-line summaries of results for notebooks, where the full repr of a response would fill the screen."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Printer", "one_line"]

MOST_CHARACTERS = 80
"""Most characters of the response's text, so that the line roughly fits a notebook cell."""


class Printer(Protocol):
    """IPython's argument of `_repr_pretty_`; https://ipython.readthedocs.io/en/stable/api/generated/IPython.lib.pretty.html."""

    def text(self, text: str, /) -> None:
        """Print `text`."""


def one_line(name: str, text: str, facts: dict[str, Any]) -> str:
    """`Response('Zug is...', model='gpt-5.4')`: the beginning of the text, then the known facts."""
    shown = text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS].rstrip() + "…"
    known = [f"{key}={value!r}" for key, value in facts.items() if value is not None and value != ()]
    return f"{name}({', '.join([repr(shown), *known])})"
