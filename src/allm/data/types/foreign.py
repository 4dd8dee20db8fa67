"""Types that pydantic knows: their schema and their validation are its own, but unknown fields are refused."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from typing import Any, cast

from typing_extensions import override

from allm.data.attrs_classes import define
from allm.data.errors import Path
from allm.data.json.text import dumps
from allm.data.structuring import MAX_PROBLEMS, Misfit, Misfits
from allm.data.types.records import rank_of_keys, unknown_fields
from allm.data.types.shapes import NO_KEYS, Definitions, Reading, Schema, Shape, name_of

__all__ = ["Foreign", "foreign_shape", "schemas_from_pydantic"]

_TEMPLATE = "#/$defs/{model}"


@define(eq=False)
class Foreign(Shape):
    """A type that pydantic validates."""

    hint: Any
    title: str
    adapter: Any
    _document: Schema | None = None
    words = "an object"

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        document = self._whole()
        problems: list[tuple[Path, Exception]] = list(_unknown(value, document, document, ()))[:MAX_PROBLEMS]
        try:
            # As JSON, since a strict model takes a text as a date only there.
            made = self.adapter.validate_json(dumps(value), strict=reading.exact or None)
        except ValueError as error:
            found = cast("Any", error).errors(include_url=False)
            known = {path for path, _ in problems}
            problems += [
                (item["loc"], _problem(item))
                for item in found[:MAX_PROBLEMS]
                if not (item["type"] == "extra_forbidden" and item["loc"][:-1] in known)
            ]
        else:
            if not problems:
                return made
        raise Misfits(problems)

    @override
    def schema(self, definitions: Definitions) -> Schema:
        return definitions.foreign_schema(self.hint)

    @override
    def rank(self, value: Any) -> float | None:
        root = _followed(self._whole(), self._whole())
        if "properties" in root:
            if not isinstance(value, dict):
                return None
            known = frozenset(root["properties"])
            if root.get("additionalProperties", False) is not False:
                known |= value.keys()
            return rank_of_keys(cast("dict[str, Any]", value), known, root.get("required", ()))
        kinds = {str: "string", dict: "object", list: "array", bool: "boolean", int: "integer", float: "number"}
        kind = kinds.get(type(value), "null")
        takes = root.get("type", kind)
        fits = takes == kind or {takes, kind} == {"integer", "number"}
        return NO_KEYS - 0.05 if fits else None

    @override
    def takes_null(self) -> bool:
        return self.rank(None) is not None

    @override
    def tags(self) -> dict[str, tuple[list[Any], bool]] | None:
        root = _followed(self._whole(), self._whole())
        if "properties" not in root:
            return None
        values = {
            name: node["enum"] if "enum" in node else [node["const"]]
            for name, node in root["properties"].items()
            if "enum" in node or "const" in node
        }
        return {name: (found, name in root.get("required", ())) for name, found in values.items()}

    @override
    def label(self) -> str:
        return self.title

    def _whole(self) -> Schema:
        if (known := self._document) is None:
            known = self._document = _closed(self.adapter.json_schema(ref_template=_TEMPLATE))
        return known


_EXPECTED: dict[str, str] = {
    "greater_than": "> {gt}",
    "greater_than_equal": ">= {ge}",
    "less_than": "< {lt}",
    "less_than_equal": "<= {le}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "at least {min_length} characters",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "a string that matches {pattern!r}",
    "too_short": "at least {min_length} items",
    "too_long": "at most {max_length} items",
    "literal_error": "{expected}",
    "enum": "{expected}",
    **dict.fromkeys(("string_type", "string_sub_type"), "a string"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float"), "an integer"),
    **dict.fromkeys(("float_type", "float_parsing"), "a number"),
    **dict.fromkeys(("bool_type", "bool_parsing"), "true or false"),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type"), "a list"),
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "an object"),
}
"""The words for what pydantic's errors expect, by their type, so that a model reads the same of every class."""


