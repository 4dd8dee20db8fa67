"""What a field or a parameter has when it is left out; descriptors such as `Field(5, ge=1)` are looked into."""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import attrs
import msgspec

from allm.data.attrs_classes import frozen
from allm.data.types.constraints import AttrsValidator

__all__ = ["NOTHING", "Default", "default_in", "left_to_the_class", "read_default"]

NOTHING: Any = dataclasses.MISSING
"""No default: the field is required."""
_MISSING = (inspect.Parameter.empty, dataclasses.MISSING, attrs.NOTHING, msgspec.NODEFAULT, ...)
_EMPTY = (list, dict, set, frozenset, tuple, bytearray, str, int, float, bool)
"""Factories whose value says something to the model; one of the program may have effects, and is not called for it."""


@frozen(eq=False)
class Default:
    """The default of a field or parameter.

    Attributes:
        make: Makes the value where the field is left out; None if whoever is called has it, or it is required.
        is_required: Whether there is none.
        value: It, if it is the same each time; else `NOTHING`.
        notes: Descriptors found on the way, whose constraints and descriptions are those of the field.
    """

    make: Callable[[], Any] | None = None
    is_required: bool = False
    value: Any = NOTHING
    notes: tuple[Any, ...] = ()

    @property
    def shown(self) -> Any:
        """The value for the schema; `NOTHING` if it is made for each use by the program's own factory."""
        if self.value is msgspec.UNSET:
            return NOTHING
        return self.make() if self.value is NOTHING and self.make is not None and _is_plain(self.make) else self.value

    def for_missing(self, key: str) -> Any:
        """The value of a field that was left out; raises KeyError if it is required."""
        if self.make is None:
            raise KeyError(key)
        return self.make()


def _is_plain(factory: Any) -> bool:
    return any(factory is plain for plain in _EMPTY)


def left_to_the_class(factory: Any) -> Default:
    """The default of a field whose class calls `factory`; one without effects is called here, to show its value."""
    return Default(make=factory if _is_plain(factory) else None)


def read_default(default: Any) -> Default:
    """Read the default of a parameter, or of a field whose class knows it itself.

    Args:
        default: A value; a marker of the library for none; or what `pydantic.Field`, `attrs.field`, `attrs.Factory`,
            `dataclasses.field` or `msgspec.field` return.
    """
    if any(default is marker for marker in _MISSING):
        return Default(is_required=True)
    if isinstance(default, attrs.Factory):  # type: ignore[arg-type]  # a class, which attrs' types say is a function
        return Default(default.factory)
    kind = type(default)
    module = kind.__module__.partition(".")[0]
    if kind.__name__ == "_CountingAttr" and module in {"attr", "attrs"}:
        return _inside(default, default._default, None, AttrsValidator(default._validator))
    if isinstance(default, dataclasses.Field) or (module == "msgspec" and kind.__name__ == "Field"):
        return _inside(default, default.default, default.default_factory)
    if module == "pydantic" and hasattr(default, "default_factory") and hasattr(default, "metadata"):
        has_none = type(default.default).__name__ == "PydanticUndefinedType"
        return _inside(default, NOTHING if has_none else default.default, default.default_factory)
    return Default(value=default)


def default_in(hint: Any) -> Default | None:
    """The default that a descriptor in an `Annotated` gives, as in `Annotated[int, pydantic.Field(default=5)]`."""
    for item in getattr(hint, "__metadata__", ()):
        found = read_default(item)
        if found.notes and not found.is_required:
            return attrs.evolve(found, notes=())  # which are read with the rest of the annotation
    return None


def _inside(descriptor: Any, default: Any, factory: Any, *more: Any) -> Default:
    notes = (descriptor, *_description(descriptor), *more)
    if factory is not None and not any(factory is marker for marker in _MISSING):
        return Default(factory, notes=notes)
    inner = read_default(default)
    if inner.is_required or inner.make is not None:
        return attrs.evolve(inner, notes=(*notes, *inner.notes))
    return Default(lambda: copy.deepcopy(inner.value), value=inner.value, notes=(*notes, *inner.notes))


def _description(descriptor: Any) -> tuple[str, ...]:
    """The text in `field(metadata={"description": "..."})`."""
    metadata: Any = getattr(descriptor, "metadata", None)
    text = metadata.get("description") if hasattr(metadata, "get") else None
    return (text,) if isinstance(text, str) else ()
