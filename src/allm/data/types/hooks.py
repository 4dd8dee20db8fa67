"""Structuring JSON into users' own types, by cattrs, with every problem in words that a model can act on.

Strict: a model that sends `"7"` for an int is told so. cattrs' own hooks convert (a text is a list of its characters,
an enum is what its base class takes), so each kind of type has a hook here.
"""

from __future__ import annotations

import base64
import datetime as dt
import enum
import functools
import sys
import types
import typing
import uuid
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path, PurePath
from typing import Any

import attrs
import cattrs
import msgspec

from allm.data.json.text import dumps

__all__ = ["NotStructured", "converter", "fields_of", "is_pydantic", "structure"]

Problems = list[tuple[str, str]]


class NotStructured(Exception):
    """A value does not fit its type; `problems` are `(where, what)` pairs in plain words."""

    def __init__(self, problems: Problems) -> None:
        super().__init__("; ".join(f"{where.lstrip('.')}: {what}" if where else what for where, what in problems))
        self.problems = problems


def structure(value: Any, hint: Any) -> Any:
    """`value`, parsed JSON, as an instance of the type `hint`.

    Raises:
        NotStructured: It does not fit; every problem with its place, such as `.address.zip` or `[0].name`.
    """
    try:
        return converter().structure(value, hint)
    except Exception as error:  # cattrs raises what its hooks raise
        raise NotStructured(_problems(error, "")) from error


def is_pydantic(cls: Any) -> bool:
    """Whether `cls` is a pydantic model."""
    pydantic = sys.modules.get("pydantic")  # a model of it exists only where it is loaded
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel)


def fields_of(cls: Any) -> dict[str, Any]:
    """The fields of an attrs class, a dataclass or a TypedDict with their types; none for anything else."""
    if attrs.has(cls) or hasattr(cls, "__dataclass_fields__") or typing.is_typeddict(cls):
        return typing.get_type_hints(cls, include_extras=True)
    return {}


@functools.cache
def converter() -> cattrs.Converter:
    """The converter for users' types."""
    made = cattrs.Converter(forbid_extra_keys=True)
    for scalar in (str, int, float, bool, enum.Enum):  # by class, as cattrs has them: an IntEnum comes to int
        made.register_structure_hook(scalar, _scalar)
    for text_form in _TEXT_FORMS:
        made.register_structure_hook(text_form, _from_text)
    made.register_structure_hook(Decimal, _decimal)
    hooks: list[tuple[Callable[[Any], bool], Callable[[Any, Any], Any]]] = [
        (lambda hint: hint is Any or isinstance(hint, typing.TypeVar), lambda value, _: value),
        (lambda hint: hint in (None, types.NoneType), _null),
        (lambda hint: _origin(hint) in _SEQUENCES, _sequence),
        (lambda hint: _origin(hint) in _MAPPINGS, _mapping),
        (lambda hint: _origin(hint) is typing.Literal, _literal),
        (lambda hint: _origin(hint) in (typing.Union, types.UnionType), _union),
        (lambda hint: _is_named_tuple(_origin(hint)), _named_tuple),
        (lambda hint: isinstance(hint, type) and issubclass(hint, msgspec.Struct), _struct),
        (is_pydantic, _pydantic),
    ]
    for fits, hook in hooks:
        made.register_structure_hook_func(fits, hook)
    made.register_structure_hook_factory(lambda hint: bool(fields_of(_origin(hint))), _object_hook)
    return made


# --- problems ------------------------------------------------------------------------------------------------------


def _problems(error: BaseException, place: str) -> Problems:
    if isinstance(error, NotStructured):
        return [(place + where, what) for where, what in error.problems]
    if isinstance(error, cattrs.ClassValidationError):
        inside, whole = error.group_exceptions()
        found = [problem for inner, note in inside for problem in _problems(inner, f"{place}.{note.name}")]
        return [*found, *(problem for inner in whole for problem in _problems(inner, place))]
    if isinstance(error, cattrs.StructureHandlerNotFoundError):
        return [(place, f"{getattr(error.type_, '__name__', error.type_)!r:.60} is no type that JSON can be made into")]
    if isinstance(error, KeyError):
        return [(place, f"required field {error} is missing")]
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return [(place, f"unknown field {', '.join(repr(name) for name in sorted(error.extra_fields))}")]
    return [(place, str(error) or type(error).__name__)]


