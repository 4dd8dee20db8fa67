"""Fingerprints: whether an input of a bulk run is what it was when its answer was saved.

A fingerprint is a hash of what the model is asked: the request, the model and the options that are part of a request.
How the call is made, such as its time limits, its key or its address, is not in it, so that these can be changed before
a run is resumed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from allm.data.errors import AllmError, Problem, ValidationError
from allm.data.json.text import dumps_strict, is_plain
from allm.data.message import Message, Thread
from allm.data.request import Request
from allm.data.tool import Tool
from allm.execution.options import application_defaults
from allm.runtime.engine import Engine
from allm.runtime.option_table import OPTIONS

__all__ = ["Fingerprints", "as_value"]

_SIZE = 16
"""Bytes; two of a billion inputs share a fingerprint with a chance of 10⁻²¹."""


class Fingerprints:
    """Makes the fingerprints of one run."""

    def __init__(self, engine: Engine, options: Mapping[str, Any], call: str) -> None:
        """Hash what all inputs have in common.

        Args:
            engine: Its model and its params count.
            options: The options of every call.
            call: The name of the function, if it is one of the library.
        """
        given = {**application_defaults(), **engine.params, **options}
        asked = {name: value for name, value in given.items() if _is_asked(name)}
        model = asked.pop("model", None) or (engine.embedding_model if call == "embed" else engine.model)
        common = [call, model, asked, [_described(tool) for tool in engine.tools]]
        self._common = hashlib.blake2b(_encoded(_described(common)), digest_size=_SIZE)

    def of(self, request: Any) -> str:
        """The fingerprint of an input.

        Raises:
            ValidationError: `not_serialisable`: it holds an object of which nothing is known but its address.
        """
        found = self._common.copy()
        found.update(request.encode("utf-8", "surrogatepass") if type(request) is str else _content(request))
        return found.hexdigest()


def _is_asked(name: str) -> bool:
    option = OPTIONS.get(name)
    return option is None or "request" in option.places or name in _PART_OF_REQUEST


_PART_OF_REQUEST = {"reasoning_effort", "verbosity"}


def _content(request: Any) -> bytes:
    return b"\0" + _encoded(request if is_plain(request) else _described(request))  # apart from any text


def _encoded(value: Any) -> bytes:
    return dumps_strict(value)


def _described(value: Any) -> Any:
    """The value as plain JSON data that is the same in every process."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    for kinds, describe in _DESCRIPTIONS:
        if isinstance(value, kinds):
            return describe(value)
    if attrs.has(type(value)):
        return {type(value).__name__: [_described(item) for item in _fields(value)]}
    if callable(value):
        return {"name": f"{value.__module__}.{getattr(value, '__qualname__', type(value).__qualname__)}"}
    return _by_repr(value)


def _mapping(value: Mapping[Any, Any]) -> Any:
    return {"mapping": sorted(([str(key), _described(item)] for key, item in value.items()), key=lambda at: at[0])}


_DESCRIPTIONS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((list, tuple), lambda value: [_described(item) for item in value]),
    (Mapping, _mapping),
    ((bytes, bytearray), lambda value: {"bytes": hashlib.blake2b(value, digest_size=_SIZE).hexdigest()}),
    ((set, frozenset), lambda value: {"set": sorted(str(_described(item)) for item in value)}),
    (Tool, lambda tool: {"tool": [tool.name, tool.description, _described(tool.schema)]}),
    (AllmError, lambda error: {"error": [type(error).__name__, str(error)]}),
    (
        functools.partial,
        lambda made: {"partial": [_described(made.func), _described(made.args), _mapping(made.keywords)]},
    ),
    (type, lambda cls: {"type": f"{cls.__module__}.{cls.__qualname__}"}),
)


def _fields(value: Any) -> Iterable[Any]:
    for field in attrs.fields(type(value)):
        if field.eq and field.init:
            yield field.name
            yield getattr(value, field.name)


_NO_REPR: Any = object.__repr__


def _by_repr(value: Any) -> Any:
    if type(value).__repr__ is not _NO_REPR:
        return {"repr": [type(value).__qualname__, repr(value)]}
    what = (
        f"a request holds {type(value).__name__}, which cannot be compared with that of an earlier run; expected text, "
        "messages, a Request, JSON data, or a class with fields or a repr"
    )
    raise ValidationError([Problem((), "not_serialisable", what)], reason="invalid_request")


def as_value(request: Any) -> Any:
    """The request as a value that can be read more than once: an iterator of messages becomes a tuple."""
    if isinstance(request, (str, bytes, Message, Thread, Request, Mapping, list, tuple)) or not hasattr(
        request, "__next__"
    ):
        return request
    return tuple(request)
