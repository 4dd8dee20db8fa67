"""The part of JSON Schema that `responseJsonSchema` takes.

https://ai.google.dev/api/generate-content#GenerationConfig.FIELDS.response_json_schema lists its keywords. It unrolls a
schema that refers to itself, so that may be only in a property that need not be there.
"""

from __future__ import annotations

from typing import Any

from allm.adapters import SchemaSubset, fit_schema
from allm.data.request import JsonSchema

__all__ = ["answer_schema"]

_FORMATS = frozenset({"date-time", "date", "time"})
_SUBSET = SchemaSubset(
    keywords=frozenset({"minimum", "maximum", "minItems", "maxItems", "propertyOrdering"}),
    formats=_FORMATS,
    maps=True,
    anything=True,
    rows=True,
    enum_kinds=frozenset({"string", "integer", "number"}),
    recursion="optional",
)


def answer_schema(wanted: JsonSchema) -> dict[str, Any]:
    """The schema of an answer as it is sent: one by hand as it is, that of a type as far as Gemini takes it."""
    fitted = None if wanted.output_type is None else fit_schema(wanted.schema, _SUBSET)
    return wanted.schema if fitted is None else fitted
