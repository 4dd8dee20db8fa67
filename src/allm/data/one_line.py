"""Results in one line, for notebooks: the repr of an answer with all its parts fills a screen."""

from __future__ import annotations

from typing import Any, Protocol

__all__ = ["Printer", "one_line"]

MOST_CHARACTERS = 80
"""Of the answer's text, so that the line about fits a notebook's cell."""


class Printer(Protocol):
    """What IPython hands to `_repr_pretty_`; https://ipython.readthedocs.io/en/stable/api/generated/IPython.lib.pretty.html."""

    def text(self, text: str, /) -> None:
        """Print this."""


def one_line(name: str, text: str, facts: dict[str, Any]) -> str:
    """`Response('Zug is...', model='gpt-5.4')`: the beginning of the text, then every fact that is known."""
    shown = text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS].rstrip() + "…"
    known = [f"{key}={value!r}" for key, value in facts.items() if value is not None and value != ()]
    return f"{name}({', '.join([repr(shown), *known])})"
