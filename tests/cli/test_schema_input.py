"""`--schema`: a file, JSON, or the short form; `--schema-multi`: a list of them."""

from __future__ import annotations

import click
import pytest

from allm.cli.schema_input import schema_of


def fields(**types):
    """The schema of an object."""
    return {
        "type": "object",
        "properties": {name: {"type": kind} for name, kind in types.items()},
        "required": list(types),
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    ("given", "schema"),
    [
        ("name, age int", fields(name="string", age="integer")),
        (" name str,,height  float , alive bool,", fields(name="string", height="number", alive="boolean")),
        ("name\nage int\n", fields(name="string", age="integer")),
        ('{"type": "object"}', {"type": "object"}),
    ],
)
def test_each_form_is_a_schema(given, schema):
    """The short form, in a line or in lines, and JSON."""
    assert schema_of(given).schema == schema


def test_a_description_goes_after_a_colon():
    """In lines it may hold commas and colons."""
    found = schema_of("name: of the dog, in full\nbio: short: one line").schema

    assert [field["description"] for field in found["properties"].values()] == [
        "of the dog, in full",
        "short: one line",
    ]


def test_a_file_gives_its_name(tmp_path, monkeypatch):
    """Also one whose name is that of a field; its name is fit for the provider."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my dog.json").write_text('{"title": "file"}')
    (tmp_path / "dog").write_text('{"title": "file"}')

    assert (schema_of("my dog.json").name, schema_of("dog").schema) == ("my_dog", {"title": "file"})


def test_many_are_the_items_of_an_object():
    """Providers take an object only."""
    found = schema_of("name", many=True).schema

    assert found["properties"]["items"] == {"type": "array", "items": fields(name="string")}
    assert found["required"] == ["items"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("name thing", "unknown type 'thing'"),
        ("a, b, a", "two fields called a"),
        ("dogs and cats?", "unknown type"),
        ("what?", "neither a file nor the name of a field"),
        ("x" * 100_000 + "?", "xxx' is neither"),
        (" , ", "no fields"),
        ("[1]", "not a JSON Schema"),
        ("{", "cannot read the text as JSON"),
        ("missing.json", "cannot read missing.json: No such file"),
    ],
)
def test_anything_else_is_refused(given, says):
    """With what was expected, in a line that is not as long as what was given."""
    with pytest.raises(click.BadParameter) as caught:
        schema_of(given)

    assert says in caught.value.message
    assert len(caught.value.message) < 300
