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


@pytest.mark.parametrize("subset", [PLAIN, STRICT, OPEN])
@pytest.mark.parametrize(
    ("given", "fitted"),
    [
        (
            {**refers(), "minLength": 2, "default": "x"},
            {"anyOf": [refers()], "description": "{minLength: 2, default: x}"},
        ),
        ({"allOf": [refers()], "description": "d"}, {"anyOf": [refers()], "description": "d"}),
        ({"enum": ["a"], "type": ["string", "null"]}, {"type": "string", "enum": ["a"]}),
        ({"type": ["string", "null"], "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        ({"allOf": [closed(a=TEXT), closed(b=TEXT)]}, None),
        ({"allOf": [refers(), closed(b=TEXT)]}, None),
        ({"allOf": [{"type": "string"}, {"type": "integer"}]}, None),
        ({**refers(), "properties": {"b": TEXT}}, None),
        ({"anyOf": [TEXT], "oneOf": [LIST]}, None),
        ({"anyOf": [TEXT], "enum": ["a", 1]}, None),
    ],
)
def test_what_has_to_hold_together(subset, given, fitted):
    """Beside a reference, in `allOf` or in two unions: it is told, or there is no schema, and nothing is lost."""
    found = fit_schema({**closed(a=given), "$defs": {"A": TEXT}}, subset)
    assert (None if found is None else found["properties"]["a"]) == fitted


@pytest.mark.parametrize("order", [["type", "enum"], ["enum", "type"]])
def test_values_of_several_types_in_either_order(order):
    """They are a union, beside which no type is left."""
    given = {"type": ["string", "null"], "enum": ["a", None]}
    members = [{"type": "string", "enum": ["a"]}, {"type": "null", "enum": [None]}]
    assert fit_schema({key: given[key] for key in order}, PLAIN) == {"anyOf": members}


def test_one_of_the_two_booleans():
    """It is told where there is no enumeration of them."""
    assert fit_schema({"const": True}, OPEN) == {"type": "boolean", "description": "{enum: [true]}"}
    assert fit_schema({"enum": [True, False]}, OPEN) == {"type": "boolean"}
    assert fit_schema({"const": True}, PLAIN) == {"type": "boolean", "enum": [True]}
