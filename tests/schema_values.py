"""A value for any JSON Schema that the library writes: what scripted models answer with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Schema = Mapping[str, Any]


def value_of(schema: Schema, text: Callable[[Schema], str], whole: int = 1) -> Any:
    """The plainest value.

    Args:
        schema: What it has to fit, with its own `$defs`.
        text: Makes a text for a field; it is given the field's schema.
        whole: The whole number.
    """

    def value(field: Schema) -> Any:
        if "$ref" in field:
            return value(schema["$defs"][field["$ref"].rpartition("/")[2]])
        if choices := field.get("anyOf") or field.get("oneOf") or field.get("allOf"):
            return value(choices[0])
        if "enum" in field or "const" in field:
            return field["enum"][0] if "enum" in field else field["const"]
        kind = field.get("type")
        match kind[0] if isinstance(kind, list) else kind:
            case "object":
                return {name: value(each) for name, each in field.get("properties", {}).items()}
            case "array":
                return [value(item) for item in field.get("prefixItems") or [field.get("items", {})]]
            case "string":
                return text(field)
            case other:
                return {"integer": whole, "number": 0.5, "boolean": True}.get(str(other))

    return value(schema)
