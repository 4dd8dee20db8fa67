"""The items of an answer that is a list, one by one: which list of an answer's type is meant, and the shapes in it."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Container, Iterable, Iterator
from typing import Any

import attrs

from allm.data.attrs_classes import frozen
from allm.data.json.growing import NOTHING
from allm.data.types.containers import Alias, Listing, Row
from allm.data.types.describe import shape_of
from allm.data.types.foreign import Foreign
from allm.data.types.output import WRAPPED_KEY
from allm.data.types.records import Record
from allm.data.types.refined import Refined
from allm.data.types.scalars import Anything
from allm.data.types.shapes import Definitions, Shape, name_of
from allm.data.types.structure import NotStructured, invalid_output, load
from allm.data.types.unions import Union

__all__ = ["Items", "items_of", "unwrapped"]


@frozen(eq=False)
class Items:
    """The items of a list.

    Attributes:
        shape: That of the list.
        keys: The names of the property that holds it, if the answer is an object; None: it is the first with a list.
        field: The field that it is, if its type is that of a field.
    """

    shape: Listing | Row
    keys: Container[str] | None = None
    field: str | None = None

    def make(self, index: int, value: Any) -> Any:
        """The instance of an item.

        Raises:
            ValidationError: `invalid_output`: it does not fit its type, with every problem.
        """
        try:
            return load(value, self._shape_at(index))
        except NotStructured as error:
            before = (index,) if self.field is None else (self.field, index)
            found = NotStructured([((*before, *path), what) for path, what in error.found])
            raise invalid_output(found, f"an item of the list is JSON but not valid: {found}") from error

    def _shape_at(self, index: int) -> Shape:
        if isinstance(self.shape, Listing):
            return self.shape.item
        if index < len(self.shape.items):
            return self.shape.items[index]
        return self.shape.rest or Anything()  # one too many is found by `parsed()`, as a list that is too long


def items_of(hint: Any, item: Any = None) -> Items:
    """The items of the list in answers of the type `hint`.

    Args:
        hint: The type of the answer; None if it has none.
        item: The type of the items, where `hint` does not say it, or has several lists.

    Raises:
        TypeError: There is no such list, or more than one.
    """
    lists = [] if hint is None else list(_lists_in(hint))
    if item is not None:
        shape = shape_of(item)
        lists = [found for found in lists if _has_items(found, shape)] or lists or [Items(Listing(shape, list))]
    elif hint is None:
        lists = [Items(Listing(Anything(), list))]
    if len(lists) != 1:
        has = f"{len(lists)} lists: pass the type of an item, elements(Item)" if lists else "no list"
        raise TypeError(f"{name_of(hint):.60} has {has}; expected a list, or a class with one field that is a list")
    return lists[0] if item is None else attrs.evolve(lists[0], shape=Listing(shape_of(item), list))


def _has_items(items: Items, wanted: Shape) -> bool:
    """Whether the items of a list have this shape: the same object if it is that of a class, else the same schema."""
    if not isinstance(items.shape, Listing) or items.shape.item is wanted:
        return isinstance(items.shape, Listing)
    definitions = Definitions()
    is_same = items.shape.item.schema(definitions) == wanted.schema(definitions)
    return is_same and not definitions.named and not definitions.wanted


def unwrapped(answer: dict[str, Any]) -> Any:
    """What is in the object around an answer whose type is no object itself; `NOTHING` while that is empty."""
    if not answer:
        return NOTHING
    return answer[WRAPPED_KEY] if answer.keys() == {WRAPPED_KEY} else answer


def _lists_in(hint: Any) -> Iterator[Items]:
    """The list that an answer of the type may be, or else those in its fields."""
    alternatives = list(_alternatives(shape_of(hint)))
    lists = [shape for shape in alternatives if isinstance(shape, (Listing, Row))]
    if lists:
        yield from (Items(shape, {WRAPPED_KEY}) for shape in lists)
    else:
        for shape in alternatives:
            yield from _in_fields(shape)


def _in_fields(shape: Shape) -> Iterator[Items]:
    """The lists in the fields of a class."""
    fields: Iterable[tuple[list[str], Shape]] = ()
    if isinstance(shape, Record):
        fields = (([field.key], field.shape) for field in shape.fields)
    elif isinstance(shape, Foreign):
        fields = _foreign_fields(shape.hint)
    for keys, of_field in fields:
        for found in _alternatives(of_field):
            if isinstance(found, (Listing, Row)):
                yield Items(found, keys or {WRAPPED_KEY}, keys[0] if keys else None)


def _foreign_fields(hint: Any) -> Iterator[tuple[list[str], Shape]]:
    """The fields of a class of pydantic, as far as their shapes are known; the one of a root model has no name."""
    for name, field in getattr(hint, "__pydantic_fields__", {}).items():
        choices = getattr(field.validation_alias, "choices", ())
        keys = [key for key in (field.validation_alias, field.alias, *choices, name) if isinstance(key, str)]
        is_root = bool(getattr(hint, "__pydantic_root_model__", False))
        with contextlib.suppress(TypeError):
            yield [] if is_root else keys, shape_of(field.annotation)


def _alternatives(shape: Shape) -> Iterator[Shape]:
    """What a value of this shape may be, without names, constraints and null."""
    if isinstance(shape, Union):
        for member in shape.members:
            yield from _alternatives(member)
    elif isinstance(shape, (Alias, Refined)):
        if shape.inner is not None:
            yield from _alternatives(shape.inner)
    elif isinstance(shape, Foreign) and typing.get_origin(shape.hint) is typing.Annotated:
        yield from _alternatives(shape_of(shape.hint.__origin__))
    else:
        yield shape
