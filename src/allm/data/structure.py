"""Values of users' own types from JSON, and JSON from values: by cattrs; a pydantic model brings that itself.

Structuring is strict: a model that sends `"7"` for an int is told so, in words it can act on.
"""

from __future__ import annotations

import base64
import datetime as dt
import enum
import functools
import math
import re
import sys
import typing
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any, TypeVar

import attrs
import cattrs
import msgspec

from allm.data.errors import ValidationError
from allm.data.jsontext import JsonTextError, dumps, loads

__all__ = ["NotStructured", "encode_result", "fields_of", "is_pydantic", "parse_text", "structure"]

T = TypeVar("T")

Problems = list[tuple[str, str]]
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(?P<inside>.*)\n\s*```\s*", re.DOTALL | re.IGNORECASE)
"""What models write that were not made to keep to a schema."""


class NotStructured(Exception):
    """A value does not fit its type; `problems` are `(where, what)` pairs in plain words."""

    def __init__(self, problems: Problems) -> None:
        super().__init__("; ".join(f"{where.lstrip('.')}: {what}" if where else what for where, what in problems))
        self.problems = problems


def structure(value: Any, hint: Any) -> Any:
    """`value`, parsed JSON, as an instance of the type `hint`.

    Raises:
        NotStructured: It does not fit; every problem with its place, such as `.address.zip`.
    """
    try:
        return _converter().structure(value, hint)
    except Exception as error:  # cattrs raises what its hooks raise
        raise NotStructured(list(_problems(error, ""))) from error


def _problems(error: BaseException, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(error, NotStructured):
        for where, what in error.problems:
            yield path + where, what
    elif isinstance(error, cattrs.errors.ClassValidationError | cattrs.errors.IterableValidationError):
        placed, others = error.group_exceptions()
        for inner, note in placed:
            step = f".{note.name}" if isinstance(note, cattrs.AttributeValidationNote) else f"[{note.index!r}]"
            yield from _problems(inner, path + step)
        for inner in others:
            yield from _problems(inner, path)
    else:
        yield path, _describe(error)


def parse_text(text: str, hint: type[T]) -> T:
    """The JSON document in `text` as an instance of `hint`; a Markdown code fence around it is no part of it.

    Raises:
        ValidationError: Not JSON, or JSON that does not fit (`reason="invalid_output"`), with every problem in it.
    """
    name = getattr(hint, "__name__", str(hint))
    try:
        value = loads(fenced["inside"] if (fenced := _FENCED.fullmatch(text)) else text)
    except JsonTextError as error:
        raise ValidationError(
            [((), "not_json")],
            reason="invalid_output",
            message=f"the answer is not the JSON of a {name}: {error}. It begins with {text[:80]!r}",
        ) from error
    try:
        return structure(value, hint)  # type: ignore[no-any-return]
    except NotStructured as error:
        raise ValidationError(
            [((where.lstrip("."),), what) for where, what in error.problems],
            reason="invalid_output",
            message=f"the answer is JSON but not a valid {name}: {error}",
        ) from error


def encode_result(value: Any) -> str:
    """A handler's result as the text the model reads: a str as it is, anything else as JSON.

    Raises:
        TypeError, ValueError: There is no JSON for it.
    """
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return value
    return dumps(_plain(value)).decode("utf-8")


def _plain(value: Any) -> Any:  # noqa: C901  (a table of types)
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value!r} has no JSON form")
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if is_pydantic(type(value)):
        return value.model_dump(mode="json")
    if attrs.has(type(value)) or hasattr(type(value), "__dataclass_fields__"):
        return _plain(_converter().unstructure(value))
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (PurePath, uuid.UUID, Decimal)):
        return str(value)
    if isinstance(value, (dt.timedelta, msgspec.Struct)):
        return msgspec.to_builtins(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def fields_of(cls: type) -> dict[str, Any]:
    """The annotations of a class with fields, those of its bases included."""
    if attrs.has(cls) or hasattr(cls, "__dataclass_fields__") or typing.is_typeddict(cls):
        return typing.get_type_hints(cls, include_extras=True)
    return {}


def is_pydantic(cls: Any) -> bool:
    """Whether it is a class of pydantic models."""
    pydantic = sys.modules.get("pydantic")  # a model of it exists only where it is loaded
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel)


def _is_struct(cls: Any) -> bool:
    return isinstance(cls, type) and issubclass(cls, msgspec.Struct)


def _pydantic(value: Any, cls: Any) -> Any:
    try:
        return cls.model_validate_json(dumps(value))  # what is strict about JSON takes a text for a date
    except ValueError as error:
        found = typing.cast("Any", error).errors(include_url=False, include_context=False, include_input=False)
        raise NotStructured([(_path(item["loc"]), item["msg"]) for item in found]) from error


def _path(parts: Iterable[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)


def _struct(value: Any, cls: type[msgspec.Struct]) -> msgspec.Struct:
    try:
        return msgspec.convert(value, cls)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$")
        raise NotStructured([(where.rstrip("`"), what)]) from error


