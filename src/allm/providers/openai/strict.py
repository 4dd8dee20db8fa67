"""The part of JSON Schema that `strict: true` takes.

https://platform.openai.com/docs/guides/structured-outputs#supported-schemas: a schema with anything else in it is a
400, so only what is known to be taken counts as fitting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from allm.adapters import SchemaSubset, fit_schema
from allm.data.request import JsonSchema
from allm.providers.openai.presets import Preset

__all__ = ["as_sent", "closed", "fits_strict"]

_BOUNDS = frozenset(
    {"exclusiveMaximum", "exclusiveMinimum", "maxItems", "maximum", "minItems", "minimum", "multipleOf", "pattern"}
)
_KNOWN = frozenset(
    {
        "$defs",
        "$ref",
        "additionalProperties",
        "anyOf",
        "const",
        "description",
        "enum",
        "format",
        "items",
        "properties",
        "required",
        "title",
        "type",
    }
    | _BOUNDS
)
_SAY_THE_TYPE = ("type", "anyOf", "enum", "const")
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_LOOK_AROUND = ("(?=", "(?!", "(?<=", "(?<!")
_MAX_DEPTH = 10
_MAX_PROPERTIES = 5000
_MAX_VALUES = 1000  # of all enumerations


def _takes(keyword: str, value: Any) -> bool:
    return keyword != "pattern" or not any(group in str(value) for group in _LOOK_AROUND)


_SUBSET = SchemaSubset(keywords=_BOUNDS, formats=_FORMATS, takes=_takes, all_required=True)


def fits_strict(schema: Any) -> bool:
    """Whether `schema`, that of an object, can be sent with `strict: true`."""
    if not isinstance(schema, Mapping) or schema.get("type") != "object" or "anyOf" in schema:
        return False
    nodes = _nodes(cast("Mapping[str, Any]", schema), 1)
    return (
        all(depth <= _MAX_DEPTH and _fits(node) for node, depth in nodes)
        and sum(len(_object(node.get("properties"))) for node, _ in nodes) <= _MAX_PROPERTIES
        and sum(len(_list(node.get("enum"))) for node, _ in nodes) <= _MAX_VALUES
    )


def as_sent(wanted: JsonSchema, preset: Preset) -> tuple[dict[str, Any], bool]:
    """The schema of an answer and its `strict`.

    A schema by hand is sent as it is asked for. That of a type is rewritten to the part that strict mode takes, since
    `parsed()` enforces all of it; without strict mode only where that cannot be, as for an object of any keys, or where
    the server may enforce more than OpenAI does.
    """
    if not wanted.strict:
        return wanted.schema, False
    if wanted.output_type is None:
        return closed(wanted.schema), True
    fitted = fit_schema(wanted.schema, _SUBSET) if preset.strict_subset else wanted.schema
    return (wanted.schema, False) if fitted is None or not fits_strict(fitted) else (fitted, True)


def _object(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    items: list[Any] = cast("Any", value) if isinstance(value, list) else []
    return items


def _nodes(schema: Any, depth: int) -> list[tuple[Mapping[str, Any], int]]:
    """`schema` and all schemas in it, each with its depth; what is no object in place of a schema is `{}`."""
    node = _object(schema)
    found = [(node, depth)]
    if depth > _MAX_DEPTH:
        return found
    for inner in _object(node.get("properties")).values():
        found += _nodes(inner, depth + 1)
    for inner in [*_list(node.get("anyOf")), *_object(node.get("$defs")).values()]:
        found += _nodes(inner, depth)
    if "items" in node:
        found += _nodes(node["items"], depth + 1)
    return found


def _fits(node: Mapping[str, Any]) -> bool:
    if "$ref" in node:
        return node.keys() <= {"$ref", "$defs"} and str(node["$ref"]).startswith("#")
    if not (_KNOWN.issuperset(node) and any(key in node for key in _SAY_THE_TYPE)):
        return False
    kind = node.get("type")
    kinds = _list(kind) or [kind]
    if "object" in kinds and not _is_closed(node):
        return False
    if "array" in kinds and "items" not in node:
        return False
    if "format" in node and node["format"] not in _FORMATS:
        return False
    return not any(group in str(node.get("pattern", "")) for group in _LOOK_AROUND)


def _is_closed(node: Mapping[str, Any]) -> bool:
    required = node.get("required")
    return (
        node.get("additionalProperties") is False
        and isinstance(required, (list, tuple))
        and set(cast("list[Any]", required)) == set(_object(node.get("properties")))
    )


def closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` with `additionalProperties: false` in every object that says nothing about it: strict mode wants it."""
    result = {key: _STEPS[key](value) if key in _STEPS else value for key, value in schema.items()}
    if schema.get("type") == "object" or "properties" in schema:
        result.setdefault("additionalProperties", False)
    return result


def _any(value: Any) -> Any:
    return closed(cast("Mapping[str, Any]", value)) if isinstance(value, Mapping) else value


def _each(value: Any) -> Any:
    return {name: _any(inner) for name, inner in _object(value).items()} if isinstance(value, Mapping) else value


def _all(value: Any) -> Any:
    return [_any(inner) for inner in _list(value)] if isinstance(value, list) else value


_STEPS = {"properties": _each, "$defs": _each, "items": _any, "anyOf": _all, "allOf": _all, "oneOf": _all}
