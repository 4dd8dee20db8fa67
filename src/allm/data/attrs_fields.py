"""Field kinds that the values share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import attrs

from allm.data.errors import ValidationError
from allm.data.problems import wrong_type

__all__ = ["headers_field", "mapping_field", "tuple_of"]

T = TypeVar("T")


def _copied(value: Mapping[str, Any], field: attrs.Attribute[Any]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ValidationError([wrong_type((field.name,), value, "a mapping")])
    return dict(value)


def mapping_field() -> Any:
    """A keyword-only open mapping, copied on the way in; left out of the hash so that its owner stays hashable."""
    converter = attrs.Converter(_copied, takes_field=True)
    return attrs.field(factory=dict, kw_only=True, converter=converter, hash=False)


def headers_field() -> Any:
    """A keyword-only mapping of HTTP headers.

    They are not compared, as the same answer comes at another time, nor shown in the repr, where they hide the rest.
    """
    converter = attrs.Converter(_copied, takes_field=True)
    return attrs.field(factory=dict[str, str], kw_only=True, converter=converter, eq=False, repr=False)


def tuple_of(name: str, value: Iterable[T]) -> tuple[T, ...]:
    """The values as a tuple.

    Raises:
        ValidationError: A text, a mapping, or something that cannot be iterated.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ValidationError([wrong_type((name,), value, f"a list or another iterable of {name}")])
    return tuple(value)
