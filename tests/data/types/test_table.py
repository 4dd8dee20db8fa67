"""The table in docs/types.md: for each kind of type and each place, what is told is what is enforced.

`python tests/data/types/test_table.py` writes the table.
"""

from __future__ import annotations

import dataclasses
import json
import re
import typing
from pathlib import Path

import attrs
import msgspec
import pytest

import allm
from allm.data.types.output import answer_schema, is_wrapped
from allm.data.types.schema import schema_of
from allm.data.types.structure import NotStructured, parse_text, structure

PAGE = Path(__file__).parents[3] / "docs" / "types.md"
HEAD = "| annotation | JSON Schema | as an output | refused | because |\n| --- | --- | --- | --- | --- |\n"

# The annotation, a value that fits, what it becomes, and a value that does not fit.
ROWS = [
    ("str", '"a"', "'a'", "1"),
    ("int", "3.0", "3", '"3"'),
    ("float", "3", "3.0", '"3"'),
    ("bool", "true", "True", "1"),
    ("None", "null", "None", "1"),
    ("Annotated[int, at.Ge(1), at.Le(10)]", "10", "10", "11"),
    ("Annotated[int, pydantic.Field(ge=1, description='a count')]", "1", "1", "0"),
    ("pydantic.PositiveInt", "1", "1", "0"),
    ("Annotated[float, at.Interval(gt=0, lt=1)]", "0.5", "0.5", "1"),
    ("Annotated[float, at.MultipleOf(0.1)]", "0.3", "0.3", "0.35"),
    ("Annotated[str, pydantic.StringConstraints(min_length=2, pattern='^a')]", '"ab"', "'ab'", '"b"'),
    ("Annotated[str, msgspec.Meta(pattern='^a', max_length=3)]", '"abc"', "'abc'", '"b"'),
    ("Annotated[str, 'a name']", '"x"', "'x'", "1"),
    ("Annotated[list[int], at.MaxLen(2)]", "[1]", "[1]", "[1, 2, 3]"),
    ("list[Annotated[int, at.Ge(1)]]", "[1]", "[1]", "[1, 0]"),
    ("Annotated[int | None, at.Ge(1)]", "null", "None", "0"),
    ("Annotated[Decimal, at.Ge(0)]", '"1.5"', "Decimal('1.5')", '"-1"'),
    ("Annotated[dt.date, at.Ge(dt.date(2024, 1, 1))]", '"2024-01-01"', "dt.date(2024, 1, 1)", '"2023-12-31"'),
    ("Annotated[str, pydantic.AfterValidator(str.upper)]", '"a"', "'A'", "1"),
    ("Optional[int]", "null", "None", '"1"'),
    ("Literal['a', 1, None]", "1", "1", "true"),
    ("Unit", '"K"', "Unit.KELVIN", '"F"'),
    ("UserId", "1", "1", '"1"'),
    ("Any", '{"a": 1}', "{'a': 1}", None),
    ("dt.datetime", '"2024-01-31T12:00:00+00:00"', "dt.datetime(2024, 1, 31, 12, tzinfo=dt.timezone.utc)", '"noon"'),
    ("dt.date", '"2024-01-31"', "dt.date(2024, 1, 31)", '"31.1.2024"'),
    ("dt.time", '"12:30:00"', "dt.time(12, 30)", '"noon"'),
    ("dt.timedelta", '"PT90S"', "dt.timedelta(seconds=90)", '"90 seconds"'),
    ("uuid.UUID", '"00000000-0000-0000-0000-000000000001"', "uuid.UUID(int=1)", '"1"'),
    ("Decimal", '"1.50"', "Decimal('1.50')", '"x"'),
    ("Path", '"a/b"', "Path('a/b')", "1"),
    ("bytes", '"aGk="', "b'hi'", '"!"'),
    ("ipaddress.IPv4Address", '"127.0.0.1"', "ipaddress.IPv4Address('127.0.0.1')", '"localhost"'),
    ("pydantic.HttpUrl", '"http://a.example/"', "pydantic.HttpUrl('http://a.example/')", '"a"'),
    ("list[int]", "[1]", "[1]", '[1, "2"]'),
    ("set[int]", "[1, 1]", "{1}", '"1"'),
    ("frozenset[str]", '["a"]', "frozenset({'a'})", "[1]"),
    ("tuple[int, str]", '[1, "a"]', "(1, 'a')", "[1]"),
    ("tuple[int, ...]", "[1, 2]", "(1, 2)", '["a"]'),
    ("tuple[int, *tuple[str, ...]]", '[1, "a"]', "(1, 'a')", "[]"),
    ("dict[str, int]", '{"a": 1}', "{'a': 1}", '{"a": "1"}'),
    ("dict[int, str]", '{"1": "a"}', "{1: 'a'}", '{"a": "a"}'),
    ("dict[Literal['a', 'b'], int]", '{"a": 1}', "{'a': 1}", '{"c": 1}'),
    ("dict[Annotated[str, at.MinLen(2)], int]", '{"ab": 1}', "{'ab': 1}", '{"a": 1}'),
    ("OrderedDict[str, int]", '{"a": 1}', "OrderedDict(a=1)", "[]"),
    ("Place", '{"city": "Zug"}', "Place('Zug')", '{"city": ""}'),
    ("Tree", '{"value": 1, "children": [{"value": 2}]}', "Tree(1, [Tree(2)])", '{"value": 1, "children": [{}]}'),
    ("Point", '{"x": 1}', "Point(1)", '{"x": 1, "y": -1}'),
    ("Options", '{"depth": 3}', "{'depth': 3}", '{"depth": 4}'),
    ("Record", '{"fullName": "A"}', "Record('A')", '{"full_name": "A"}'),
    ("Model", "{}", "Model()", '{"size": 0}'),
    ("Model | None", '{"size": 1}', "Model(size=1)", '{"mass": 1}'),
    ("Box[int]", '{"item": 1, "next": {"item": 2}}', "Box(1, Box(2))", '{"item": 1, "next": {"item": "2"}}'),
    ("Json", '{"a": [1, null]}', "{'a': [1, None]}", None),
    ("int | float", "3", "3", '"3"'),
    ("dt.date | dt.datetime", '"2024-01-31T12:00:00"', "dt.datetime(2024, 1, 31, 12)", '"noon"'),
    ("Place | int", "1", "1", '"1"'),
    ("Place | Tree", '{"value": 1}', "Tree(1)", '{"size": 1}'),
    ("Cat | Dog", '{"type": "dog", "name": "Rex"}', "Dog('Rex')", '{"type": "fox"}'),
    ("list[Cat | Dog | str]", '[{"type": "cat"}, "x"]', "[Cat(), 'x']", '[{"type": "cat", "lives": "9"}]'),
    ("list[int] | list[float]", "[1.0]", "[1.0]", '["a"]'),
]
NAMES: dict[str, typing.Any] = {"__name__": __name__}
exec(re.search(r"^```python\n(.*?)^```\n", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)[1], NAMES)  # noqa: S102
globals().update(NAMES)  # so that names in annotations are found as in a module


