"""Strict structuring: how misfits are collected and told, and a cattrs converter without implicit conversions.

cattrs by default is lenient: it accepts a text as a list of characters, calls `int` on values for an int field, and
looks for the fields of a class in anything that supports `in`. Documents and models' output are not trusted, so this
module has a strict hook for each kind of type. `data/json` adds support for the library's own values: tagged unions,
errors, open data. Unknown fields are ignored, so that documents of a later release can be read.

`data/types` structures users' types without cattrs, since what structures a type has to make its JSON Schema too. It
shares the exceptions, and how they are collected and told.

A hook gets `(value, hint)` and returns the value of that type, or raises `Misfit` with the type and the value; the
front end makes the message. Hooks for containers collect the exceptions of their items into `Misfits`; at the top,
`problems_of` gives the path and message of each. cattrs finds the hook of a plain class by its method resolution order,
and other hooks by predicates, of which the last registered wins, so a front end can register its own hooks over these.
A type may contain itself, so a hook looks up the hooks of its items when it runs, not when it is made.
"""

from __future__ import annotations

import collections
import enum
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn

from allm.data.errors import Path
from allm.data.json.text import loads

__all__ = [
    "MAX_PROBLEMS",
    "SEQUENCES",
    "Hook",
    "Key",
    "KeyMisfit",
    "Misfit",
    "Misfits",
    "Tell",
    "each",
    "objects",
    "omitted_fields",
    "origin_of",
    "problems_of",
    "same_json",
    "scalar",
    "sequence",
    "strict_converter",
]

Hook = Callable[[Any, Any], Any]

