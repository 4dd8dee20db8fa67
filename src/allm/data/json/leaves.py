"""Take texts and bytes out of a document, and put them back: what is too large for its text, or no text at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs

from allm.data.errors import Path

__all__ = ["Leaf", "put_back", "take_out"]


@attrs.frozen
class Leaf:
    """A text or bytes inside a document.

    Attributes:
        path: The keys and indexes that lead to it.
        value: The text or the bytes.
    """

    path: Path
    value: str | bytes


def take_out(document: dict[str, Any], wanted: Callable[[str | bytes], bool]) -> tuple[dict[str, Any], list[Leaf]]:
    """A document with None in the place of each `wanted` leaf, and these leaves. The given one stays as it is."""
    leaves: list[Leaf] = []

    def without(value: Any, path: Path) -> Any:
        kind = type(value)
        if kind is str or kind is bytes:
            if not wanted(value):
                return value
            leaves.append(Leaf(path, value))
            return None
        if kind is dict:
            return {key: without(item, (*path, key)) for key, item in value.items()}
        if kind is list or kind is tuple:
            return [without(item, (*path, index)) for index, item in enumerate(value)]
        return value

    return (without(document, ()), leaves) if _any_leaf(document, wanted) else (document, leaves)


def _any_leaf(document: dict[str, Any], wanted: Callable[[str | bytes], bool]) -> bool:
    """Whether there is one: nearly always not, and then no path has to be built."""
    layer: list[Any] = [document]
    while layer:
        items = [item for value in layer for item in (value.values() if type(value) is dict else value)]
        if any(wanted(item) for item in items if type(item) is str or type(item) is bytes):
            return True
        layer = [item for item in items if type(item) is dict or type(item) is list or type(item) is tuple]
    return False


def put_back(document: Any, leaves: Iterable[Leaf]) -> None:
    """Set each leaf in its place again, where None is.

    Raises:
        ValueError: There is no such place.
    """
    for leaf in leaves:
        place: Any = None
        found: Any = document
        step: Any = None
        try:
            for step in leaf.path:
                place, found = found, found[step]
        except (KeyError, IndexError, TypeError):
            place = None
        if not isinstance(place, (dict, list)) or found is not None:
            raise ValueError("a part of the document has no place in it")
        place[step] = leaf.value
