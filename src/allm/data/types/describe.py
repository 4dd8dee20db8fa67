"""The shape of a type: one walk over it, from which both its JSON Schema and the structuring of values come."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import functools
import inspect
import types
import typing
from collections import abc
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import msgspec
import typing_extensions

from allm.data.attrs_classes import define
from allm.data.structuring import SEQUENCES
from allm.data.types.classes import description_of, fields_of, has_fields, is_list
from allm.data.types.constraints import notes_of
from allm.data.types.containers import Alias, Listing, Mapped, Row
from allm.data.types.foreign import foreign_shape
from allm.data.types.hints import Scope, bind, names_in, substitute
from allm.data.types.making import constructor, enumeration, from_list, is_hashable, literal, refined, union
from allm.data.types.records import Record
from allm.data.types.scalars import Anything, Null, scalar_shape, text_shape
from allm.data.types.shapes import Shape, name_of
from allm.data.types.unions import Union

__all__ = ["shape_of", "type_of"]

_KEPT = "__allm_shape__"
"""The attribute of a class that keeps its shape. A table of classes would keep classes alive that a program makes for
each request; like this the garbage collector frees a class together with its shape."""
_LISTS: dict[Any, Callable[[Iterable[Any]], Any]] = {**SEQUENCES, abc.Iterable: list}
_MAPPINGS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    dict: dict,
    abc.Mapping: dict,
    abc.MutableMapping: dict,
    collections.OrderedDict: collections.OrderedDict,
    collections.defaultdict: lambda items: collections.defaultdict(None, items),
}
_ALIASES = tuple(
    kind for kind in (getattr(typing, "TypeAliasType", None), typing_extensions.TypeAliasType) if kind is not None
)
_TRANSPARENT: tuple[Any, ...] = tuple(
    getattr(module, name)
    for module in (typing, typing_extensions)
    for name in ("Required", "NotRequired", "ReadOnly", "Final", "ClassVar")
    if hasattr(module, name)
)


def shape_of(hint: Any, scope: Scope | None = None, notes: Sequence[Any] = (), *, with_null: bool = False) -> Shape:
    """The shape of a type.

    Args:
        hint: The type.
        scope: Where its names are looked up, if it has any in text.
        notes: More metadata, like that of an `Annotated`.
        with_null: Whether null fits as well, as it does where None is the default.

    Raises:
        TypeError: It has no JSON Schema.
    """
    if scope is not None:
        return _Walk().finish(lambda walk: walk.with_notes(hint, scope or Scope(), tuple(notes), with_null))
    if isinstance(hint, type) and hint.__module__ != "builtins":
        return typing.cast("Shape", vars(hint).get(_KEPT)) or _described(hint)[0]
    try:
        hash(hint)
    except TypeError:  # metadata in `Annotated` may be anything
        return _described(hint)[0]
    try:
        return _recent(hint)
    except _NotKept as found:
        return found.shape


def type_of(shape: Shape, name: str) -> type:
    """A class of which `shape_of` says that it has this shape, so that it can be the type of an answer."""
    return type(name, (), {_KEPT: shape})


def _described(hint: Any) -> tuple[Shape, bool]:
    """The shape, and whether it would be the same elsewhere."""
    walk = _Walk()
    return walk.finish(lambda walk: walk.describe(hint, Scope())), not walk.asked_callers


class _NotKept(Exception):
    """Passes a shape by the cache, which keeps no exceptions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__(shape)
        self.shape = shape


@functools.lru_cache(8)  # few, since the classes in them are kept alive
def _recent(hint: Any) -> Shape:
    """The shape of a type that is no class, such as `list[Trip]`, which a program asks for again and again."""
    shape, is_the_same_elsewhere = _described(hint)
    if not is_the_same_elsewhere:
        raise _NotKept(shape)
    return shape


def _comparable(arguments: tuple[Any, ...]) -> Any:
    """The arguments of a generic class as a key: metadata in `Annotated` may be of any kind."""
    try:
        hash(arguments)
    except TypeError:
        return tuple(map(id, arguments))
    return arguments


