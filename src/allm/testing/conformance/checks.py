"""What a failing case says.

The cases are in the library, where pytest does not rewrite `assert`, and their reader is the author of an adapter: so
each check names the rule that was broken, and shows both values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["hides", "holds", "same"]


def same(actual: Any, expected: Any, rule: str) -> None:
    """Check that two values are equal.

    Raises:
        AssertionError: They are not.
    """
    if actual != expected:
        raise AssertionError(f"{rule}\n  expected: {expected!r}\n  got:      {actual!r}")


def holds(condition: object, rule: str) -> None:
    """Check that something is true.

    Raises:
        AssertionError: It is not.
    """
    if not condition:
        raise AssertionError(rule)


def hides(secret: str, texts: Iterable[tuple[str, str]]) -> None:
    """Check that a secret is in none of the texts, each given with a name.

    Raises:
        AssertionError: It is; the message shows where, not what.
    """
    for name, text in texts:
        place = text.find(secret)
        if place >= 0:
            around = text[max(0, place - 60) : place] + "<the key>"
            raise AssertionError(f"the API key is shown by {name}: ...{around}...")