def _problem(item: Any) -> Exception:
    kind = item["type"]
    if kind == "missing":
        return KeyError(item["loc"][-1])
    if kind in _EXPECTED:
        return Misfit(_EXPECTED[kind].format(**item.get("ctx", {})), item["input"])
    return ValueError(item["msg"])


def foreign_shape(hint: Any) -> Foreign:
    """The shape of a type that pydantic knows.

    Raises:
        TypeError: Pydantic does not, or the type refers to one that is not there yet.
    """
    pydantic: Any = importlib.import_module("pydantic")  # installed, since there is a type of it
    title = name_of(hint)
    try:
        shape = Foreign(hint, title, pydantic.TypeAdapter(hint))
        shape._whole()
    except (pydantic.errors.PydanticUserError, pydantic.errors.PydanticUndefinedAnnotation, NameError) as error:
        first = str(error).partition("\n")[0]
        raise TypeError(f"{title} has no JSON Schema: {first}") from error
    return shape


def schemas_from_pydantic(hints: Iterable[Any], taken: Iterable[str]) -> tuple[list[tuple[Any, Schema]], Schema]:
    """The schema of each type, and the definitions they share, whose names are none of `taken`."""
    pydantic: Any = importlib.import_module("pydantic")
    different: list[Any] = []
    for hint in hints:
        if not any(hint is known for known in different):
            different.append(hint)
    adapters = [(index, "validation", pydantic.TypeAdapter(hint)) for index, hint in enumerate(different)]
    end = ""
    while True:
        schemas, document = pydantic.TypeAdapter.json_schemas(adapters, ref_template=f"{_TEMPLATE}{end}")
        definitions = {name + end: _closed(schema) for name, schema in document.get("$defs", {}).items()}
        if not definitions.keys() & set(taken):
            break
        end += "_"
    return [(hint, _closed(schemas[index, "validation"])) for index, hint in enumerate(different)], definitions


def _closed(node: Any) -> Any:
    """A schema in which objects that do not say whether they take unknown fields refuse them."""
    if isinstance(node, list):
        return [_closed(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {
        key: value if key in {"default", "examples", "enum", "const"} else _closed(value) for key, value in node.items()
    }
    if isinstance(found.get("properties"), dict) and found.get("type") == "object":
        found.setdefault("additionalProperties", False)
    return found


def _followed(node: Schema, document: Schema) -> Schema:
    while "$ref" in node:
        node = document["$defs"][str(node["$ref"]).rpartition("/")[2]]
    return node


def _unknown(value: Any, node: Any, document: Schema, path: Path) -> Iterator[tuple[Path, Exception]]:
    """The fields of `value` for which its schema has no place; pydantic ignores them unless a model forbids them."""
    if not isinstance(node, dict) or not isinstance(value, (dict, list)):
        return
    node = _followed(node, document)
    for choices in (node.get("anyOf"), node.get("oneOf")):
        if choices:
            found = [
                list(_unknown(value, choice, document, path)) for choice in choices if _is_kind(value, choice, document)
            ]
            yield from min(found, key=len, default=[])
    if isinstance(value, list):
        first = node.get("prefixItems", [])
        for index, item in enumerate(value):
            yield from _unknown(
                item, first[index] if index < len(first) else node.get("items"), document, (*path, index)
            )
        return
    properties = node.get("properties")
    others = node.get("additionalProperties")
    unknown: list[str] = []
    for key, item in value.items():
        if properties is not None and key in properties:
            yield from _unknown(item, properties[key], document, (*path, key))
        elif properties is not None and others is False:
            unknown.append(key)
        else:
            yield from _unknown(item, others, document, (*path, key))
    if unknown:
        yield path, unknown_fields(unknown)


def _is_kind(value: Any, node: Any, document: Schema) -> bool:
    """Whether a member of a union is for lists, or objects, as `value` is one, and its tags are those of the value."""
    node = _followed(node, document)
    if node.get("type", kind := "array" if isinstance(value, list) else "object") != kind:
        return False
    consts = ((key, field["const"]) for key, field in node.get("properties", {}).items() if "const" in field)
    return not isinstance(value, dict) or all(value.get(key, const) == const for key, const in consts)
