"""Rewrite a JSON Schema to the part that a vendor enforces.

What a vendor does not know goes into the description, where the model can read it, and is still enforced when the
answer is read. Objects are closed, and a field that may be left out is asked for where the vendor wants all of them.
Where the form of an answer cannot be kept, as for an object of any keys at a vendor that has only closed ones, there is
no rewritten schema.

References are local. One that leads back to the definition it stands in makes the schema recursive: some vendors take
that anywhere, some only in a property that is not required, some not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

from allm.data.attrs_classes import define, frozen
from allm.data.json.text import as_list, dumps

__all__ = ["SchemaSubset", "fit_schema"]

_DEFINITIONS = ("$defs", "definitions")
_UNSAID = frozenset({"discriminator", "$schema", "$id", "$comment"})
"""Keywords that say nothing to a model."""
_TEXT = "string"
_KINDS: tuple[tuple[str, tuple[type, ...]], ...] = (
    ("boolean", (bool,)),
    ("integer", (int,)),
    ("number", (float,)),
    (_TEXT, (str,)),
    ("null", (type(None),)),
)


def _any_value(_keyword: str, _value: Any) -> bool:
    return True


@frozen(kw_only=True)
class SchemaSubset:
    """What a vendor takes of JSON Schema, beside types, properties, items, unions, enumerations and references.

    Attributes:
        keywords: Further keywords, such as `minimum`.
        formats: The words that `format` may have.
        takes: Whether a keyword may have this value; those that may not are told.
        all_required: Every property has to be required.
        maps: Objects may have any keys: `additionalProperties` may be a schema.
        anything: A schema may be empty, which allows any value.
        rows: Lists may have a schema for each place: `prefixItems`.
        enum_kinds: The types of the values that `enum` may have; others become members of a union.
        recursion: Where a schema may refer to itself.
    """

    keywords: frozenset[str]
    formats: frozenset[str] = frozenset()
    takes: Callable[[str, Any], bool] = _any_value
    all_required: bool = False
    maps: bool = False
    anything: bool = False
    rows: bool = False
    enum_kinds: frozenset[str] = frozenset({"boolean", "integer", "number", _TEXT, "null"})
    recursion: Literal["anywhere", "optional", "nowhere"] = "anywhere"


class _Unfit(Exception):
    """The subset has no schema with the same form."""


def fit_schema(schema: Mapping[str, Any], subset: SchemaSubset) -> dict[str, Any] | None:
    """`schema`, a complete document, as the subset takes it; None if it cannot be."""
    definitions = {
        f"#/{group}/{name}": _object(inner)
        for group in _DEFINITIONS
        for name, inner in _object(schema.get(group)).items()
    }
    fit = _Fit(subset, definitions, _reach(definitions))
    try:
        return fit.document(schema)
    except (_Unfit, RecursionError, TypeError, ValueError):  # of a schema by hand that has no JSON form
        return None


def _reach(definitions: Mapping[str, Any]) -> dict[str, set[str]]:
    """The definitions that each one leads to, through others too."""
    direct = {name: set(_references(node)) for name, node in definitions.items()}
    found: dict[str, set[str]] = {}
    for name in definitions:
        seen: set[str] = set()
        todo = list(direct[name])
        while todo:
            if (other := todo.pop()) not in seen:
                seen.add(other)
                todo += direct.get(other, ())
        found[name] = seen
    return found


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref" and isinstance(value, str):
                yield value
            elif key not in {"enum", "const", "default", "examples"}:
                yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)


@define(eq=False)
class _Fit:
    """A walk over one document.

    Attributes:
        here: The definition that the walk is in.
        in_property: Whether it is in a property of that definition.
        met_itself: Whether the schema of that property leads back to the definition.
    """

    subset: SchemaSubset
    definitions: Mapping[str, Any]
    reach: Mapping[str, set[str]]
    here: str = ""
    in_property: bool = False
    met_itself: bool = False

    def document(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        fitted = self.node({key: value for key, value in schema.items() if key not in _DEFINITIONS})
        for group in _DEFINITIONS:
            if group in schema:
                fitted[group] = {name: self._definition(f"#/{group}/{name}") for name in _object(schema[group])}
        return fitted

    def _definition(self, reference: str) -> dict[str, Any]:
        self.here, self.in_property = reference, False
        return self.node(self.definitions[reference])

    def node(self, node: Any) -> dict[str, Any]:
        if node is False:
            raise _Unfit
        node = _merged(_object(node))
        if "$ref" in node:
            return self._reference(node)
        if not node.keys() - {"title", "description", "default", "examples"}:
            if not self.subset.anything:
                raise _Unfit
            return {key: value for key, value in node.items() if key in {"title", "description"}}
        fitted: dict[str, Any] = {}
        told: dict[str, Any] = {}
        for key, value in node.items():
            if key in _STEPS:
                _STEPS[key](self, node, fitted, told)
            elif self._keeps(key, value):
                fitted[key] = value
            elif key not in _UNSAID:
                told[key] = value
        return _told(fitted, told)

    def _keeps(self, key: str, value: Any) -> bool:
        if key == "format":
            return value in self.subset.formats
        if key in self.subset.keywords:
            return self.subset.takes(key, value)
        return key in {"title", "description"}

    def _reference(self, node: Mapping[str, Any]) -> dict[str, Any]:
        reference = str(node["$ref"])
        leads_back = self.here in self.reach.get(reference, ()) or reference in {self.here, "#"}
        if leads_back and self.subset.recursion == "nowhere":
            raise _Unfit
        if leads_back and self.subset.recursion == "optional":
            if not self.in_property:
                if not self.subset.anything:
                    raise _Unfit
                return {}  # it ends here: what is inside is not held to the schema
            self.met_itself = True
        about = {key: value for key, value in node.items() if key in {"title", "description"}}
        told = {key: value for key, value in node.items() if key not in {"$ref", *about, *_UNSAID}}
        if not _STEPS.keys().isdisjoint(told):  # more of a form, which would be lost
            raise _Unfit
        about = _told(about, told)
        return {"anyOf": [{"$ref": reference}], **about} if about else {"$ref": reference}

    # --- keywords ---

    def _properties(self, node: Mapping[str, Any], fitted: dict[str, Any], _told: dict[str, Any]) -> None:
        properties = _object(node["properties"])
        fitted.setdefault("type", "object")
        if "additionalProperties" not in node:
            fitted["additionalProperties"] = False
        required = list(as_list(node.get("required")))
        if self.subset.all_required:
            required = list(properties)
        fitted["properties"] = made = {}
        for name, inner in properties.items():
            outside = self.in_property, self.met_itself
            self.in_property, self.met_itself = True, False
            made[name] = self.node(inner)
            if self.met_itself and name in required:
                required.remove(name)
            self.in_property, self.met_itself = outside
        fitted["required"] = required

    def _required(self, node: Mapping[str, Any], fitted: dict[str, Any], _told: dict[str, Any]) -> None:
        if "properties" not in node:
            fitted["required"] = node["required"]

    def _others(self, node: Mapping[str, Any], fitted: dict[str, Any], _told: dict[str, Any]) -> None:
        others = node["additionalProperties"]
        if others is False:
            fitted["additionalProperties"] = False
        elif not self.subset.maps:
            raise _Unfit
        else:
            fitted["additionalProperties"] = others if others is True else self.node(others)

    def _type(self, node: Mapping[str, Any], fitted: dict[str, Any], _told: dict[str, Any]) -> None:
        kind = node["type"]
        if "enum" not in node and "const" not in node:  # else its values say it
            fitted["type"] = kind
        kinds = as_list(kind) or [kind]
        if "object" in kinds and "properties" not in node and not self.subset.maps:
            if "additionalProperties" not in node:
                raise _Unfit
            fitted["properties"], fitted["required"] = {}, []
        if "array" in kinds and "items" not in node and "prefixItems" not in node and not self.subset.anything:
            raise _Unfit

    def _items(self, node: Mapping[str, Any], fitted: dict[str, Any], _told: dict[str, Any]) -> None:
        if "prefixItems" not in node:
            fitted["items"] = self.node(node["items"])

    def _row(self, node: Mapping[str, Any], fitted: dict[str, Any], _told: dict[str, Any]) -> None:
        rest = node.get("items")
        places = [self.node(inner) for inner in as_list(node["prefixItems"])]
        others = [self.node(rest)] if isinstance(rest, Mapping) else []
        if self.subset.rows:
            fitted["prefixItems"] = places
            fitted |= {"items": others[0]} if others else {}
            return
        kinds = places + others
        if not kinds or any(inner != kinds[0] for inner in kinds):  # a list of either would lose the order
            raise _Unfit
        fitted["items"] = kinds[0]

    def _union(self, node: Mapping[str, Any], fitted: dict[str, Any], _told: dict[str, Any]) -> None:
        members = [*as_list(node.get("anyOf")), *as_list(node.get("oneOf"))]
        if "anyOf" in node and "oneOf" in node:  # both have to hold
            raise _Unfit
        fitted["anyOf"] = [self.node(member) for member in members]

    def _values(self, node: Mapping[str, Any], fitted: dict[str, Any], told: dict[str, Any]) -> None:
        values = as_list(node["enum"]) if "enum" in node else [node["const"]]
        groups: dict[str, list[Any]] = {}
        for value in values:
            kind = next((kind for kind, types in _KINDS if isinstance(value, types)), None)
            if kind is None:
                raise _Unfit
            groups.setdefault(kind, []).append(value)
        members = [
            {"type": kind, "enum": found} if kind in self.subset.enum_kinds else {"type": kind}
            for kind, found in groups.items()
        ]
        if "boolean" not in self.subset.enum_kinds and len({*groups.get("boolean", (True, False))}) == 1:
            told["enum"] = values  # only one of them
        if len(members) == 1:
            fitted.update(members[0])
        elif "anyOf" in node or "oneOf" in node:
            raise _Unfit
        else:
            fitted["anyOf"] = members


_STEPS: dict[str, Callable[[_Fit, Mapping[str, Any], dict[str, Any], dict[str, Any]], None]] = {
    "type": _Fit._type,
    "properties": _Fit._properties,
    "required": _Fit._required,
    "additionalProperties": _Fit._others,
    "items": _Fit._items,
    "prefixItems": _Fit._row,
    "anyOf": _Fit._union,
    "oneOf": _Fit._union,
    "enum": _Fit._values,
    "const": _Fit._values,
}
"""Keywords whose values have schemas in them, or decide about others."""


def _object(node: Any) -> dict[str, Any]:
    return {str(key): value for key, value in node.items()} if isinstance(node, Mapping) else {}


def _merged(node: dict[str, Any]) -> dict[str, Any]:
    """`node` with the schemas of `allOf` in itself; a bound that two of them have is told."""
    if "allOf" not in node:
        return node
    merged = {key: value for key, value in node.items() if key != "allOf"}
    told: dict[str, Any] = {}
    for inner in as_list(node["allOf"]):
        for key, value in _merged(_object(inner)).items():
            conflicts = merged.get(key, value) != value
            if conflicts and (key == "$ref" or key in _STEPS):  # both have to hold
                raise _Unfit
            (told if conflicts else merged)[key] = value
    return _told(merged, told)


def _told(schema: dict[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """`schema` with keywords in its description."""
    if not told:
        return schema
    words = {key: value if isinstance(value, str) else dumps(value).decode() for key, value in told.items()}
    hints = ", ".join(f"{key}: {value}" for key, value in words.items())
    return {**schema, "description": "\n\n".join(filter(None, [schema.get("description"), f"{{{hints}}}"]))}
