"""What a model is asked for as its whole answer, which vendors want to be an object.

So a type whose JSON is anything else, such as `list[Trip]`, `Literal["yes", "no"]` or `Cat | Dog`, is asked for as the
only property of an object, `{"value": ...}`, and taken out of it again. One rule for all vendors and all ways to ask:
what decides is the schema of the type. An answer without the object around it is taken as well where it fits, since
models that are not held to a schema leave it out.
"""

from __future__ import annotations

import re
from typing import Any
from weakref import WeakKeyDictionary

from typing_extensions import override

from allm.data.attrs_classes import define
from allm.data.types.defaults import Default
from allm.data.types.describe import shape_of
from allm.data.types.records import Field, Record
from allm.data.types.schema import schema_of, with_definitions
from allm.data.types.shapes import Definitions, Reading, Schema, Shape, name_of

__all__ = ["WRAPPED_KEY", "Wrapped", "answer_name", "answer_schema", "answer_shape", "is_wrapped"]

WRAPPED_KEY = "value"
"""The property that holds the answer of a wrapped type."""

_MAX_NAME = 64  # characters of a format's name, at OpenAI
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_-]+")
_wrapped: WeakKeyDictionary[Shape, bool] = WeakKeyDictionary()


@define(eq=False)
class Wrapped(Shape):
    """An object around the values of `inner`."""

    inner: Shape
    words = "an object"

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        if not isinstance(value, dict):
            return self.inner.load(value, reading)
        record = Record(self, "", "", _only)
        record.set_fields([Field(WRAPPED_KEY, self.inner, Default(is_required=True), WRAPPED_KEY)])
        try:
            return record.load(value, reading)
        except RecursionError:
            raise
        except Exception as misfit:  # shapes raise what the constructors of classes raise
            says_more = WRAPPED_KEY in value or self.inner.rank(value) is None
            try:
                return self.inner.load(value, reading)
            except Exception:
                if says_more:
                    raise misfit from None
                raise

    @override
    def schema(self, definitions: Definitions) -> Schema:
        return {
            "type": "object",
            "properties": {WRAPPED_KEY: self.inner.schema(definitions)},
            "required": [WRAPPED_KEY],
            "additionalProperties": False,
        }

    @override
    def rank(self, value: Any) -> float | None:
        return 4 if isinstance(value, dict) else None


def _only(**given: Any) -> Any:
    return given[WRAPPED_KEY]


def is_wrapped(hint: Any) -> bool:
    """Whether the answer for a type is asked for as `{"value": ...}`: its own schema is not that of an object.

    Raises:
        TypeError: The type has no JSON Schema.
    """
    shape = shape_of(hint)
    if (known := _wrapped.get(shape)) is None:
        known = _wrapped[shape] = schema_of(hint).get("type") != "object"
    return known


def answer_shape(hint: Any) -> Shape:
    """The shape of the whole answer for a type.

    Raises:
        TypeError: The type has no JSON Schema.
    """
    shape = shape_of(hint)
    return Wrapped(shape) if is_wrapped(hint) else shape


def answer_schema(hint: Any) -> Schema:
    """The schema of the whole answer for a type as a complete document, an object at its root.

    Raises:
        TypeError: The type has no JSON Schema.
    """
    if not is_wrapped(hint):
        return schema_of(hint)
    schema, definitions = with_definitions(Wrapped(shape_of(hint)).schema)
    return {**schema, "$defs": definitions} if definitions else schema


def answer_name(hint: Any) -> str:
    """A type's name as vendors take that of a format: `Trip`, and `list_Trip` for `list[Trip]`."""
    return _FORBIDDEN.sub("_", name_of(hint)).strip("_")[:_MAX_NAME] or "answer"
