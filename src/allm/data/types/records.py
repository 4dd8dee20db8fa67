"""The shape of a class: an object with a value for each field."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from typing_extensions import override

from allm.data.attrs_classes import define
from allm.data.structuring import MAX_PROBLEMS, Misfit, Misfits
from allm.data.types.containers import Alias
from allm.data.types.defaults import NOTHING, Default
from allm.data.types.encode import as_json
from allm.data.types.refined import Refined, described
from allm.data.types.scalars import Choice
from allm.data.types.shapes import NO_KEYS, Definitions, Reading, Schema, Shape

__all__ = ["Field", "Record", "properties_of", "unknown_fields"]


@define(eq=False)
class Field:
    """A field of a class, or a parameter of a function.

    Attributes:
        key: Its name in JSON.
        shape: The values that it takes.
        default: What it has when it is left out.
        argument: The name by which the value is passed on; None if it is only checked, as a tag.
        about: Further keywords of its schema.
    """

    key: str
    shape: Shape
    default: Default
    argument: str | None
    about: Schema = attrs.field(factory=dict)


def properties_of(fields: Sequence[Field], definitions: Definitions) -> Schema:
    """The schema of an object with these fields, closed."""
    properties: Schema = {}
    for field in fields:
        schema = field.shape.schema(definitions)
        about = {key: value for key, value in field.about.items() if key not in schema}
        if (shown := field.default.shown) is not NOTHING:
            with contextlib.suppress(TypeError, ValueError):  # one without a JSON form, such as infinity, is not told
                about["default"] = as_json(shown)
        properties[field.key] = described(schema, about)
    required = [field.key for field in fields if field.default.is_required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def unknown_fields(names: Sequence[str]) -> ValueError:
    """The problem of fields that an object has and its class has not."""
    shown = ", ".join(repr(name) for name in sorted(names)[:MAX_PROBLEMS])
    return ValueError(f"unknown field {shown:.300}")


@define(eq=False)
class Record(Shape):
    """A class whose fields are an object in JSON.

    Its fields are set after it was made, since the class may contain itself.
    """

    key: Any
    title: str
    description: str
    make: Callable[..., Any]
    fields: Sequence[Field] = ()
    _keys: frozenset[str] = frozenset()
    words = "an object"

    def set_fields(self, fields: Sequence[Field]) -> None:
        """Set what the class consists of."""
        self.fields = fields
        self._keys = frozenset(field.key for field in fields)

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        if not isinstance(value, dict):
            raise Misfit(self.words, value)
        arguments: dict[str, Any] = {}
        problems: list[tuple[tuple[str, ...], Exception]] = []
        for field in self.fields:
            key = field.key
            if key not in value and not field.default.is_required and field.default.make is None:
                continue  # the class has the default
            try:
                made = field.shape.load(value[key], reading) if key in value else field.default.for_missing(key)
                if field.argument is not None:
                    arguments[field.argument] = made
            except RecursionError:
                raise
            except Exception as error:  # any exception of a class gets its path
                problems.append(((key,), error))
        if unknown := value.keys() - self._keys:
            problems.append(((), unknown_fields(list(unknown))))
        if problems:
            raise Misfits(problems)  # type: ignore[arg-type]
        return self.make(**arguments)

    @override
    def schema(self, definitions: Definitions) -> Schema:
        return definitions.refer(self.key, _name(self.title), self._schema)

    def _schema(self, definitions: Definitions) -> Schema:
        about = {"description": self.description} if self.description else {}
        return {"title": self.title, **about, **properties_of(self.fields, definitions)}

    @override
    def rank(self, value: Any) -> float | None:
        if not isinstance(value, dict):
            return None
        return rank_of_keys(value, self._keys, [field.key for field in self.fields if field.default.is_required])

    @override
    def tags(self) -> dict[str, tuple[list[Any], bool]]:
        found: dict[str, tuple[list[Any], bool]] = {}
        for field in self.fields:
            shape: Shape | None = field.shape
            while isinstance(shape, (Refined, Alias)):
                shape = shape.inner
            if isinstance(shape, Choice):
                found[field.key] = ([plain for plain, _ in shape.options], field.default.is_required)
        return found

    @override
    def label(self) -> str:
        return self.title


def rank_of_keys(value: dict[str, Any], known: frozenset[str], required: Sequence[str]) -> float:
    """The rank of a class for an object: the fewer of its fields are left to their defaults, the earlier."""
    if not value.keys() <= known or any(key not in value for key in required):
        return NO_KEYS
    left_out = len(known) - len(value)
    return 4 + min(left_out, 400) / 1000


def _name(title: str) -> str:
    """A title as the name of a definition: `Box[int]` is `Box_int`."""
    return "".join(letter if letter.isalnum() or letter in "_-." else "_" for letter in title).strip("_") or "Type"