def _misfit(expected: str, value: Any) -> NotStructured:
    shown = f"{value!r:.60}"
    shown = {"None": "null", "True": "true", "False": "false"}.get(shown, shown)
    return NotStructured([("", f"expected {expected}, got {shown}")])


def _expected(hint: Any) -> str:
    """What a value of the type looks like in JSON."""
    if typing.get_origin(hint) is typing.Annotated:
        return _expected(hint.__origin__)
    origin = _origin(hint)
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, typing.get_args(hint)))}"
    if isinstance(origin, type) and issubclass(origin, enum.Enum):
        return f"one of {', '.join(repr(member.value) for member in origin)}"
    if origin in _SEQUENCES or _is_named_tuple(origin):
        return "a list"
    return _NAMES.get(origin) or (_TEXT_FORMS[origin][1] if origin in _TEXT_FORMS else "an object")


def _origin(hint: Any) -> Any:
    return typing.get_origin(hint) or hint


# --- hooks: (value, hint) -> value of the type -----------------------------------------------------------------------

_NAMES: dict[Any, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    Decimal: "a decimal number",
    None: "null",
    types.NoneType: "null",
}


def _scalar(value: Any, hint: Any) -> Any:
    if issubclass(hint, enum.Enum):
        for member in hint:
            if _same(member.value, value):
                return member
    elif type(value) is hint:
        return value
    elif hint is float and type(value) is int:
        return float(value)
    elif hint is int and type(value) is float and value.is_integer():  # JSON has one kind of number
        return int(value)
    raise _misfit(_expected(hint), value)


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: true is not 1."""
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


_TEXT_FORMS: dict[Any, tuple[Callable[[str], Any], str]] = {
    dt.datetime: (dt.datetime.fromisoformat, "a date and time such as '2024-01-31T12:00:00Z'"),
    dt.date: (dt.date.fromisoformat, "a date such as '2024-01-31'"),
    dt.time: (dt.time.fromisoformat, "a time such as '12:30:00'"),
    dt.timedelta: (functools.partial(msgspec.convert, type=dt.timedelta), "a duration such as 'PT90S'"),
    uuid.UUID: (uuid.UUID, "a UUID"),
    Path: (Path, "a path"),
    PurePath: (PurePath, "a path"),
    bytes: (functools.partial(base64.b64decode, validate=True), "bytes in base64"),
    bytearray: (lambda text: bytearray(base64.b64decode(text, validate=True)), "bytes in base64"),
}


def _from_text(value: Any, hint: Any) -> Any:
    parse, expected = _TEXT_FORMS[hint]
    if isinstance(value, str):
        try:
            return parse(value)
        except ValueError:
            pass
    raise _misfit(expected, value)


def _decimal(value: Any, hint: Any) -> Any:
    if type(value) in (str, int, float):
        try:
            return Decimal(str(value))
        except InvalidOperation:
            pass
    raise _misfit(_expected(hint), value)


def _null(value: Any, hint: Any) -> Any:
    if value is not None:
        raise _misfit(_expected(hint), value)
    return value


_SEQUENCES: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Collection: list,
    abc.Set: frozenset,
    abc.MutableSet: set,
}


def _sequence(value: Any, hint: Any) -> Any:
    if not isinstance(value, list):
        raise _misfit("a list", value)
    inner = typing.get_args(hint)
    if _origin(hint) is tuple and hint not in (tuple, typing.Tuple) and inner[-1:] != (Ellipsis,):  # noqa: UP006
        return tuple(_items(value, inner, len(inner)))
    return _SEQUENCES[_origin(hint)](_each(enumerate(value), lambda _: inner[0] if inner else Any))


def _is_named_tuple(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_field_defaults")


def _named_tuple(value: Any, hint: Any) -> Any:
    if not isinstance(value, list):
        raise _misfit("a list", value)
    cls = _origin(hint)
    types_of = _filled(typing.get_type_hints(cls, include_extras=True), hint)
    inner = [types_of.get(name, Any) for name in cls._fields]
    return cls(*_items(value, inner, len(inner) - len(cls._field_defaults)))


def _filled(fields: dict[str, Any], hint: Any) -> dict[str, Any]:
    """The fields of `Box[int]` with `int` for its type variable."""
    variables: tuple[Any, ...] = getattr(_origin(hint), "__parameters__", ())
    given: dict[Any, Any] = dict(zip(variables, typing.get_args(hint), strict=False))

    def fill(inner: Any) -> Any:
        if isinstance(inner, typing.TypeVar):
            return given.get(inner, Any)
        open_ones = getattr(inner, "__parameters__", ()) if typing.get_origin(inner) is not None else ()
        return inner[tuple(given.get(variable, Any) for variable in open_ones)] if open_ones else inner

    return {name: fill(inner) for name, inner in fields.items()}


def _items(value: list[Any], inner: typing.Sequence[Any], least: int) -> list[Any]:
    if not least <= len(value) <= len(inner):
        count = f"{least}" if least == len(inner) else f"{least} to {len(inner)}"
        raise NotStructured([("", f"expected {count} items, got {len(value)}")])
    return _each(enumerate(value), lambda index: inner[index])


def _each(items: Iterable[tuple[int, Any]], hint_of: Callable[[int], Any]) -> list[Any]:
    found: list[Any] = []
    problems: Problems = []
    for index, item in items:
        try:
            found.append(structure(item, hint_of(index)))
        except NotStructured as error:
            problems += [(f"[{index}]{where}", what) for where, what in error.problems]
    if problems:
        raise NotStructured(problems)
    return found


_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


def _mapping(value: Any, hint: Any) -> Any:
    if not isinstance(value, dict):
        raise _misfit("an object", value)
    of_key, of_item = typing.get_args(hint) or (Any, Any)
    found: dict[Any, Any] = {}
    problems: Problems = []
    for key, item in typing.cast("Mapping[str, Any]", value).items():
        try:
            found[_key(key, of_key)] = structure(item, of_item)
        except NotStructured as error:
            problems += [(f"[{key!r:.60}]{where}", what) for where, what in error.problems]
    if problems:
        raise NotStructured(problems)
    return found


def _key(key: str, hint: Any) -> Any:
    """JSON has text keys only: that of an int is its digits."""
    try:
        return structure(key, hint)
    except NotStructured as error:
        try:
            return structure(msgspec.json.decode(key), hint)
        except (msgspec.DecodeError, NotStructured):
            raise NotStructured([("", f"as a key: {what}") for _, what in error.problems]) from None


def _literal(value: Any, hint: Any) -> Any:
    for choice in typing.get_args(hint):
        if _same(choice, value):
            return choice
    raise _misfit(_expected(hint), value)


def _union(value: Any, hint: Any) -> Any:
    options = [option for option in typing.get_args(hint) if option is not types.NoneType]
    if value is None and len(options) < len(typing.get_args(hint)):
        return None
    options.sort(key=lambda option: _origin(option) is not type(value))  # 1 in `float | int` is an int
    failures: list[Problems] = []
    for option in options:
        try:
            return structure(value, option)
        except NotStructured as error:
            failures.append(error.problems)
    inside = [problems for problems in failures if all(where for where, _ in problems)]
    if len(failures) == 1 or len(inside) == 1:
        raise NotStructured((inside or failures)[0])
    raise _misfit(" or ".join(dict.fromkeys(map(_expected, options))), value)


def _struct(value: Any, hint: Any) -> Any:
    try:
        return msgspec.convert(value, hint, str_keys=True)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        raise NotStructured([(place.rstrip("`"), what.replace("`", "'"))]) from error


def _pydantic(value: Any, cls: Any) -> Any:
    try:
        return cls.model_validate_json(dumps(value))  # what is strict about JSON takes a text for a date
    except ValueError as error:
        found = typing.cast("Any", error).errors(include_url=False, include_context=False, include_input=False)
        raise NotStructured([(_path(item["loc"]), item["msg"]) for item in found]) from error


def _path(steps: Iterable[int | str]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def _object_hook(cls: Any, made: Any) -> Callable[[Any, Any], Any]:
    if typing.is_typeddict(_origin(cls)):
        cls = _with_required(cls)
        fill = made.gen_structure_typeddict(cls)
    else:
        fill = made.gen_structure_attrs_fromdict(cls)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise _misfit("an object", value)
        return fill(value, cls)

    return hook


def _with_required(cls: Any) -> Any:
    """The same TypedDict, where its class was defined with annotations that are texts: it has not read them."""
    marks = {typing.Required, typing.NotRequired}
    hints = {
        name: hint
        if typing.get_origin(hint) in marks
        else typing.Required[hint]
        if name in _origin(cls).__required_keys__
        else typing.NotRequired[hint]
        for name, hint in _filled(fields_of(_origin(cls)), cls).items()
    }
    return typing.TypedDict(_origin(cls).__name__, hints)  # type: ignore[operator]