SEQUENCES: dict[Any, Callable[[Iterable[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.deque: collections.deque,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Collection: list,
    abc.Set: frozenset,
    abc.MutableSet: set,
}
"""The constructor for a JSON list, by the origin of the type."""
_MAPPINGS = (dict, abc.Mapping, abc.MutableMapping)


def origin_of(hint: Any) -> Any:
    """The origin of a generic type, such as `list` for `list[int]`; any other type as it is."""
    return typing.get_origin(hint) or hint


def strict_converter(left_out: Mapping[type, tuple[str, ...]]) -> cattrs.Converter:
    """A converter with the hooks of this module; `left_out` has the fields of classes that are not converted."""
    converter = cattrs.Converter()
    for kind in (str, int, bool, enum.Enum):  # by class, like cattrs' own hooks: an IntEnum uses that of int
        converter.register_structure_hook(kind, scalar)
    converter.register_structure_hook(float, _number)

    def load_class(cls: Any) -> Hook:
        omitted: Any = omitted_fields(cls, left_out)
        # Without linecache, which would keep the source of each hook for ever.
        return objects(make_dict_structure_fn(cls, converter, _cattrs_use_linecache=False, **omitted))

    converter.register_structure_hook_factory(_is_class, load_class)
    containers: list[tuple[Callable[[Any], bool], Callable[[cattrs.Converter, Any, Any], Any]]] = [
        (lambda hint: origin_of(hint) in SEQUENCES, _sequence),
        (lambda hint: origin_of(hint) in _MAPPINGS, _mapping),
        (lambda hint: origin_of(hint) in (typing.Union, types.UnionType), _union),
    ]
    for fits, load in containers:
        converter.register_structure_hook_func(fits, _with(converter, load))
    converter.register_structure_hook_func(lambda hint: origin_of(hint) is typing.Literal, _literal)
    return converter


def omitted_fields(cls: Any, left_out: Mapping[type, tuple[str, ...]]) -> dict[str, Any]:
    """Arguments for cattrs that leave fields out; `Response[Person]` has those of `Response`."""
    return dict.fromkeys(left_out.get(origin_of(cls), ()), cattrs.override(omit=True))


def _with(converter: cattrs.Converter, load: Callable[[cattrs.Converter, Any, Any], Any]) -> Hook:
    return lambda value, hint: load(converter, value, hint)


# --- scalars ---------------------------------------------------------------------------------------------------------


def scalar(value: Any, hint: Any) -> Any:
    """A str, int or bool of exactly the type, or the enum member with the value."""
    if issubclass(hint, enum.Enum):
        for member in hint:
            if same_json(member.value, value):
                return member
    elif type(value) is hint:
        return value
    raise Misfit(hint, value)


def _number(value: Any, hint: Any) -> Any:
    return value if hint is float and type(value) is int else scalar(value, hint)


def _literal(value: Any, hint: Any) -> Any:
    for choice in typing.get_args(hint):
        if same_json(choice, value):
            return choice
    raise Misfit(hint, value)


def same_json(one: Any, other: Any) -> bool:
    """Equality as in JSON, where true is not 1."""
    return isinstance(one, bool) is isinstance(other, bool) and bool(one == other)


# --- lists and objects ------------------------------------------------------------------------------------------------


def sequence(value: Any, load: Callable[[Any], Any]) -> list[Any]:
    """A list, element by element.

    Raises:
        Misfit: It is something else.
        Misfits: The items that did not fit.
    """
    if not isinstance(value, list):
        raise Misfit(list, value)
    return each(enumerate(value), lambda _, item: load(item))


def _sequence(converter: cattrs.Converter, value: Any, hint: Any) -> Any:
    inner = typing.get_args(hint)
    is_open = hint in (tuple, typing.Tuple) or inner[-1:] == (Ellipsis,)  # noqa: UP006  another object
    if origin_of(hint) is tuple and not is_open:
        return tuple(_fields_in_order(converter, value, inner))
    of_item = inner[0] if inner else Any
    return SEQUENCES[origin_of(hint)](sequence(value, lambda item: converter.structure(item, of_item)))


def _fields_in_order(
    converter: cattrs.Converter, value: Any, hints: typing.Sequence[Any], least: int | None = None
) -> list[Any]:
    """Structure a list whose items have one type each.

    Args:
        converter: Structures the items.
        value: The list.
        hints: The type of each item.
        least: The minimum number of items; None: all are required.

    Raises:
        Misfit, Misfits, ValueError: It is not a list, has the wrong length, or an item does not fit.
    """
    if not isinstance(value, list):
        raise Misfit(list, value)
    least = len(hints) if least is None else least
    if not least <= len(value) <= len(hints):
        count = f"{least}" if least == len(hints) else f"{least} to {len(hints)}"
        raise ValueError(f"expected {count} items, got {len(value)}")
    return each(enumerate(value), lambda index, item: converter.structure(item, hints[index]))


def _mapping(converter: cattrs.Converter, value: Any, hint: Any) -> Any:
    if not isinstance(value, dict):
        raise Misfit(dict, value)
    of_key, of_item = typing.get_args(hint) or (Any, Any)

    def load(key: str, item: Any) -> tuple[Any, Any]:
        return _key(converter, key, of_key), converter.structure(item, of_item)

    items = typing.cast("dict[str, Any]", value).items()
    return dict(each(((Key(key), item) for key, item in items), load))


def _key(converter: cattrs.Converter, key: str, hint: Any) -> Any:
    """Structure a key; JSON keys are texts, so an int key is written as its digits."""
    text = str(key)
    if hint in (str, Any):
        return text
    try:
        return converter.structure(text, hint)
    except Exception as error:
        try:
            return converter.structure(loads(text), hint)
        except Exception:
            raise KeyMisfit(error) from None


def objects(load: Hook) -> Hook:
    """A hook that passes JSON objects to `load`, and rejects everything else."""

    def structure(value: Any, hint: Any) -> Any:
        if not isinstance(value, dict):
            raise Misfit(dict, value)
        return load(value, hint)

    return structure


def _is_class(hint: Any) -> bool:
    return attrs.has(hint) or hasattr(origin_of(hint), "__dataclass_fields__")


# --- unions -----------------------------------------------------------------------------------------------------------


def _union(converter: cattrs.Converter, value: Any, hint: Any) -> Any:
    """Structure as the first member that fits, trying members of the value's own type first."""
    members = typing.get_args(hint)
    options = [option for option in members if option is not types.NoneType]
    if value is None and len(options) < len(members):
        return None
    if len(options) == 1:
        return converter.structure(value, options[0])
    options.sort(key=lambda option: origin_of(option) is not type(value))  # 1 in `float | int` is an int
    failures: list[Exception] = []
    for option in options:
        try:
            return converter.structure(value, option)
        except Exception as error:
            failures.append(error)
    # If the value is of the right kind for exactly one member, and only its content is wrong, report that member.
    inside = [error for error in failures if _is_inside(error)]
    raise inside[0] if len(inside) == 1 else Misfit(hint, value)


MAX_PROBLEMS = 20
"""Most problems that are collected from one list or object; a document could have a million of them."""


class Key(str):
    """A path element that is the key of a mapping, not the name of a field."""

    __slots__ = ()


class Misfit(Exception):
    """A value does not fit its type.

    Attributes:
        expected: The expected type, or a description of it.
        value: The value that was found.
    """

    def __init__(self, expected: Any, value: Any) -> None:
        super().__init__(expected, value)
        self.expected = expected
        self.value = value


class Misfits(Exception):
    """Several parts of a value do not fit; has the path and the exception of each."""

    def __init__(self, inner: list[tuple[Path, Exception]]) -> None:
        super().__init__(inner)
        self.inner = inner


class KeyMisfit(Exception):
    """The key of a mapping does not fit; `inner` is the reason."""

    def __init__(self, inner: Exception) -> None:
        super().__init__(inner)
        self.inner = inner


Tell = Callable[[BaseException, Path], str]
"""Makes the message for an exception at a path: a `Misfit`, a `KeyError` for a field, or any exception of a class."""


def problems_of(error: BaseException, tell: Tell, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """The path and the message of every problem in an exception from a converter."""
    if isinstance(error, Misfits):
        for steps, inner in error.inner:
            yield from problems_of(inner, tell, (*path, *steps))
    elif isinstance(error, KeyMisfit):
        # A path cannot point inside a key.
        yield from ((path, f"as a key: {what}") for _, what in problems_of(error.inner, tell, path))
    elif isinstance(error, cattrs.ClassValidationError):
        of_fields, of_the_whole = error.group_exceptions()
        for inner, note in of_fields:
            yield from problems_of(inner, tell, (*path, note.name))
        for inner in of_the_whole:
            yield from problems_of(inner, tell, path)
    else:
        yield path, tell(error, path)


def _is_inside(error: BaseException) -> bool:
    """Whether the value is of the right kind, and only parts of it do not fit."""
    return all(path for path, _ in problems_of(error, _untold))


def _untold(_error: BaseException, _path: Path) -> str:
    return ""


def each(items: Iterable[tuple[Any, Any]], load: Callable[[Any, Any], Any]) -> list[Any]:
    """Apply `load` to every index or name and its value; stops after `MAX_PROBLEMS` misfits.

    Raises:
        Misfits: The items that did not fit.
    """
    loaded: list[Any] = []
    misfits: list[tuple[Path, Exception]] = []
    for step, item in items:
        try:
            loaded.append(load(step, item))
        except RecursionError:  # the depth is a property of the whole document
            raise
        except Exception as error:  # any exception of a hook gets its path
            misfits.append(((step,), error))
            if len(misfits) == MAX_PROBLEMS:
                break
    if misfits:
        raise Misfits(misfits)
    return loaded
