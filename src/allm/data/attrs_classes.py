"""`define` and `frozen` of attrs, with a `__repr__`, `__eq__` and `__hash__` that are not compiled for each class.

attrs writes the source of these methods for each class and compiles it, which takes about as long as all else about the
class: for those that a first call needs, a tenth of the start of the process. The methods here say and compare the
same. Type checkers see attrs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from attrs import define as define, frozen as frozen

__all__ = ["define", "frozen"]

_OWN_WAY = frozenset({"auto_detect", "cache_hash", "cmp", "hash", "order", "str", "unsafe_hash"})
"""Options with which attrs makes the methods itself."""


class _Shown(threading.local):
    """The objects whose repr is being made, so that the repr of one that contains itself has an end."""

    def __init__(self) -> None:
        self.ids: set[int] = set()


_shown = _Shown()


def _repr_of(fields: list[Any]) -> Callable[[Any], str]:
    def __repr__(self: Any) -> str:  # noqa: N807
        if id(self) in _shown.ids:
            return "..."
        _shown.ids.add(id(self))
        try:
            shown: list[str] = []
            for field in fields:
                if field.repr is not False:
                    value = getattr(self, field.name) if field.init else getattr(self, field.name, attrs.NOTHING)
                    shown.append(
                        f"{field.name}={value!r}" if field.repr is True else f"{field.name}={field.repr(value)}"
                    )
            return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(shown)})"
        finally:
            _shown.ids.remove(id(self))

    return __repr__


def _eq_of(names: list[str]) -> Callable[[Any, object], Any]:
    def __eq__(self: Any, other: object) -> Any:  # noqa: N807
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in names)

    return __eq__


def _hash_of(names: list[str]) -> Callable[[Any], int]:
    def __hash__(self: Any) -> int:  # noqa: N807
        return hash((id(names), *[getattr(self, name) for name in names]))

    return __hash__


def _sharing(decorator: Any, *, hashes: bool) -> Any:
    def decorated(cls: type | None = None, **options: Any) -> Any:
        def made(plain: type) -> Any:
            fields: list[Any] = []
            compared: list[str] = []
            hashed: list[str] = []
            own: Any = plain
            if options.get("repr", True) and "__repr__" not in vars(plain):
                own.__repr__ = _repr_of(fields)
            if options.get("eq", True) and "__eq__" not in vars(plain):
                own.__eq__ = _eq_of(compared)
                own.__hash__ = _hash_of(hashed) if hashes else None
            found = decorator(plain, **options)
            fields += attrs.fields(found)
            compared += [field.name for field in fields if field.eq]
            hashed += [field.name for field in fields if field.hash or (field.hash is None and field.eq)]
            return found

        made = decorator(**options) if options.keys() & _OWN_WAY else made
        return made if cls is None else made(cls)

    return decorated


if not TYPE_CHECKING:
    define = _sharing(attrs.define, hashes=False)
    frozen = _sharing(attrs.frozen, hashes=True)
