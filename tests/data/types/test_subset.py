"""A schema as a vendor takes it: what the vendor does not know is told, and the form of the answer stays."""

from __future__ import annotations

import pytest

from allm.data.types.subset import SchemaSubset, fit_schema

PLAIN = SchemaSubset(keywords=frozenset())
STRICT = SchemaSubset(keywords=frozenset({"minimum", "maxItems"}), formats=frozenset({"date"}), all_required=True)
OPEN = SchemaSubset(
    keywords=frozenset(),
    maps=True,
    anything=True,
    rows=True,
    enum_kinds=frozenset({"string"}),
    recursion="optional",
)
NOWHERE = SchemaSubset(keywords=frozenset(), anything=True, recursion="nowhere")
TEXT = {"type": "string"}
LIST = {"type": "array", "items": TEXT}


def closed(required=None, **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        "additionalProperties": False,
    }


def refers(name="A"):
    return {"$ref": f"#/$defs/{name}"}


@pytest.mark.parametrize(
    ("subset", "given", "fitted"),
    [
        (PLAIN, TEXT, TEXT),
        (PLAIN, {**TEXT, "minLength": 1, "format": "date"}, {**TEXT, "description": "{minLength: 1, format: date}"}),
        (STRICT, {**TEXT, "format": "date"}, {**TEXT, "format": "date"}),
        (STRICT, {"type": "integer", "minimum": 1}, {"type": "integer", "minimum": 1}),
        (STRICT, closed([], a={**TEXT, "default": "x"}), closed(a={**TEXT, "description": "{default: x}"})),
        (PLAIN, closed([], a=TEXT), closed([], a=TEXT)),
        (PLAIN, {"properties": {"a": TEXT}}, closed([], a=TEXT)),
        (PLAIN, {"type": "object", "additionalProperties": False}, closed()),
        (PLAIN, {"enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}),
        (PLAIN, {"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        (PLAIN, {"const": 1}, {"type": "integer", "enum": [1]}),
        (
            PLAIN,
            {"enum": ["a", True, 1.5, None], "description": "d"},
            {
                "anyOf": [
                    {"type": "string", "enum": ["a"]},
                    {"type": "boolean", "enum": [True]},
                    {"type": "number", "enum": [1.5]},
                    {"type": "null", "enum": [None]},
                ],
                "description": "d",
            },
        ),
        (OPEN, {"enum": ["a", None]}, {"anyOf": [{"type": "string", "enum": ["a"]}, {"type": "null"}]}),
        (PLAIN, {"oneOf": [TEXT, {"type": "null"}]}, {"anyOf": [TEXT, {"type": "null"}]}),
        (PLAIN, {"allOf": [TEXT], "title": "T"}, {**TEXT, "title": "T"}),
        (
            STRICT,
            {"type": "integer", "minimum": 1, "allOf": [{"minimum": 2}, {"allOf": [{"title": "T"}]}]},
            {"type": "integer", "minimum": 1, "title": "T", "description": "{minimum: 2}"},
        ),
        (PLAIN, {"allOf": [refers()], "$defs": {"A": TEXT}}, {**refers(), "$defs": {"A": TEXT}}),
        (
            PLAIN,
            {**refers(), "description": "d", "$defs": {"A": TEXT}},
            {"anyOf": [refers()], "description": "d", "$defs": {"A": TEXT}},
        ),
        (
            PLAIN,
            {"type": "array", "items": TEXT, "maxItems": 2},
            {"type": "array", "items": TEXT, "description": "{maxItems: 2}"},
        ),
        (
            STRICT,
            {"type": "array", "prefixItems": [TEXT, TEXT], "items": False, "maxItems": 2},
            {"type": "array", "items": TEXT, "maxItems": 2},
        ),
        (STRICT, {**LIST, "prefixItems": [TEXT]}, LIST),
        (OPEN, {"type": "array", "prefixItems": [TEXT], "items": False}, {"type": "array", "prefixItems": [TEXT]}),
        (
            OPEN,
            {"type": "array", "prefixItems": [TEXT], "items": TEXT},
            {"type": "array", "prefixItems": [TEXT], "items": TEXT},
        ),
        (OPEN, {"type": "array", "items": True}, {"type": "array", "items": {}}),
        (OPEN, {"type": "object"}, {"type": "object"}),
        (OPEN, {"type": "object", "additionalProperties": TEXT}, {"type": "object", "additionalProperties": TEXT}),
        (OPEN, {"type": "object", "additionalProperties": True}, {"type": "object", "additionalProperties": True}),
        (OPEN, {"description": "d"}, {"description": "d"}),
    ],
)
def test_what_a_schema_becomes(subset, given, fitted):
    """The given one is not changed."""
    before = repr(given)
    assert fit_schema(given, subset) == fitted
    assert repr(given) == before


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"description": "anything"},
        {"type": "object"},
        {"type": "object", "additionalProperties": TEXT},
        {"type": "object", "properties": {}, "additionalProperties": True},
        {"type": "array"},
        {"type": "array", "items": {}},
        {"type": "array", "items": False},
        {"type": "array", "prefixItems": [], "items": False},
        {"type": "array", "prefixItems": [TEXT, {"type": "null"}]},
        {"enum": [[1]]},
        closed(a={"anyOf": [TEXT, {}]}),
        {**refers(), "$defs": {"A": {"type": "object"}}},
    ],
)
def test_what_has_no_such_schema(given):
    """The form of the answer could not be kept."""
    assert fit_schema(given, PLAIN) is None


CHAIN = {
    "A": closed(b=refers("B")),
    "B": closed(a={"anyOf": [refers("A"), {"type": "null"}]}, c=refers("C")),
    "C": TEXT,
}


def test_a_schema_that_contains_itself():
    """Where it may be only in a property that is not required, that one is not required any more."""
    document = {**closed(a=refers("A")), "$defs": CHAIN}
    assert fit_schema(document, PLAIN) == document
    assert fit_schema(document, NOWHERE) is None
    found = fit_schema(document, OPEN)
    assert found["required"] == ["a"]
    assert [found["$defs"][name]["required"] for name in "AB"] == [[], ["c"]]
    assert fit_schema({**closed(a=refers("C")), "$defs": {"C": TEXT}}, NOWHERE) is not None


def test_recursion_without_a_property_ends():
    """As far as anything is allowed there."""
    json = {"anyOf": [TEXT, {"type": "array", "items": refers("Json")}]}
    document = {**closed(value=refers("Json")), "$defs": {"Json": json}}
    found = fit_schema(document, OPEN)
    assert found["$defs"]["Json"] == {"anyOf": [TEXT, {"type": "array", "items": {}}]}
    assert fit_schema(document, SchemaSubset(keywords=frozenset(), recursion="optional")) is None


def test_a_schema_of_any_depth():
    """One that is too deep for a walk has none."""
    deep = TEXT
    for _ in range(5000):
        deep = closed(a=deep)
    assert fit_schema(deep, PLAIN) is None
