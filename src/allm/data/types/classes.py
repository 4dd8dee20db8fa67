"""Hooks for users' classes: those whose fields this library reads, and those that read JSON themselves."""

from __future__ import annotations

import re
import sys
import typing
from collections.abc import Callable
from typing import Any

import attrs
import cattrs
import msgspec
from cattrs.gen.typeddicts import make_dict_structure_fn

from allm.data.json.text import dumps
from allm.data.structuring import Hook, Key, Misfits, fields_in_order, objects, origin_of

__all__ = ["fields_of", "is_named_tuple", "is_pydantic", "register_classes"]

_STEP = re.compile(r"\.([^.\[]+)|\[(\d+)\]|\[([^\]]*)\]")
"""One element of a path in msgspec's notation: `.city`, `[0]`, `[...]`."""


def is_pydantic(cls: Any) -> bool:
    """Whether `cls` is a pydantic model."""
    pydantic = sys.modules.get("pydantic")  # `cls` can be a model only if pydantic is already imported
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel)


def is_named_tuple(hint: Any) -> bool:
    """Whether `hint` is a NamedTuple, which is a list in JSON."""
    return isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_field_defaults")


def fields_of(cls: Any) -> dict[str, Any]:
    """The fields of an attrs class, a dataclass or a TypedDict with their types; empty for anything else."""
    if attrs.has(cls) or hasattr(cls, "__dataclass_fields__") or typing.is_typeddict(cls):
        return typing.get_type_hints(cls, include_extras=True)
    return {}


def register_classes(converter: cattrs.Converter) -> None:
    """Register hooks for TypedDicts, NamedTuples, msgspec Structs and pydantic models; the core has the others."""

    def load_typed_dict(cls: Any) -> Hook:
        filled = _with_required(cls)
        load: Hook = make_dict_structure_fn(filled, converter, _cattrs_use_linecache=False)
        return objects(lambda value, _: load(value, filled))

    def load_named_tuple(value: Any, hint: Any) -> Any:
        cls = origin_of(hint)
        types_of = _filled(typing.get_type_hints(cls, include_extras=True), hint)
        hints = [types_of.get(name, Any) for name in cls._fields]
        return cls(*fields_in_order(converter, value, hints, len(hints) - len(cls._field_defaults)))

    hooks: list[tuple[Callable[[Any], bool], Hook]] = [
        (lambda hint: is_named_tuple(origin_of(hint)), load_named_tuple),
        (lambda hint: isinstance(hint, type) and issubclass(hint, msgspec.Struct), _struct),
        (is_pydantic, _pydantic),
    ]
    for fits, hook in hooks:
        converter.register_structure_hook_func(fits, hook)
    converter.register_structure_hook_factory(lambda hint: typing.is_typeddict(origin_of(hint)), load_typed_dict)


def _struct(value: Any, hint: Any) -> Any:
    try:
        return msgspec.convert(value, hint, str_keys=True)
    except msgspec.ValidationError as error:
        what, _, place = str(error).rstrip("`").partition(" - at `$")
        steps = [Key(key) if key else int(index) if index else name for name, index, key in _STEP.findall(place)]
        raise Misfits([(tuple(steps), ValueError(what.replace("`", "'")))]) from error


def _pydantic(value: Any, cls: Any) -> Any:
    try:
        return cls.model_validate_json(dumps(value))  # as JSON, since a strict model takes a text as a date only there
    except ValueError as error:
        found = typing.cast("Any", error).errors(include_url=False, include_context=False, include_input=False)
        raise Misfits([(item["loc"], ValueError(item["msg"])) for item in found]) from error


def _filled(fields: dict[str, Any], hint: Any) -> dict[str, Any]:
    """The fields of a generic class with its type variables substituted: those of `Box[int]` have `int`."""
    variables: tuple[Any, ...] = getattr(origin_of(hint), "__parameters__", ())
    given: dict[Any, Any] = dict(zip(variables, typing.get_args(hint), strict=False))

    def fill(inner: Any) -> Any:
        if isinstance(inner, typing.TypeVar):
            return given.get(inner, Any)
        open_ones = getattr(inner, "__parameters__", ()) if typing.get_origin(inner) is not None else ()
        return inner[tuple(given.get(variable, Any) for variable in open_ones)] if open_ones else inner

    return {name: fill(inner) for name, inner in fields.items()}


def _with_required(cls: Any) -> Any:
    """The TypedDict with evaluated annotations; Python ignores `Required` marks in annotations that are strings."""
    marks = {typing.Required, typing.NotRequired}
    hints = {
        name: hint
        if typing.get_origin(hint) in marks
        else typing.Required[hint]
        if name in origin_of(cls).__required_keys__
        else typing.NotRequired[hint]
        for name, hint in _filled(fields_of(origin_of(cls)), cls).items()
    }
    return typing.TypedDict(origin_of(cls).__name__, hints)  # type: ignore[operator]
