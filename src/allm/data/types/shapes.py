"""The shapes of JSON values: each gives its JSON Schema, structures a value, and says what it expects.

`describe` makes the shape of a type. Since a tool's schema and its arguments come from the same shape, what a model is
told is what is enforced. They are in `scalars`, `containers`, `records` (classes), `unions`, and `refined` (with
constraints); those of types that pydantic knows are in `foreign`.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs

from allm.data.attrs_classes import define
from allm.data.structuring import Misfit

__all__ = ["NO_KEYS", "Definitions", "Reading", "Refused", "Schema", "Shape", "json_notation", "name_of"]

Schema = dict[str, Any]

NO_KEYS = 4.5
"""The rank of a class whose fields are not those of the object, which is then tried for the sake of the error only."""


def json_notation(value: Any) -> str:
    """The value as in JSON, cut to the length that a model needs to find its mistake."""
    try:
        shown = f"{value!r:.60}"
    except RecursionError:
        return f"{'a list' if isinstance(value, list) else 'an object'} that is nested too deeply"
    return {"None": "null", "True": "true", "False": "false"}.get(shown, shown)


def name_of(hint: Any) -> str:
    """A type as it is written, without modules and notes: `Trip`, `list[Trip]`."""
    if hint is types.NoneType:
        return "None"
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return name_of(hint.__origin__)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(name_of, arguments))
    if arguments and isinstance(origin, type):
        return f"{origin.__name__}[{', '.join(map(name_of, arguments))}]"
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


class Refused(Misfit):
    """A value of the right kind that breaks a constraint."""


class Definitions:
    """The named parts of a schema: `#/$defs/<name>`, one for each class, enum and recursive alias.

    Attributes:
        named: The definitions by name.
        foreign: Schemas that another library makes, by type; `wanted` are those that are asked for.
    """

    def __init__(self, foreign: Sequence[tuple[Any, Schema]] = (), taken: Iterable[str] = ()) -> None:
        self.named: dict[str, Schema] = {}
        self.foreign = foreign
        self.wanted: list[Any] = []
        self._names: dict[Any, str] = {}
        self._taken = set(taken)

    def refer(self, key: Any, name: str, make: Callable[[Definitions], Schema]) -> Schema:
        """A reference to the definition of `key`, which is made on first use, so that it may refer to itself."""
        if key not in self._names:
            free = name
            number = 2
            while free in self.named or free in self._taken:
                free, number = f"{name}_{number}", number + 1
            self._names[key] = free
            self.named[free] = {}
            self.named[free] = make(self)
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def foreign_schema(self, hint: Any) -> Schema:
        """The schema that the other library made of `hint`."""
        for known, schema in self.foreign:
            if known is hint:
                return dict(schema)
        self.wanted.append(hint)
        return {}


@define(eq=False)
class Reading:
    """How values are read at a place in the JSON.

    Attributes:
        exact: Whether only values of exactly the JSON type fit, as the first pass over the members of a union asks.
        memo: What was found for a list or object that several members of unions have in common.
    """

    exact: bool = False
    memo: dict[Any, Any] = attrs.field(factory=dict)


class Shape:
    """The values that a type allows."""

    __slots__ = ("__weakref__",)
    words = "a value"
    sort: str | None = None
    """The kind of value that constraints apply to: number, text, list, object, ordered, bytes, any."""

    def load(self, value: Any, reading: Reading) -> Any:
        """The instance for `value`; raises `Misfit` or `Misfits` if it does not fit."""
        raise NotImplementedError

    def schema(self, definitions: Definitions) -> Schema:
        """The JSON Schema."""
        raise NotImplementedError

    def rank(self, value: Any) -> float | None:
        """How early a union tries this member for `value`: the least first; None if it is of another kind."""
        raise NotImplementedError

    def takes_null(self) -> bool:
        """Whether null fits."""
        return False

    def tags(self) -> dict[str, tuple[list[Any], bool]] | None:
        """For a class: the fields that are one of some texts or numbers, with these, and whether they are required."""
        return None

    def label(self) -> str:
        """The name for it in an error that lists the members of a union."""
        return self.words
