"""Makes shapes of parts: a class, a union, an enum, a type with notes."""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import typing_extensions

from allm.data.types.classes import description_of
from allm.data.types.constraints import Notes
from allm.data.types.containers import Listing, Mapped
from allm.data.types.encode import as_json
from allm.data.types.foreign import foreign_shape
from allm.data.types.records import Record
from allm.data.types.refined import Refined, rules_for
from allm.data.types.scalars import Choice, Null
from allm.data.types.shapes import Shape
from allm.data.types.unions import Union, flat

__all__ = ["constructor", "enumeration", "from_list", "is_hashable", "literal", "refined", "union"]


def is_hashable(item: Shape) -> bool:
    """Whether what the shape makes can be an item of a set."""
    while isinstance(item, Refined):
        item = item.inner
    if isinstance(item, Union):
        return all(map(is_hashable, item.members))
    if isinstance(item, Record):
        return item.make is not dict and getattr(item.key[0], "__hash__", None) is not None
    return not isinstance(item, Mapped) and not (isinstance(item, Listing) and item.make not in (tuple, frozenset))


def constructor(cls: Any) -> Callable[..., Any]:
    """What makes an instance of a class from its fields by name."""
    return dict if typing.is_typeddict(cls) or typing_extensions.is_typeddict(cls) else cls


def from_list(cls: Any, fields: Sequence[Any], items: Sequence[Any]) -> Any:
    """Make an instance of a class that is a list in JSON."""
    arguments = {field.argument: item for field, item in zip(fields, items, strict=False) if field.argument is not None}
    for field in fields[len(items) :]:
        if field.default.make is not None:
            arguments[field.argument] = field.default.make()
    return cls(**arguments)


def refined(shape: Shape, notes: Notes, hint: Any, metadata: Iterable[Any]) -> Shape:
    """The shape of a type with notes on it.

    Raises:
        TypeError: A constraint says nothing about the type.
    """
    if notes.is_foreign:
        plain = hint.__origin__ if typing.get_origin(hint) is typing.Annotated else hint
        return foreign_shape(typing.Annotated[(plain, *metadata)])
    if not notes:
        return shape
    if not notes.limits:
        return Refined(shape, [], notes.about)
    if isinstance(shape, Union):  # each constraint holds for the members that it says something about
        members = [_if_it_says_something(member, notes) for member in shape.members]
        if all(new is old for new, old in zip(members, shape.members, strict=True)):
            list(rules_for(shape, notes.limits))  # raises
        refined: Shape = Union(members, nullable=shape.nullable)
        return Refined(refined, [], notes.about) if notes.about else refined
    return Refined(shape, list(rules_for(shape, notes.limits)), notes.about)


def _if_it_says_something(member: Shape, notes: Notes) -> Shape:
    try:
        return Refined(member, list(rules_for(member, notes.limits)), {})
    except TypeError:
        return member


def union(shapes: Sequence[Shape]) -> Shape:
    """The shape of a union, without unions in it."""
    members, nullable = flat(shapes)
    others = [member for member in members if not isinstance(member, Null)]
    nullable = nullable or len(others) < len(members)
    if not others:
        return Null()
    return others[0] if len(others) == 1 and not nullable else Union(others, nullable=nullable)


def literal(options: Iterable[Any]) -> Shape:
    """The shape of a Literal."""
    return Choice([(_json_form(option, "Literal"), option) for option in options])


def enumeration(cls: type[enum.Enum]) -> Shape:
    """The shape of an enum."""
    options = [(_json_form(member, cls.__name__), member) for member in cls]
    if not options:
        raise TypeError(f"the enum {cls.__name__} has no members")
    return Choice(options, cls, description_of(cls))


def _json_form(option: Any, name: str) -> Any:
    try:
        plain = as_json(option)
    except (TypeError, ValueError):
        plain = ()
    if isinstance(plain, (str, int, float, bool, types.NoneType)):
        return plain
    raise TypeError(f"{option!r} of {name} has no JSON form; expected texts, numbers, true, false or null")
