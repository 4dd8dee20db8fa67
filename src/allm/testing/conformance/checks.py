"""Assertions with clear messages for the conformance cases.

The cases are in the library, where pytest does not rewrite `assert`, and their messages are read by authors of
adapters. So each check names the broken rule, and shows both values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["hides", "holds", "same"]


def same(actual: Any, expected: Any, rule: str) -> None:
    """Check that two values are equal.

    Raises:
        AssertionError: They differ.
    """
    if actual != expected:
        raise AssertionError(f"{rule}\n  expected: {expected!r}\n  got:      {actual!r}")


def holds(condition: object, rule: str) -> None:
    """Check that a condition is true.

    Raises:
        AssertionError: It is false.
    """
    if not condition:
        raise AssertionError(rule)


def hides(secret: str, texts: Iterable[tuple[str, str]]) -> None:
    """Check that a secret is in none of the texts, which are given with a name.

    Raises:
        AssertionError: It is in one; the message shows the place, without the secret.
    """
    for name, text in texts:
        place = text.find(secret)
        if place >= 0:
            around = text[max(0, place - 60) : place] + "<the key>"
            raise AssertionError(f"the API key is shown by {name}: ...{around}...")
