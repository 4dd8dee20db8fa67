"""Make JSON Schemas of users' types, with msgspec; a pydantic model makes its own."""

from __future__ import annotations

import importlib
import types
import typing
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

import msgspec

from allm.data.json.text import dumps
from allm.data.types.classes import fields_of, is_pydantic

__all__ = ["object_schema", "schemas_of"]


def schemas_of(hints: Iterable[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The JSON Schemas of types, and the definitions they refer to as `#/$defs/<name>`.

    A text in `Annotated[int, "..."]` becomes the description.

    Raises:
        TypeError: A type has no JSON Schema.
    """
    wanted = list(hints)
    models: dict[type, dict[str, Any]] = {}
    schemas, definitions = _components(wanted, models)
    if models:
        end = "_" if _of_models(models, "").keys() & definitions.keys() else ""
        of_models = _of_models(models, end)
        schemas, definitions = _components(wanted, models)
        definitions.update(of_models)
    found: dict[str, type] = {}
    for hint in wanted:
        _collect_classes(hint, found)
    for name, cls in found.items():
        if "properties" in definitions.get(name, {}):
            definitions[name] = _as_made(definitions[name], cls)
    described = [
        {**schema, "description": text} if (text := _description(hint)) else schema
        for schema, hint in zip(schemas, wanted, strict=True)
    ]
    closed = {
        name: {**schema, "additionalProperties": schema.get("additionalProperties", False)}
        if "properties" in schema
        else schema
        for name, schema in definitions.items()
    }
    return described, closed


def _components(
    hints: list[Any], models: dict[type, dict[str, Any]]
) -> tuple[tuple[dict[str, Any], ...], dict[str, Any]]:
    """Schemas and definitions from msgspec, with those in `models` for pydantic models; missing ones are added."""

    def custom(cls: type) -> dict[str, Any]:
        if is_pydantic(cls):
            return dict(models.setdefault(cls, {"type": "object"}))
        if issubclass(cls, PurePath):
            return {"type": "string", "format": "path"}
        raise TypeError(f"{cls.__name__} has no JSON Schema")

    try:
        return msgspec.json.schema_components(hints, schema_hook=custom, ref_template="#/$defs/{name}")
    except KeyError as error:  # msgspec looks up each field's annotation
        raise TypeError(f"the field {error} has no type") from error
    except RecursionError:
        raise TypeError("a recursive type must be a named class") from None
    except NameError as error:  # an annotation that refers to a class local to a function
        raise TypeError(f"{error} in an annotation: define the type at module level") from error


def _of_models(models: dict[type, dict[str, Any]], end: str) -> dict[str, Any]:
    """Set the schemas of `models` from pydantic, and return pydantic's definitions, whose names end with `end`."""
    pydantic: Any = importlib.import_module("pydantic.json_schema")  # installed, since there are models
    references, document = pydantic.models_json_schema(
        [(typing.cast("Any", cls), "validation") for cls in models], ref_template=f"#/$defs/{{model}}{end}"
    )
    models.update({cls: schema for (cls, _), schema in references.items()})
    return {name + end: schema for name, schema in document["$defs"].items()}


def _as_made(schema: dict[str, Any], cls: type) -> dict[str, Any]:
    """The schema with descriptions of the fields, and without fields that are not arguments of the class."""
    declared = [*getattr(cls, "__attrs_attrs__", ()), *getattr(cls, "__dataclass_fields__", {}).values()]
    hidden = {field.name for field in declared if not field.init}
    properties = {name: value for name, value in schema["properties"].items() if name not in hidden}
    for field, hint in fields_of(cls).items():
        text = _description(hint)
        if field in properties and text:
            properties[field] = {**properties[field], "description": text}
    return {
        **schema,
        "properties": properties,
        "required": [name for name in schema.get("required", ()) if name in properties],
    }


def _description(hint: Any) -> str | None:
    """The description in `Annotated[int, "text"]`, also in `Annotated[int, "text"] | None`."""
    is_union = typing.get_origin(hint) in {typing.Union, types.UnionType}
    annotated = [hint, *typing.get_args(hint)] if is_union else [hint]
    texts = [item for inner in annotated for item in getattr(inner, "__metadata__", ()) if isinstance(item, str)]
    return texts[0] if texts else None


def _collect_classes(hint: Any, found: dict[str, type]) -> None:
    for inner in typing.get_args(hint):
        _collect_classes(inner, found)
    if isinstance(hint, type) and hint.__name__ not in found:
        fields = fields_of(hint)
        if fields:
            found[hint.__name__] = hint
            for inner in fields.values():
                _collect_classes(inner, found)


def object_schema(cls: type) -> tuple[dict[str, Any], bool]:
    """The schema of a class as a complete document, and whether it fits the vendors' strict mode.

    Strict mode (OpenAI, structured outputs) requires that all properties are required and no others are allowed.

    Raises:
        TypeError: The class has no JSON Schema, or its schema is not an object.
    """
    [schema], definitions = schemas_of([cls])
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    root = definitions.get(name, schema)
    if root.get("type") != "object":
        raise TypeError(f"{getattr(cls, '__name__', cls)} is not an object in JSON; expected a class with fields")
    rest = {
        key: value for key, value in definitions.items() if key != name or f'#/$defs/{name}"' in str(dumps(definitions))
    }
    document = {**root, "$defs": rest} if rest else dict(root)
    objects = [node for node in (root, *rest.values()) if "properties" in node]
    strict = root in objects and all(
        node.get("additionalProperties") is False and set(node.get("required", ())) == set(node["properties"])
        for node in objects
    )
    return document, strict
