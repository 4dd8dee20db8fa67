"""Lists that a provider gives in pages."""

from __future__ import annotations

from typing import Generic, TypeVar

from allm.data.attrs_classes import frozen

__all__ = ["Page", "PageRequest"]

T = TypeVar("T")


@frozen
class PageRequest:
    """Asks for a page of a list.

    Attributes:
        cursor: Where it begins, as `Page.next` says it; None: at the beginning.
    """

    cursor: str | None = None


@frozen
class Page(Generic[T]):
    """A page of a list.

    Attributes:
        items: What is on it.
        next: The cursor of the page after it; None: it is the last.
    """

    items: tuple[T, ...]
    next: str | None = None
