"""What classes with fields consist of: attrs classes, dataclasses, TypedDicts, NamedTuples and msgspec Structs."""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs
import msgspec
import typing_extensions

from allm.data.types.constraints import AttrsValidator
from allm.data.types.defaults import NOTHING, Default, default_in, left_to_the_class, read_default
from allm.data.types.hints import Scope, annotations_of
from allm.data.types.records import Field
from allm.data.types.scalars import Choice
from allm.data.types.shapes import Shape

__all__ = ["description_of", "fields_of", "has_fields", "is_list"]

ShapeOf = Callable[[Any, Scope, tuple[Any, ...], bool], Shape]
"""Describes an annotation in its scope, with notes from a default, and whether None fits as well."""
_MARKS: tuple[Any, ...] = tuple(
    getattr(module, name)
    for module in (typing, typing_extensions)
    for name in ("Required", "NotRequired", "ReadOnly")
    if hasattr(module, name)
)


def has_fields(cls: Any) -> bool:
    """Whether the fields of `cls` are read here."""
    return isinstance(cls, type) and (
        attrs.has(cls)
        or dataclasses.is_dataclass(cls)
        or typing.is_typeddict(cls)
        or typing_extensions.is_typeddict(cls)
        or issubclass(cls, msgspec.Struct)
        or _is_named_tuple(cls)
    )


def _is_named_tuple(cls: Any) -> bool:
    return issubclass(cls, tuple) and hasattr(cls, "_field_defaults")


def is_list(cls: Any) -> bool:
    """Whether instances are a list in JSON: those of a Struct with `array_like=True`.

    Not those of a NamedTuple: a model that sees the names knows what belongs where, and some vendors have no tuples.
    """
    return issubclass(cls, msgspec.Struct) and bool(cls.__struct_config__.array_like)


def description_of(cls: Any) -> str:
    """The docstring of a class, but not one that was made from its fields."""
    text = vars(cls).get("__doc__")
    name: str = cls.__name__
    made = dataclasses.is_dataclass(cls) or _is_named_tuple(cls)
    if not isinstance(text, str) or (made and text.startswith(f"{name}(")):
        return ""
    return inspect.cleandoc(text)


def fields_of(cls: Any, variables: Mapping[Any, Any], shape_of: ShapeOf) -> list[Field]:
    """The fields of a class that its constructor takes.

    Raises:
        TypeError: A field has no type, or one without a JSON Schema.
    """
    annotations = annotations_of(cls, variables)
    fields: list[Field] = []
    for key, name, argument, default, fallback in _declared(cls, annotations):
        annotation, scope = annotations.get(name, (fallback, Scope()))
        if annotation is NOTHING:
            raise TypeError(f"the field {name!r} has no type")
        try:
            if default.is_required:
                default = default_in(scope.resolve(annotation)) or default
            shape = shape_of(annotation, scope, default.notes, default.value is None)
        except TypeError as error:
            if type(error) is not TypeError or str(error).startswith("the field "):
                raise
            raise TypeError(f"the field {name!r} of {cls.__name__}: {error}") from error
        fields.append(Field(key, shape, default, argument))
    if issubclass(cls, msgspec.Struct) and (tag := cls.__struct_config__.tag) is not None:
        name = str(cls.__struct_config__.tag_field)
        fields.insert(0, Field(name, Choice([(tag, tag)]), Default(is_required=True), None))
    return fields


_Declared = Iterator[tuple[str, str, str, Default, Any]]


def _declared(cls: Any, annotations: Mapping[str, tuple[Any, Scope]]) -> _Declared:
    """The key in JSON, the name, the constructor's argument, the default, and the type if it is not in annotations."""
    if typing.is_typeddict(cls) or typing_extensions.is_typeddict(cls):
        for name, (annotation, scope) in annotations.items():
            yield name, name, name, Default(is_required=_is_required(cls, name, annotation, scope)), NOTHING
    elif issubclass(cls, msgspec.Struct):
        yield from _of_struct(cls)
    elif attrs.has(cls):
        yield from _of_attrs(cls)
    elif _is_named_tuple(cls):
        for name in cls._fields:
            yield name, name, name, read_default(cls._field_defaults.get(name, NOTHING)), Any
    else:
        yield from _of_dataclass(cls)


def _of_attrs(cls: Any) -> _Declared:
    for attribute in attrs.fields(cls):
        if not attribute.init:
            continue
        default = read_default(attribute.default)
        if default.make is not None and not default.notes:
            default = left_to_the_class(default.make)
        default = _with_description(default, attribute.metadata)
        if attribute.validator is not None and attribute.converter is None:  # it checks what the converter returns
            default = attrs.evolve(default, notes=(*default.notes, AttrsValidator(attribute.validator)))
        yield attribute.name, attribute.name, attribute.alias, default, _or_nothing(attribute.type)


def _or_nothing(kind: Any) -> Any:
    return NOTHING if kind is None else kind


def _with_description(default: Default, metadata: Mapping[Any, Any]) -> Default:
    text = metadata.get("description")
    return attrs.evolve(default, notes=(*default.notes, text)) if isinstance(text, str) else default


def _of_dataclass(cls: Any) -> _Declared:
    for field in cls.__dataclass_fields__.values():
        kind = field._field_type.name  # the only place that tells an InitVar, which is an argument, from a ClassVar
        if not field.init or kind == "_FIELD_CLASSVAR":
            continue
        if field.default_factory is not dataclasses.MISSING:
            default = left_to_the_class(field.default_factory)
        else:
            default = read_default(field.default)
        yield field.name, field.name, field.name, _with_description(default, field.metadata), field.type


def _of_struct(cls: Any) -> _Declared:
    names, keys, defaults = cls.__struct_fields__, cls.__struct_encode_fields__, cls.__struct_defaults__
    padded = (*[NOTHING] * (len(names) - len(defaults)), *defaults)
    for name, key, default in zip(names, keys, padded, strict=True):
        factory = getattr(default, "factory", None)
        if factory is not None and type(default).__module__.startswith("msgspec"):
            given = left_to_the_class(factory)
        else:
            given = read_default(default)
        yield key, name, name, given, NOTHING


def _is_required(cls: Any, name: str, annotation: Any, scope: Scope) -> bool:
    """Whether a key of a TypedDict has to be there; Python ignores the marks in annotations that are strings."""
    hint = scope.resolve(annotation)
    while (origin := typing.get_origin(hint)) in (*_MARKS, typing.Annotated):
        if getattr(origin, "_name", "") in {"Required", "NotRequired"}:
            return bool(origin._name == "Required")
        hint = hint.__origin__ if origin is typing.Annotated else typing.get_args(hint)[0]
    return name in cls.__required_keys__
