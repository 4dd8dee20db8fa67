"""JSON Schemas of users' types."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from allm.data.json.text import dumps
from allm.data.types.describe import shape_of
from allm.data.types.foreign import schemas_from_pydantic
from allm.data.types.shapes import Definitions, Schema

__all__ = ["object_schema", "schema_of", "schemas_of", "with_definitions"]


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


def object_schema(cls: type) -> tuple[Schema, bool]:
    """The schema of a class as a complete document, and whether it fits the vendors' strict mode.

    Strict mode (OpenAI, structured outputs) requires that all properties are required and no others are allowed.

    Raises:
        TypeError: The class has no JSON Schema, or its schema is not an object.
    """
    document = schema_of(cls)
    if document.get("type") != "object":
        raise TypeError(f"{getattr(cls, '__name__', cls)} is not an object in JSON; expected a class with fields")
    objects = [node for node in (document, *document.get("$defs", {}).values()) if "properties" in node]
    strict = "properties" in document and all(
        node.get("additionalProperties") is False and set(node.get("required", ())) == set(node["properties"])
        for node in objects
    )
    return document, strict