def evaluated(text):
    return eval(text, NAMES)  # noqa: S307


def answer_format(text):
    """What a call with the type asks for."""
    hint = evaluated(text)
    return allm.JsonSchema("x", answer_schema(hint), output_type=hint)


def because(hint, bad):
    """What a value is refused for, and the place of each problem."""
    with pytest.raises(NotStructured) as caught:
        structure(json.loads(bad), hint)
    return caught.value


def at_place(error, place):
    """The text for the same problems of a value that stands at `place`."""
    return "; ".join(f"{(place + where).lstrip('.')}: {what}".removeprefix(": ") for where, what in error.problems)


CASES = pytest.mark.parametrize(("text", "good", "made", "bad"), ROWS, ids=[row[0] for row in ROWS])


def inside(schema):
    """A schema without its definitions; of a reference, what it refers to."""
    definitions = schema.get("$defs", {})
    if schema.keys() - {"$defs"} == {"$ref"}:
        return definitions[schema["$ref"].removeprefix("#/$defs/")]
    return {key: value for key, value in schema.items() if key != "$defs"}


def told(schema, definitions):
    """What the schema at a place says, as `schema_of` says it of a whole document."""
    schema = {key: value for key, value in schema.items() if key != "default"}
    return inside({**schema, "$defs": definitions})


@CASES
async def test_an_output(text, good, made, bad):
    """Of a call: an object is asked for, `parsed()` gives the value that is in it, and the error names the problem."""
    hint = evaluated(text) or type(None)  # as an option, None means that there is no format

    def answer(value):
        return f'{{"value": {value}}}' if is_wrapped(hint) else value

    schema = answer_schema(hint)
    assert schema["type"] == "object"
    if is_wrapped(hint):
        assert told(schema["properties"]["value"], schema.get("$defs", {})) == inside(schema_of(hint))
    else:
        assert inside(schema) == inside(schema_of(hint))
    adapter = allm.providers.Fake(respond=lambda _: answer(good))
    response = await allm.generate(allm.Engine(adapter=adapter), "?", response_format=hint)
    found = response.parsed()
    assert (found, type(found)) == (evaluated(made), type(evaluated(made)))
    assert adapter.requests[0].response_format.schema == schema
    assert parse_text(good, hint) == found
    if bad is not None:
        with pytest.raises(allm.ValidationError) as caught:
            parse_text(answer(bad), hint)
        place = ".value" if is_wrapped(hint) else ""
        assert at_place(because(hint, bad), place) in caught.value.message


