"""A cattrs converter that takes nothing for anything else, and the paths of what does not fit.

cattrs by itself is friendly: it takes a text for a list of characters, and looks for the fields of a class in anything
that has `in`. A document is no friend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn

from allm.data.errors import Path

__all__ = [
    "MAX_PROBLEMS",
    "Misfits",
    "each",
    "problems_of",
    "register",
    "register_union",
    "sequence",
    "strict_converter",
]

MAX_PROBLEMS = 20
"""How many problems of one list are told: a document may hold a million of them."""


class Misfits(Exception):
    """Parts of a value that do not fit, each with its index or name and its own exception."""

    def __init__(self, inner: list[tuple[str | int, Exception]]) -> None:
        super().__init__(inner)
        self.inner = inner


def problems_of(error: BaseException, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Where and what, of every exception inside one that the converter raised."""
    if isinstance(error, Misfits):
        for step, inner in error.inner:
            yield from problems_of(inner, (*path, step))
    elif isinstance(error, cattrs.ClassValidationError):
        noted, others = error.group_exceptions()
        for inner, note in noted:
            yield from problems_of(inner, (*path, note.name))
        for inner in others:
            yield from problems_of(inner, path)
    elif isinstance(error, KeyError):
        yield path, "missing" if path[-1:] == error.args else f"{error.args[0]!r} is missing"
    else:
        yield path, str(error)


def strict_converter(left_out: Mapping[type, tuple[str, ...]]) -> cattrs.Converter:
    """A converter for frozen classes, tuples, dictionaries by text, literals, texts, numbers and flags.

    Args:
        left_out: Fields of classes that are no part of their values.
    """
    converter = cattrs.Converter(omit_if_default=True)
    for primitive in (str, int, bool):
        converter.register_structure_hook(primitive, _strict(primitive))
    converter.register_structure_hook(float, _strict(float, int))
    converter.register_structure_hook_func(_of(Literal), _one_of)

    def omitted(cls: Any) -> Any:
        plain = get_origin(cls) or cls  # `Response[Person]` has the form of `Response`
        return dict.fromkeys(left_out.get(plain, ()), cattrs.override(omit=True))

    def dump_class(cls: Any) -> Callable[[Any], Any]:
        return make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True, **omitted(cls))

    def load_class(cls: Any) -> Callable[[Any, Any], Any]:
        load = make_dict_structure_fn(cls, converter, **omitted(cls))

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, dict):
                raise TypeError(f"expected an object, got {type(value).__name__}")
            return load(value, cls)

        return structure

    def load_tuple(hint: Any) -> Callable[[Any, Any], Any]:
        inner = get_args(hint)[0]
        return lambda value, _: tuple(sequence(value, lambda item: converter.structure(item, inner)))

    def load_dict(hint: Any) -> Callable[[Any, Any], Any]:
        return _dictionary(converter, get_args(hint)[1])

    converter.register_unstructure_hook_factory(attrs.has, dump_class)
    converter.register_structure_hook_factory(attrs.has, load_class)
    converter.register_structure_hook_factory(_of(tuple), load_tuple)
    converter.register_structure_hook_factory(_of(dict), load_dict)
    return converter


def _dictionary(converter: cattrs.Converter, inner: Any) -> Callable[[Any, Any], Any]:
    def structure(value: Any, _: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"expected an object, got {type(value).__name__}")
        return dict(zip(value, each(value.items(), lambda _, item: converter.structure(item, inner)), strict=True))

    return structure


def _of(generic: Any) -> Callable[[Any], bool]:
    return lambda hint: get_origin(hint) is generic


def _strict(expected: type, *accepted: type) -> Callable[[Any, Any], Any]:
    kinds = (expected, *accepted)

    def structure(value: Any, _: Any) -> Any:
        if type(value) not in kinds:
            raise TypeError(f"expected {expected.__name__}, got {type(value).__name__}")
        return value

    return structure


def _one_of(value: Any, literal: Any) -> Any:
    choices = get_args(literal)
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"expected one of {', '.join(choices)}; got {value!r:.60}")
    return value


def sequence(value: Any, load: Callable[[Any], Any]) -> list[Any]:
    """A list, element by element.

    Raises:
        TypeError: It is no list.
        Misfits: What did not fit.
    """
    if not isinstance(value, list):
        raise TypeError(f"expected a list, got {type(value).__name__}")
    return each(enumerate(value), lambda _, item: load(item))


def each(items: Iterable[tuple[Any, Any]], load: Callable[[Any, Any], Any]) -> list[Any]:
    """What `load` makes of every index or name and its value; given up when too many do not fit.

    Raises:
        Misfits: What did not fit.
    """
    loaded: list[Any] = []
    misfits: list[tuple[Any, Exception]] = []
    for step, item in items:
        try:
            loaded.append(load(step, item))
        except Exception as error:  # whatever a hook raises gets its place
            misfits.append((step, error))
            if len(misfits) == MAX_PROBLEMS:
                break
    if misfits:
        raise Misfits(misfits)
    return loaded


def register(
    converter: cattrs.Converter, type_: Any, dump: Callable[[Any], Any], load: Callable[[Any, Any], Any]
) -> None:
    """Hooks for exactly `type_`, which may be a generic or a union."""
    converter.register_unstructure_hook_func(lambda cls: cls == type_, dump)
    converter.register_structure_hook_func(lambda cls: cls == type_, load)


def register_union(converter: cattrs.Converter, union: Any, tags: Mapping[str, type]) -> None:
    """Hooks for a closed union, each value of which says in `type` what it is; None where the union has it."""
    names = {cls: tag for tag, cls in tags.items()}
    optional = NoneType in get_args(union)

    def unstructure(value: Any) -> dict[str, Any]:
        return {"type": names[type(value)], **converter.unstructure(value)}

    def structure(value: Any, _: Any) -> Any:
        if value is None and optional:
            return None
        tag = value.get("type") if isinstance(value, dict) else None
        cls = tags.get(tag) if isinstance(tag, str) else None
        if cls is None:
            raise ValueError(f"unknown type {tag!r:.60}; expected one of: {', '.join(sorted(tags))}")
        return converter.structure(value, cls)

    register(converter, union, unstructure, structure)
