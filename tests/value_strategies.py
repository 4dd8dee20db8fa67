"""Hypothesis strategies for every value of the library, made from the classes themselves."""

from __future__ import annotations

import functools
import inspect
import json
import types
import typing
from array import array
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union

import attrs
from hypothesis import strategies as st
from typing_extensions import TypeForm

import allm
from allm.data.errors import Path
from allm.data.image import SourceKind
from allm.data.json.tags import ERROR_TYPES, LEFT_OUT, VALUE_TAGS, error_arguments
from allm.data.request import ResponseFormat

VALUE_TYPES = [*VALUE_TAGS.values(), *ERROR_TYPES.values()]

texts = st.text(st.characters(exclude_categories=()), max_size=8)  # lone surrogates too
whole_numbers = st.integers() | st.integers(0, 1000)
numbers = st.floats(allow_nan=False, allow_infinity=False) | whole_numbers
names = st.text("abc$-_ .", max_size=4) | st.sampled_from(["type", "$type", "items", "value", "question"])


def _open_containers(inner):
    return (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(names, inner, max_size=3)
        | st.dictionaries(whole_numbers | st.tuples(names, st.none()) | st.binary(max_size=2), inner, max_size=2)
    )


scalars = st.none() | st.booleans() | whole_numbers | st.floats(allow_nan=False) | texts | st.binary(max_size=5)
open_data = st.recursive(scalars, _open_containers, max_leaves=6)
open_data_with_values = st.deferred(lambda: open_data | st.sampled_from(_SMALL).flatmap(values_of))
open_mappings = st.dictionaries(names, open_data_with_values, max_size=2)
_LARGE = (allm.SessionConflict, allm.EmbeddingAdapterError)
_SMALL = (allm.ToolCall, allm.Message, allm.Image, allm.Usage, allm.AdapterError, allm.ValidationError)

sources = st.one_of(
    st.tuples(st.just("bytes"), st.binary(max_size=5)),
    st.tuples(st.sampled_from(["base64", "url", "file", "text"]), texts),
    st.tuples(st.just("upload"), st.deferred(lambda: values_of(allm.FileRef))),
)
paths = st.lists(texts | st.integers(0, 9), max_size=3).map(tuple)
problems = st.lists(st.tuples(paths, texts), max_size=2)
vectors = st.lists(st.integers(0, 200), max_size=3).flatmap(
    lambda whole: st.sampled_from("fdbB").map(lambda code: array(code, [n % 100 for n in whole]))
) | st.lists(numbers.filter(lambda number: abs(number) < 1e300), max_size=3)
# Types with their own strategy. Fields that hold live objects keep their defaults.
SPECIAL = {
    str: texts,
    int: whole_numbers,
    float: numbers,
    bool: st.booleans(),
    type(None): st.none(),
    bytes: st.binary(max_size=5),
    Any: open_data_with_values,
    dict[str, Any]: open_mappings,
    Mapping[str, Any]: open_mappings,
    Mapping[str, str]: st.dictionaries(names, texts, max_size=2),
    tuple[SourceKind, str | bytes | allm.FileRef]: sources,
    typing.get_type_hints(allm.ValidationError.__init__)["errors"]: problems,
    Callable[..., Any]: st.nothing(),
    ResponseFormat: st.deferred(lambda: texts | open_mappings | values_of(allm.JsonSchema)),
    type: st.nothing(),
    Path: paths,
}


@functools.cache
def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a type, as an annotation spells it."""
    if hint in SPECIAL:
        return SPECIAL[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in {Union, types.UnionType}:
        return st.one_of([values_of(choice) for choice in inner])
    if origin in {type, TypeForm}:
        return st.nothing()
    if isinstance(hint, typing.TypeVar):  # a value of the program's choice
        return open_data_with_values
    if inspect.isclass(origin) and attrs.has(origin):
        return values_of(origin)
    if origin is dict:
        return st.dictionaries(names, values_of(inner[1]), max_size=2)
    if origin is tuple and inner[1:] == (Ellipsis,):
        return st.deferred(lambda: st.lists(values_of(inner[0]), max_size=2).map(tuple))
    if hint is allm.AskUser:
        return st.builds(lambda question, hints: allm.AskUser(question, **hints), texts, _hints())
    if hint is allm.Embedding:
        return st.builds(allm.Embedding, st.integers(0, 9), vectors)
    if hint is allm.AllmError:  # errors that hold sessions or responses would nest endlessly
        return st.one_of([values_of(cls) for cls in ERROR_TYPES.values() if cls not in {hint, *_LARGE}])
    if issubclass(hint, allm.AllmError):
        return st.deferred(lambda: _errors(hint))
    assert attrs.has(hint), f"no strategy for {hint}"
    return st.deferred(lambda: _objects(hint))


@functools.cache
def _objects(cls: type) -> st.SearchStrategy[Any]:
    left_out = LEFT_OUT.get(cls, ())
    fields = {field.alias: field for field in attrs.fields(attrs.resolve_types(cls)) if field.name not in left_out}
    return st.fixed_dictionaries(
        {name: values_of(field.type) for name, field in fields.items() if field.default is attrs.NOTHING},
        optional={name: values_of(field.type) for name, field in fields.items() if field.default is not attrs.NOTHING},
    ).map(lambda given: cls(**given))


@functools.cache
def _errors(cls: type[allm.AllmError]) -> st.SearchStrategy[Any]:
    empty = inspect.Parameter.empty
    arguments = {name: (values_of(hint), default) for name, (hint, default) in error_arguments(cls).items()}
    return st.fixed_dictionaries(
        {name: values for name, (values, default) in arguments.items() if default is empty},
        optional={name: values for name, (values, default) in arguments.items() if default is not empty},
    ).map(lambda given: cls(**given))


def _hints() -> st.SearchStrategy[dict[str, Any]]:
    return open_mappings.map(lambda hints: {name: value for name, value in hints.items() if name != "question"})


anything = st.sampled_from(VALUE_TYPES).flatmap(values_of)


# --- documents that someone has touched ------------------------------------------------------------------------------

json_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(sorted(VALUE_TAGS)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "$type", "items"]), inner),
    max_leaves=4,
)


def places(node, path=()):
    """Every path in a document."""
    yield path
    for step, inner in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield from places(inner, (*path, step))


def changed(document, path, value):
    """The text of a document with another value in a place; ... takes it out."""
    copy = json.loads(json.dumps(document))
    place = copy
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(copy)