@define(eq=False)
class _Walk:
    """A walk over a type.

    Attributes:
        found: The shapes of classes and aliases, also of those that are not finished.
        classes: The classes whose shape is to be kept, with it.
        asked_callers: Whether names were looked up where the type is used, since it does not say where it is from.
    """

    found: dict[Any, Shape] = attrs.field(factory=dict)
    classes: list[tuple[Any, Shape]] = attrs.field(factory=list)
    asked_callers: bool = False

    def finish(self, describe: Callable[[_Walk], Shape]) -> Shape:
        """The shape, when it and those in it are whole."""
        try:
            shape = describe(self)
        except RecursionError:
            sentence = (
                "a type that contains itself with ever larger types, or hundreds in each other, has no JSON Schema"
            )
            raise TypeError(sentence) from None
        for cls, kept in self.classes:
            with contextlib.suppress(AttributeError, TypeError):  # a class may refuse attributes
                setattr(cls, _KEPT, kept)
        return shape

    def with_notes(self, hint: Any, scope: Scope, notes: tuple[Any, ...], with_null: bool) -> Shape:  # noqa: FBT001
        shape = self.describe(hint, scope)
        if notes and (read := notes_of(notes)):
            shape = refined(shape, read, hint, notes)
        return Union([shape], nullable=True) if with_null and not shape.takes_null() else shape

    def describe(self, hint: Any, scope: Scope) -> Shape:  # noqa: C901, PLR0912  (a table of kinds of types)
        if isinstance(hint, (str, typing.ForwardRef)):
            return self._by_name(hint, scope)
        if isinstance(hint, typing.TypeVar):
            return self._variable(hint, scope)
        hint = substitute(hint, scope.variables)
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if origin is typing.Annotated:
            notes = notes_of(hint.__metadata__)
            if notes.is_foreign:
                return foreign_shape(hint)
            return refined(self.describe(hint.__origin__, scope), notes, hint, hint.__metadata__)
        if origin in _TRANSPARENT:
            return self.describe(arguments[0], scope)
        if hint in (None, types.NoneType):
            return Null()
        if hint in (Any, object, typing.Final):
            return Anything()
        if hint in (typing.LiteralString, typing_extensions.LiteralString):
            return self.describe(str, scope)
        if hint in (typing.Self, typing_extensions.Self):
            return self._by_name("Self", scope)
        if origin in (typing.Union, types.UnionType):
            return union([self.describe(option, scope) for option in arguments if option is not msgspec.UnsetType])
        if origin in (typing.Literal, typing_extensions.Literal):
            return literal(arguments)
        if isinstance(hint, _ALIASES) or isinstance(origin, _ALIASES):
            return self._alias(hint, origin, arguments)
        if isinstance(hint, (typing.NewType, dataclasses.InitVar)):
            return self.describe(hint.__supertype__ if isinstance(hint, typing.NewType) else hint.type, scope)
        if hasattr(hint, "__get_pydantic_core_schema__") or hasattr(hint, "__pydantic_validator__"):
            return self._kept(hint, foreign_shape)
        return self._of_class(hint, origin or hint, arguments, scope)

    def _of_class(self, hint: Any, cls: Any, arguments: Sequence[Any], scope: Scope) -> Shape:
        if isinstance(cls, type) and issubclass(cls, enum.Enum):
            return self._kept(cls, enumeration)
        if (text := text_shape(hint)) is not None:
            return text
        if cls in (tuple, typing.Tuple):  # noqa: UP006  another object
            return self._tuple(hint, arguments, scope)
        if cls in _LISTS:
            item = self.describe(arguments[0], scope) if arguments else Anything()
            if _LISTS[cls] in (set, frozenset) and not is_hashable(item):
                raise TypeError(f"{name_of(hint)} has no JSON Schema: Python has no sets of such items")
            return Listing(item, _LISTS[cls])
        if cls in _MAPPINGS:
            of_key, of_item = arguments or (str, Any)
            return Mapped(self.describe(of_key, scope), self.describe(of_item, scope), _MAPPINGS[cls])
        if has_fields(cls):
            # The names in the arguments of a generic class are those of the place where it is written.
            return self._class(cls, tuple(map(scope.resolve, arguments)))
        if (scalar := scalar_shape(cls)) is not None:
            return scalar
        raise TypeError(
            f"{name_of(hint)} has no JSON Schema; expected a type such as str or list[int], or a class with typed "
            "fields: a dataclass, a TypedDict, a class of attrs or pydantic"
        )

    def _tuple(self, hint: Any, arguments: Sequence[Any], scope: Scope) -> Shape:
        if hint in (tuple, typing.Tuple):  # noqa: UP006
            return Listing(Anything(), tuple)
        if arguments[-1:] == (Ellipsis,):
            return Listing(self.describe(arguments[0], scope), tuple)
        items: list[Shape] = []
        rest: Shape | None = None
        for index, item in enumerate(arguments):
            inner: tuple[Any, ...] = typing.get_args(item) if getattr(item, "__unpacked__", False) else ()
            if typing.get_origin(item) is typing.Unpack:
                inner = typing.get_args(typing.get_args(item)[0])
            if inner[-1:] == (Ellipsis,) and index == len(arguments) - 1:
                rest = self.describe(inner[0], scope)
            elif inner and Ellipsis not in inner:
                items += [self.describe(part, scope) for part in inner]
            elif inner:
                raise TypeError(f"{hint} has no JSON Schema: items of any number have to be the last")
            else:
                items.append(self.describe(item, scope))
        return Row(items, len(items), tuple, rest)

    def _class(self, cls: Any, arguments: tuple[Any, ...]) -> Shape:
        if arguments == getattr(cls, "__parameters__", None):  # `Box[T]` in `Box` itself, without a type for T
            arguments = ()
        if not arguments and (kept := vars(cls).get(_KEPT)) is not None:
            return typing.cast("Shape", kept)
        key = (cls, _comparable(arguments))
        if (known := self.found.get(key)) is not None:
            return known
        title = cls.__name__
        if inspect.isabstract(cls):
            raise TypeError(f"{title} is abstract, and so has no instances: name the classes that are meant, as A | B")
        if arguments:
            title += f"[{', '.join(name_of(item) for item in arguments)}]"
        variables = bind(cls, arguments)
        if is_list(cls):
            row = Row((), 0, tuple, key=key, title=title)
            self.found[key] = row
            fields = fields_of(cls, variables, self.with_notes)
            row.items = [field.shape for field in fields]
            row.least = sum(field.default.is_required for field in fields)
            row.make = functools.partial(from_list, cls, fields)
            shape: Shape = row
        else:
            record = Record(key, title, description_of(cls), constructor(cls))
            self.found[key] = record
            record.set_fields(fields_of(cls, variables, self.with_notes))
            shape = record
        if not arguments:
            self.classes.append((cls, shape))
        return shape

    def _kept(self, cls: Any, make: Callable[[Any], Shape]) -> Shape:
        kept = vars(cls).get(_KEPT) if isinstance(cls, type) else None
        if kept is None:
            kept = make(cls)
            if isinstance(cls, type):
                self.classes.append((cls, kept))
        return typing.cast("Shape", kept)

    # --- names ---

    def _by_name(self, name: str | typing.ForwardRef, scope: Scope) -> Shape:
        if isinstance(name, typing.ForwardRef):
            module = getattr(name, "__forward_module__", None)
            name = name.__forward_arg__
            if isinstance(module, str) and not scope.module:
                scope = attrs.evolve(scope, module=names_in(module))
        self.asked_callers |= not scope.module
        meant = scope.evaluate(name)
        is_plain = isinstance(meant, (type, typing.TypeVar)) or bool(getattr(meant, "__parameters__", ()))
        if is_plain or not name.replace(".", "").isidentifier():
            return self.describe(meant, scope)
        # By what it means: the same name may mean something else elsewhere.
        return self._recursive(("name", id(meant)), name, lambda: self.describe(meant, scope))

    def _alias(self, hint: Any, origin: Any, arguments: Sequence[Any]) -> Shape:
        """A `type` statement, which may have parameters."""
        alias = origin if isinstance(origin, _ALIASES) else hint
        if str(alias.__module__).partition(".")[0] == "pydantic":  # such as its JsonValue
            return foreign_shape(hint)
        scope = Scope(names_in(str(alias.__module__)), variables=bind(alias, arguments))
        value = functools.partial(getattr, alias, "__value__")
        return self._recursive((alias, tuple(arguments)), alias.__name__, lambda: self.describe(value(), scope))

    def _recursive(self, key: Any, title: str, describe: Callable[[], Shape]) -> Shape:
        known = self.found.get(key)
        if known is not None:
            if isinstance(known, Alias):
                known.is_used = True
            return known
        alias = Alias(title)
        self.found[key] = alias
        inner = describe()
        if inner is alias or (isinstance(inner, Union) and any(member is alias for member in inner.members)):
            raise TypeError(f"{title} stands for itself only; expected a type")
        alias.inner = inner
        if not alias.is_used:
            self.found[key] = inner
        return self.found[key]

    def _variable(self, variable: typing.TypeVar, scope: Scope) -> Shape:
        if variable in scope.variables:
            return self.describe(scope.variables[variable], attrs.evolve(scope, variables={}))
        if getattr(variable, "has_default", bool)():
            return self.describe(typing.cast("Any", variable).__default__, scope)
        if variable.__constraints__:
            return self.describe(typing.Union[variable.__constraints__], scope)  # noqa: UP007
        return self.describe(Any if variable.__bound__ is None else variable.__bound__, scope)
