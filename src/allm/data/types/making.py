"""Makes shapes of parts: a class, a union, an enum, a type with notes."""

from __future__ import annotations

import contextlib
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
from allm.data.types.refined import Refined, rule_for
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
        return foreign_shape(typing.Annotated[(hint, *metadata)])
    if not notes:
        return shape
    for limit in notes.limits:
        shape = _limited(shape, limit)
    for limit in notes.by_class:
        with contextlib.suppress(TypeError):
            shape = _limited(shape, limit)
    if notes.about and isinstance(shape, Refined):
        return Refined(shape.inner, shape.rules, {**shape.about, **notes.about})
    return Refined(shape, [], notes.about) if notes.about else shape


def _limited(shape: Shape, limit: tuple[str, Any]) -> Shape:
    """The shape with a constraint; in a union it holds for the members that it says something about."""
    if not isinstance(shape, Union):
        rule = rule_for(shape, *limit)
        if isinstance(shape, Refined):
            return Refined(shape.inner, [*shape.rules, rule], shape.about)
        return Refined(shape, [rule], {})
    members: list[Shape] = []
    for member in shape.members:
        try:
            members.append(_limited(member, limit))
        except TypeError:
            members.append(member)
    if all(new is old for new, old in zip(members, shape.members, strict=True)):
        rule_for(shape, *limit)  # raises: it says nothing about any of them
    return Union(members, nullable=shape.nullable)


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
