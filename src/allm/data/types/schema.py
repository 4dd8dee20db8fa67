"""JSON Schemas of users' types."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from allm.data.json.text import dumps
from allm.data.types.describe import shape_of
from allm.data.types.foreign import schemas_from_pydantic
from allm.data.types.shapes import Definitions, Schema

__all__ = ["schema_of", "schemas_of", "with_definitions"]


def with_definitions(make: Callable[[Definitions], Schema]) -> tuple[Schema, dict[str, Any]]:
    """What `make` makes, and the definitions that it refers to as `#/$defs/<name>`."""
    definitions = Definitions()
    made = make(definitions)
    if definitions.wanted:  # known now, as are the names that pydantic's definitions cannot have
        foreign, named = schemas_from_pydantic(definitions.wanted, definitions.named)
        definitions = Definitions(foreign)
        made = make(definitions)
        definitions.named.update(named)
    return made, definitions.named


def schemas_of(hints: Iterable[Any]) -> tuple[list[Schema], dict[str, Any]]:
    """The JSON Schemas of types, and the definitions they refer to as `#/$defs/<name>`.

    Raises:
        TypeError: A type has no JSON Schema.
    """
    shapes = [shape_of(hint) for hint in hints]
    found, definitions = with_definitions(lambda them: {"all": [shape.schema(them) for shape in shapes]})
    return found["all"], definitions


def schema_of(hint: Any) -> Schema:
    """The schema of any type as a complete document.

    Raises:
        TypeError: The type has no JSON Schema.
    """
    schema, definitions = with_definitions(shape_of(hint).schema)
    if schema.keys() == {"$ref"}:
        name = str(schema["$ref"]).rpartition("/")[2]
        schema = definitions[name]
        if f'"#/$defs/{name}"' not in dumps(definitions).decode():
            definitions = {key: value for key, value in definitions.items() if key != name}
    return {**schema, "$defs": definitions} if definitions else dict(schema)