def _describe(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"required field {error} is missing"
    if isinstance(error, cattrs.errors.ForbiddenExtraKeysError):
        return f"unknown field {', '.join(repr(name) for name in sorted(error.extra_fields))}"
    return str(error)


def _strict(expected: type, *accepted: type) -> Callable[[Any, Any], Any]:
    def hook(value: Any, _: Any) -> Any:
        if type(value) not in (expected, *accepted):
            raise TypeError(f"expected {_NAMES.get(expected, expected.__name__)}, got {value!r:.60}")
        return expected(value)

    return hook


_NAMES = {str: "a string", int: "an integer", float: "a number", bool: "true or false"}


@functools.cache
def _converter() -> cattrs.Converter:
    from cattrs.preconf.json import make_converter  # with the strategies a third of what cattrs costs to import
    from cattrs.strategies import configure_union_passthrough

    converter = make_converter(forbid_extra_keys=True)
    configure_union_passthrough(str | int | float | bool | None, converter)
    for primitive in (str, bool):
        converter.register_structure_hook(primitive, _strict(primitive))
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(float, _strict(float, int))
    converter.register_structure_hook(bytes, lambda value, _: base64.b64decode(value, validate=True))
    converter.register_unstructure_hook(bytes, lambda value: base64.b64encode(value).decode("ascii"))
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    converter.register_structure_hook(Decimal, lambda value, _: Decimal(str(value)))
    converter.register_structure_hook(uuid.UUID, lambda value, _: uuid.UUID(value))
    converter.register_structure_hook_func(lambda hint: typing.get_origin(hint) in _SEQUENCES, _sequence)
    converter.register_structure_hook_func(_is_literal, _literal)
    converter.register_structure_hook_func(is_pydantic, _pydantic)
    converter.register_structure_hook_func(_is_struct, _struct)
    converter.register_structure_hook_func(lambda hint: isinstance(hint, type) and issubclass(hint, enum.Enum), _member)
    converter.register_structure_hook_func(lambda hint: hint == Any, lambda value, _: value)
    converter.register_structure_hook_factory(_has_fields, _object_hook)
    return converter


def _has_fields(hint: Any) -> bool:
    return isinstance(hint, type) and bool(fields_of(hint))


def _object_hook(cls: Any, converter: Any) -> Callable[[Any, Any], Any]:
    if typing.is_typeddict(cls):
        cls = _with_required(cls)
        fill = converter.gen_structure_typeddict(cls)
    else:
        fill = converter.gen_structure_attrs_fromdict(cls)

    def hook(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {value!r:.60}")
        return fill(value, cls)

    return hook


def _with_required(cls: Any) -> Any:
    """The same TypedDict, where its class was defined with annotations that are texts: it has not read them."""
    marks = {typing.Required, typing.NotRequired}
    hints = {
        name: hint
        if typing.get_origin(hint) in marks
        else typing.Required[hint]
        if name in cls.__required_keys__
        else typing.NotRequired[hint]
        for name, hint in fields_of(cls).items()
    }
    return typing.TypedDict(cls.__name__, hints)  # type: ignore[operator]


def _integer(value: Any, _: Any) -> int:
    if type(value) is float and value.is_integer():  # JSON has one kind of number
        return int(value)
    return _strict(int)(value, _)  # type: ignore[no-any-return]


_SEQUENCES: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    Sequence: list,
}


def _sequence(value: Any, hint: Any) -> Any:
    """Element by element. cattrs' own hook takes a text as a sequence of characters."""
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {value!r:.60}")
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    fixed = origin is tuple and inner[-1:] != (Ellipsis,)
    if fixed and len(inner) != len(value):
        raise ValueError(f"expected {len(inner)} items, got {len(value)}")
    items, problems = [], []
    for index, item in enumerate(value):
        try:
            items.append(structure(item, inner[index if fixed else 0]))
        except NotStructured as error:
            problems += [(f"[{index}]{where}", what) for where, what in error.problems]
    if problems:
        raise NotStructured(problems)
    return _SEQUENCES[origin](items)


def _is_literal(hint: Any) -> bool:
    return typing.get_origin(hint) is typing.Literal


def _literal(value: Any, hint: Any) -> Any:
    if value not in typing.get_args(hint):
        raise ValueError(f"expected one of {', '.join(map(repr, typing.get_args(hint)))}, got {value!r:.60}")
    return value


def _member(value: Any, hint: Any) -> Any:
    try:
        return hint(value)
    except ValueError:
        allowed = ", ".join(repr(member.value) for member in hint)
        raise ValueError(f"expected one of {allowed}, got {value!r:.60}") from None
