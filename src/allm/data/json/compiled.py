"""The fast way between values and plain data, for what is as it should be; anything else is left to the converter.

cattrs converts a field by calling a hook, and collects errors as it goes. Nearly every value is right, so each class
gets two functions, made from the types of its fields, that check and convert without either. They raise at the first
thing that is not exactly of its type; the caller then lets the converter do it all again, which accepts it after all
(a subclass of str, a tuple in metadata) or says what is wrong. So what these functions accept, the converter accepts,
with the same result.

A field of any other type (an error, a tool, an image's source) goes through the converter here too, on its own. Plain
data in it, and in open fields, is at most `MAX_VALUE_DEPTH` deep, and the classes do not contain each other in a
circle, so that no document is too deep.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import attrs
import cattrs

from allm.data.attrs_classes import define
from allm.data.json.text import MAX_VALUE_DEPTH, is_plain

__all__ = ["Compiled", "Unfit"]

Convert = Callable[[Any], Any]
Choices = frozenset[str]
"""In the place of a function: the texts of a literal type, which go as they are."""
_SCALARS: frozenset[type] = frozenset({str, int, bool, types.NoneType})
_UNIONS = (Union, types.UnionType)
_MISSING: Any = object()


class Unfit(Exception):
    """Something is not exactly of its type; the converter will say what, or accept it."""


@define(eq=False)
class Compiled:
    """The functions of classes, made when they are first needed.

    Attributes:
        converter: For fields of other types.
        classes: The classes whose functions can be made from their fields, with their tags.
        unions: Unions of such classes, whose values have their tag in `type`.
        open_fields: Types of fields with open data, and the types of their values.
        left_out: Fields that are not converted, by class.
    """

    converter: cattrs.Converter
    classes: Mapping[type, str]
    unions: Mapping[Any, Collection[type]]
    open_fields: Mapping[Any, tuple[type, ...]]
    left_out: Mapping[type, tuple[str, ...]]
    _dumps: dict[type, Callable[[Any, dict[str, Any]], dict[str, Any]] | None] = attrs.field(factory=dict, init=False)
    _loads: dict[type, Callable[[dict[str, Any], int], Any] | None] = attrs.field(factory=dict, init=False)

    def dump(self, value: Any, document: dict[str, Any]) -> dict[str, Any]:
        """Add the fields of the value to a document, all of JSON data and bytes, which could be read again.

        Raises:
            Exception: The converter has to do it; the document is of no use.
        """
        dump = self._functions(type(value))[0]
        if dump is None:
            raise Unfit
        dumped: dict[str, Any] = dump(value, document)
        return dumped

    def load(self, document: dict[str, Any], cls: type, extra: int) -> Any:
        """The value of a document that is no deeper than a document may be.

        Args:
            document: Its fields.
            cls: Its class.
            extra: How many keys of the document are no fields, such as the tag; they are all there.

        Raises:
            Exception: The converter has to do it.
        """
        load = self._functions(cls)[1]
        if load is None:
            raise Unfit
        return load(document, extra)

    def _functions(self, cls: type) -> tuple[Any, Any]:
        if cls not in self._dumps and cls in self.classes:
            self._dumps[cls] = self._loads[cls] = None  # where it contains itself
            self._make(cls)
        return self._dumps.get(cls), self._loads.get(cls)

    def _make(self, cls: type) -> None:
        try:
            fields = attrs.fields(attrs.resolve_types(cls))
        except TypeError:  # a type that only a type checker understands
            return
        source = _Source(cls, self.left_out.get(cls, ()))
        for field in fields:
            if not field.init or field.alias != field.name:
                return
            source.add(field, *self._pair(field.type))
        self._dumps[cls], self._loads[cls] = source.functions()

    # --- the pair of functions for a type, and the types that need none ------------------------------------------

    def _pair(self, hint: Any) -> tuple[Any, Any, frozenset[type]]:
        """How to dump and load a value of the type, but for those of these exact types, which go as they are."""
        is_union = get_origin(hint) in _UNIONS
        members = get_args(hint) if is_union else (hint,)
        for known, allowed in self.open_fields.items():
            if hint == known:
                return *self._open(hint, allowed), frozenset()
        same: frozenset[type] = frozenset(kind for kind in _SCALARS if kind in members)
        others = [member for member in members if member not in same]
        if not others:
            return None, None, same
        if is_union and same and (types.NoneType in same or get_origin(others[0]) is tuple):
            # What is left may be a union that is known itself. A text and a list cannot be taken for each other.
            return *self._composite(Union[tuple(others)]), same  # noqa: UP007  (made of values)
        return *self._composite(hint), frozenset()

    def _composite(self, hint: Any) -> tuple[Convert | Choices, Convert | Choices]:
        origin = get_origin(hint) or hint
        inner = get_args(hint)
        if hint in (dict[str, Any], Mapping[str, Any]):
            return self._open(hint, (dict,))
        if origin is Literal and all(type(choice) is str for choice in inner):
            return frozenset(inner), frozenset(inner)
        for union, members in self.unions.items():
            if hint == union:
                return self._tagged(members)
        if origin is tuple and len(inner) == 2 and inner[1] is ...:  # noqa: PLR2004
            return _tuple(*self._always(inner[0]))
        if hint is float:
            return _finite, _number
        cls: Any = origin
        if cls in self.classes and all(self._functions(cls)):
            return self._of_class(cls)
        return self._converted(hint)

    def _always(self, hint: Any) -> tuple[Convert, Convert]:
        dump, load, same = self._pair(hint)
        return _besides(same, dump), _besides(same, load)

    def _of_class(self, cls: type) -> tuple[Convert, Convert]:
        dump_fields, load_fields = self._functions(cls)

        def dump(value: Any) -> Any:
            if type(value) is not cls:
                raise Unfit
            return dump_fields(value, {})

        return dump, load_fields

    def _tagged(self, members: Collection[type]) -> tuple[Convert, Convert]:
        dumps = {cls: (self.classes[cls], self._functions(cls)[0]) for cls in members}
        loads = {self.classes[cls]: self._functions(cls)[1] for cls in members}

        def dump(value: Any) -> Any:
            tag, fields = dumps[type(value)]
            return fields(value, {"type": tag})

        def load(document: Any) -> Any:
            return loads[document["type"]](document, 1)

        return dump, load

    def _open(self, hint: Any, allowed: tuple[type, ...]) -> tuple[Convert, Convert]:
        slow_dump, slow_load = self._converted(hint)

        def dump(value: Any) -> Any:
            if isinstance(value, allowed) and is_plain(value, MAX_VALUE_DEPTH):
                return value
            return slow_dump(value)

        def load(value: Any) -> Any:
            if isinstance(value, allowed) and is_plain(value, MAX_VALUE_DEPTH):
                return value
            return slow_load(value)

        return dump, load

    def _converted(self, hint: Any) -> tuple[Convert, Convert]:
        converter = self.converter

        def dump(value: Any) -> Any:
            dumped = converter.unstructure(value, unstructure_as=hint)
            _check_written(dumped)
            converter.structure(dumped, hint)
            return dumped

        def load(value: Any) -> Any:
            _check_written(value)
            return converter.structure(value, hint)

        return dump, load


# --- the functions of a class -----------------------------------------------------------------------------------------


class _Source:
    """The source of the two functions of a class, field by field."""

    def __init__(self, cls: type, left_out: Collection[str]) -> None:
        self.cls, self.left_out, self.fields = cls, left_out, attrs.fields(cls)
        self.names: dict[str, Any] = {"_new": object.__new__, "_cls": cls, "_missing": _MISSING, "Unfit": Unfit}
        self.always: list[str] = []  # cattrs writes the fields that are always there before the others
        self.unlike_default: list[str] = []
        self.required: list[str] = []
        self.given: list[str] = []
        self.defaults: list[str] = []
        self.known: list[str] = []

    def add(
        self, field: Any, dump: Convert | Choices | None, load: Convert | Choices | None, same: frozenset[type]
    ) -> None:
        """Add a field; values of the types `same` go as they are."""
        number = len(self.known)
        self.known.append(field.name)
        default, make = field.default, ""
        if default is not attrs.NOTHING:
            is_made = isinstance(default, attrs.Factory)  # type: ignore[arg-type]
            self.names[f"_default{number}"] = default.factory if is_made else default
            call = f"_default{number}()" if is_made else f"_default{number}"
            make = "{}" if call.endswith(")") and default.factory is dict else call
            self.defaults.append(f"v{number} = {make}")
        if field.name in self.left_out:
            self.given.append(self.defaults[-1])
            return
        self.names |= {f"_dump{number}": dump, f"_load{number}": load}
        write = (
            [f"v = value.{field.name}"],
            [*_checked("v", f"_dump{number}", dump, same), f"document[{field.name!r}] = v"],
        )
        check = _checked(f"v{number}", f"_load{number}", load, same)
        if default is attrs.NOTHING:
            self.always += [*write[0], *write[1]]
            self.required += [f"v{number} = document[{field.name!r}]", *check]
            return
        self.unlike_default += [*write[0], f"if {_differs(default, make)}:", *_indented(write[1])]
        self.given += [f"v{number} = get({field.name!r}, _missing)", f"if v{number} is _missing:"]
        self.given += [f" {self.defaults[-1]}", "else:", " left -= 1", *_indented(check)]

    def functions(self) -> tuple[Any, Any]:
        """Make them: one adds the fields of a value to a document, the other makes a value of a document."""
        required = sum(field.default is attrs.NOTHING for field in self.fields)
        self.names["_unknown"] = _unknown_fields(frozenset(self.known) - set(self.left_out))
        dump = ["def dump(value, document):", *_indented([*self.always, *self.unlike_default, "return document"])]
        others = ["get = document.get", *self.given, "if left:", " _unknown(document)"]
        is_object = (
            [] if required else ["if type(document) is not dict:", " raise Unfit"]
        )  # else a list fails by itself
        body = [*is_object, f"left = len(document) - extra - {required}", *self.required]
        body += ["if left:", *_indented(others), "else:", *_indented(self.defaults or ["pass"]), *self._made()]
        exec("\n".join([*dump, "def load(document, extra=0):", *_indented(body)]), self.names)  # noqa: S102  (our own names)
        return self.names["dump"], self.names["load"]

    def _made(self) -> list[str]:
        if not _is_bare(self.cls, self.fields):
            arguments = ", ".join(f"{field.name}=v{number}" for number, field in enumerate(self.fields))
            return [f"return _cls({arguments})"]
        self.names |= {f"_put{n}": getattr(self.cls, field.name).__set__ for n, field in enumerate(self.fields)}
        return ["self = _new(_cls)", *(f"_put{n}(self, v{n})" for n in range(len(self.fields))), "return self"]


def _indented(lines: list[str]) -> list[str]:
    return [f" {line}" for line in lines]


def _checked(name: str, function: str, convert: Convert | Choices | None, same: frozenset[type]) -> list[str]:
    """The lines that check and convert what is in a variable."""
    change = f"{name} = {function}({name})" if convert is not None else "raise Unfit"
    if isinstance(convert, frozenset):
        change = f"if type({name}) is not str or {name} not in {function}: raise Unfit"
    if not same:
        return [change]
    kinds = sorted(same, key=lambda kind: kind is types.NoneType)
    tests = (
        f"type({name}) is not {kind.__name__}" if kind is not types.NoneType else f"{name} is not None"
        for kind in kinds
    )
    return [f"if {' and '.join(tests)}:", f" {change}"]


def _differs(default: Any, make: str) -> str:
    """The condition under which a field is written; a value of another type has to get to its check."""
    if default is None or default is False or default is True:
        return f"v is not {default}"
    if make == "{}" or default == ():
        return f"v or type(v) is not {'dict' if make == '{}' else 'tuple'}"
    return f"not (type(v) is type({make}) and v == {make})"


def _is_bare(cls: type, fields: Any) -> bool:
    """Whether an instance can be made without `__init__`, whose converters would only copy a new tuple or mapping."""
    if hasattr(cls, "__attrs_post_init__") or hasattr(cls, "__attrs_pre_init__") or not hasattr(cls, "__slots__"):
        return False
    return not any(field.validator or (field.converter and not _is_new(field.type)) for field in fields)


def _is_new(hint: Any) -> bool:
    """Whether what is loaded for the type is made by loading, apart from texts and None."""
    if get_origin(hint) in _UNIONS:
        return all(member in (str, types.NoneType) or _is_new(member) for member in get_args(hint))
    return get_origin(hint) in (tuple, dict)


# --- the functions of other types -------------------------------------------------------------------------------------


def _besides(same: frozenset[type], convert: Convert | Choices | None) -> Convert:
    """Convert a value that is of none of these types, or reject it."""
    if isinstance(convert, frozenset):
        convert = _choice(convert)
    if convert is not None and not same:
        return convert

    def check(value: Any) -> Any:
        if type(value) in same:
            return value
        if convert is None:
            raise Unfit
        return convert(value)

    return check


def _choice(choices: Choices) -> Convert:
    def choice(value: Any) -> Any:
        if type(value) is not str or value not in choices:
            raise Unfit
        return value

    return choice


def _tuple(dump_item: Convert, load_item: Convert) -> tuple[Convert, Convert]:
    def dump(value: Any) -> Any:
        if type(value) is not tuple:
            raise Unfit
        return [dump_item(item) for item in value]

    def load(value: Any) -> Any:
        if type(value) is not list:
            raise Unfit
        return tuple([load_item(item) for item in value])

    return dump, load


def _finite(value: Any) -> Any:
    if not (type(value) is float and math.isfinite(value)):
        raise Unfit
    return value


def _number(value: Any) -> Any:
    return value if type(value) is int else _finite(value)


def _unknown_fields(known: frozenset[str]) -> Callable[[dict[str, Any]], None]:
    def check(document: dict[str, Any]) -> None:
        """Ignore fields that this release does not know."""
        _check_written([value for name, value in document.items() if name not in known])

    return check


def _check_written(value: Any) -> None:
    """Accept only plain data and bytes, which are exactly what they will be in a text, and no deeper than a value."""
    waiting: list[tuple[Any, int]] = [([value], 0)]
    while waiting:
        container, depth = waiting.pop()
        if depth > MAX_VALUE_DEPTH or (type(container) is dict and not all(type(key) is str for key in container)):
            raise Unfit
        for item in container.values() if type(container) is dict else container:
            kind = type(item)
            if kind is dict or kind is list:
                waiting.append((item, depth + 1))
            elif kind not in _SCALARS and kind is not bytes and not (kind is float and math.isfinite(item)):
                raise Unfit
