"""The strict core for the library's own values: tagged unions, fields that are left out, and the words of a document.

The values of a document are not shown in what is said of it, only their types: they may be long, and private.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, Literal, get_args, get_origin

import attrs
import cattrs
from cattrs.gen import make_dict_unstructure_fn

from allm.data.errors import Path
from allm.data.problems import shown
from allm.data.structuring import converter as core, misfits
from allm.data.structuring.misfits import Misfit

__all__ = ["problems_of", "register", "register_union", "strict_converter"]


def problems_of(error: BaseException) -> Iterator[tuple[Path, str]]:
    """Where and what, of every exception inside one that the converter raised."""
    for path, what in misfits.problems_of(error, _tell):
        yield tuple(str(step) if isinstance(step, str) else step for step in path), what


def _tell(error: BaseException, path: Path) -> str:
    if isinstance(error, Misfit):
        if get_origin(error.expected) is Literal:
            return f"expected one of {', '.join(get_args(error.expected))}; got {shown(error.value)}"
        return f"expected {_name(error.expected)}, got {type(error.value).__name__}"
    if isinstance(error, KeyError):
        return "missing" if path[-1:] == error.args else f"{error.args[0]!r} is missing"
    return str(error)


def _name(hint: Any) -> str:
    if isinstance(hint, str):
        return hint
    if core.origin_of(hint) in (list, dict):
        return "a list" if core.origin_of(hint) is list else "an object"
    return " or ".join(_name(inner) for inner in get_args(hint)) or getattr(hint, "__name__", str(hint))


def strict_converter(left_out: Mapping[type, tuple[str, ...]]) -> cattrs.Converter:
    """A converter for frozen classes, tuples, dictionaries by text, literals, texts, numbers and flags.

    Args:
        left_out: Fields of classes that are no part of their values.
    """
    converter = core.strict_converter(refuse_unknown=False, left_out=left_out)

    def dump_class(cls: Any) -> Callable[[Any], Any]:
        omitted: Any = core.omitted_fields(cls, left_out)
        return make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True, **omitted)

    converter.register_unstructure_hook_factory(attrs.has, dump_class)
    return converter


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