@CASES
async def test_an_argument(text, good, made, bad):
    """Of a tool that a model calls."""
    given = []

    def look(value):
        """Looks."""
        given.append(value)

    look.__annotations__ = {"value": evaluated(text)}
    tool = allm.tool(look)
    schema = tool.schema["properties"]["value"]
    assert told(schema, tool.schema.get("$defs", {})) == inside(schema_of(evaluated(text)))
    calls = [allm.fake.tool_call("look", {"value": json.loads(value)}) for value in (good, bad) if value is not None]
    adapter = allm.providers.Fake(scripts=[calls, [allm.fake.text("done")]])
    result = await allm.chat(allm.Engine(adapter=adapter, tools=[tool]), "?")
    assert given == [evaluated(made)]
    if bad is not None:
        error = json.loads(result.steps[0].tool_results[1].text)["error"]
        assert error == {"type": "invalid_arguments", "message": at_place(because(evaluated(text), bad), "value")}


@CASES
def test_an_item(text, good, made, bad):
    """Of a list."""
    hint = list[evaluated(text)]
    schema = schema_of(hint)
    assert told(schema.get("items", {}), schema.get("$defs", {})) == inside(schema_of(evaluated(text)))
    assert structure([json.loads(good)], hint) == [evaluated(made)]
    if bad is not None:
        assert str(because(hint, f"[{bad}]")) == at_place(because(evaluated(text), bad), "[0]")


def places(schema):
    """Every place of a schema in which another one stands, with what stands there."""
    for key, value in schema.items():
        if key in {"properties", "$defs"}:
            yield from ((name, inner) for name, inner in value.items())
        elif key in {"prefixItems", "anyOf", "oneOf", "allOf"}:
            yield from ((key, inner) for inner in value)
        elif key in {"items", "propertyNames"}:
            yield key, value


@CASES
def test_no_schema_is_a_boolean(text, good, made, bad):
    """JSON Schema allows it, and servers do not: "schema must be an object" (llama.cpp)."""
    todo = [("", schema_of(tuple[evaluated(text), ...])), ("", schema_of(tuple[int, *tuple[evaluated(text), ...]]))]
    while todo:
        place, schema = todo.pop()
        assert isinstance(schema, dict), place
        todo += places(schema)


CLASSES = {
    "attrs": lambda hint: attrs.make_class("Holder", {"value": attrs.field(type=hint)}),
    "dataclass": lambda hint: dataclasses.make_dataclass("Holder", [("value", hint)]),
    "TypedDict": lambda hint: typing.TypedDict("Holder", {"value": hint}),
    "NamedTuple": lambda hint: typing.NamedTuple("Holder", [("value", hint)]),
    "Struct": lambda hint: msgspec.defstruct("Holder", [("value", hint)]),
}


@pytest.mark.parametrize("kind", CLASSES)
@CASES
def test_a_field(kind, text, good, made, bad):
    """Of every kind of class."""
    if (kind, text) == ("attrs", "None"):
        pytest.skip("to attrs, a type of None is none")
    cls = CLASSES[kind](evaluated(text))
    schema = schema_of(cls)
    field = schema["properties"]["value"]
    assert told(field, schema.get("$defs", {})) == inside(schema_of(evaluated(text)))
    found = structure({"value": json.loads(good)}, cls)
    assert (found["value"] if kind == "TypedDict" else found.value) == evaluated(made)
    if bad is not None:
        assert str(because(cls, f'{{"value": {bad}}}')) == at_place(because(evaluated(text), bad), ".value")


# --- the page ---------------------------------------------------------------------------------------------------------


def table():
    """The table as the page has it."""
    lines = []
    for text, _, _, bad in ROWS:
        schema = inside(schema_of(evaluated(text)))
        if "properties" in schema:
            schema = {key: value for key, value in schema.items() if key in {"type", "properties", "required"}}
        refused = "" if bad is None else f"`{bad}`"
        why = "" if bad is None else str(because(evaluated(text), bad))
        output = '`{"value": ...}`' if is_wrapped(evaluated(text)) else "itself"
        cells = [f"`{text}`", f"`{json.dumps(schema)}`", output, refused, why]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n")
    return HEAD + "".join(lines)


def test_the_page_has_this_table():
    """Each kind of type with its schema, a value that is refused, and the error."""
    assert table() in PAGE.read_text("utf-8")


if __name__ == "__main__":
    page = PAGE.read_text("utf-8")
    old = re.search(r"\| annotation \|.*\n(?:\|.*\n)*", page)
    PAGE.write_text(page.replace(old[0], table()), "utf-8")
