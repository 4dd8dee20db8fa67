"""`define` and `frozen`: the classes are those of attrs, whoever makes their `__repr__`, `__eq__` and `__hash__`."""

from __future__ import annotations

import copy
import importlib
import inspect
import math
import pickle
import pkgutil
import sys

import attrs
import pytest

import allm
from allm.data import attrs_classes

OPTIONAL = ("allm.testing", "allm.cli", "allm.__main__", "allm.session.stores", "allm.runs.postgres")


def classes():
    """Every class that is made here."""
    for module in pkgutil.walk_packages(allm.__path__, "allm."):
        if not module.name.startswith(OPTIONAL):
            importlib.import_module(module.name)
    found = {
        value
        for name, module in list(sys.modules.items())
        if name.startswith("allm.")
        for value in vars(module).values()
        if isinstance(value, type) and attrs.has(value) and value.__module__ == name
    }
    return sorted(found, key=lambda cls: f"{cls.__module__}.{cls.__qualname__}")


CLASSES = classes()


def is_shared(cls, name):
    """Whether a class has a method of the module."""
    code = getattr(vars(cls).get(name), "__code__", None)
    return code is not None and code.co_filename == attrs_classes.__file__


def test_the_classes_are_found():
    """Public values and private objects."""
    assert {allm.Message, allm.Engine, allm.TextDelta} <= set(CLASSES)
    assert sum(is_shared(cls, "__eq__") for cls in CLASSES) > 100
    assert sum(is_shared(cls, "__repr__") for cls in CLASSES) > 150


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__qualname__)
def test_methods_are_those_that_the_fields_ask_for(cls):
    """Equal means the same class and equal fields; what is equal has one hash; `match` knows the fields by position."""
    fields = attrs.fields(cls)
    assert cls.__match_args__ == tuple(field.name for field in fields if field.init and not field.kw_only)
    if not is_shared(cls, "__eq__"):
        return
    one, other = blank(cls), blank(cls)
    assert one == other
    assert not one.__ne__(other)
    assert one != blank(allm.TextDelta if cls is not allm.TextDelta else allm.RawChunk)
    assert one.__eq__(object()) is NotImplemented
    hashed = vars(cls)["__hash__"]
    assert hashed is None or hash(one) == hash(other)
    for field in fields:
        changed = blank(cls, **{field.name: "another"})
        assert (one == changed) is not field.eq, field.name
        if hashed is not None and (field.hash or (field.hash is None and field.eq)):
            assert hash(one) != hash(changed), field.name


def blank(cls, /, **values):
    """An object of a class that checks nothing, with a text in each field."""
    made = object.__new__(cls)
    for field in attrs.fields(cls):
        object.__setattr__(made, field.name, values.get(field.name, f"a {field.name}"))
    return made


@pytest.mark.parametrize("cls", [cls for cls in CLASSES if is_shared(cls, "__repr__")], ids=lambda c: c.__qualname__)
def test_a_repr_names_the_class_and_its_fields(cls):
    """In order, without those that are left out, and a field with a way of its own in that way."""
    if inspect.isabstract(cls):
        return
    fields = [field for field in attrs.fields(cls) if field.repr is not False]
    shown = [f"{field.name}={'[]' if field.repr is True else field.repr([])}" for field in fields]
    assert repr(blank(cls, **{field.name: [] for field in fields})) == f"{cls.__qualname__}({', '.join(shown)})"


@attrs_classes.frozen
class Value:
    """A value with each kind of field."""

    a: object
    b: object = attrs.field(default=2, hash=False)
    c: object = attrs.field(default=3, eq=False)
    d: object = attrs.field(default=4, repr=False, kw_only=True)
    e: object = attrs.field(default=5, repr=lambda value: f"<{value}>")
    f: object = attrs.field(init=False)


@attrs_classes.define
class Changing:
    """One that can be compared, and not hashed."""

    a: int


@attrs_classes.frozen(order=True)
class Ordered:
    """One whose methods attrs makes."""

    a: int


@attrs_classes.frozen
class Own:
    """One with methods of its own."""

    a: int

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 7

    def __repr__(self):
        return "own"


@attrs.frozen
class Reference:
    """What attrs makes of the same fields."""

    a: object
    b: object = attrs.field(default=2, hash=False)
    c: object = attrs.field(default=3, eq=False)
    d: object = attrs.field(default=4, repr=False, kw_only=True)
    e: object = attrs.field(default=5, repr=lambda value: f"<{value}>")
    f: object = attrs.field(init=False)


def test_a_value_says_what_attrs_says():
    """Also of a field that is not set, and of a value that contains itself."""
    contains: list[object] = []
    for a in (1, "text", contains):
        assert repr(Value(a)) == repr(Reference(a)).replace("Reference", "Value")
    ours, theirs = Value(contains), Reference(contains)
    contains[:] = [ours]
    shown = repr(ours)
    contains[:] = [theirs]
    assert shown == repr(theirs).replace("Reference", "Value") == "Value(a=[...], b=2, c=3, e=<5>, f=NOTHING)"


def test_a_value_compares_as_attrs_compares():
    """What is not equal to itself is not equal here either, and later fields are not looked at in vain."""

    class Loud:
        def __eq__(self, other):
            raise AssertionError

        __hash__ = None

    for made in (Value, Reference):
        values = [made(1), made(2)]
        for value in values:
            object.__setattr__(value, "f", Loud())
        assert values[0] != values[1]
        nan = made(math.nan)
        object.__setattr__(nan, "f", None)
        assert nan != nan  # noqa: PLR0124
        with pytest.raises(AttributeError):
            assert made(1) == made(1)


def test_a_subclass_compares_by_its_own_fields():
    """One that is not made here too inherits the methods for the fields of its parent."""

    class Plain(Value):
        pass

    @attrs_classes.frozen
    class More(Value):
        g: int = 0

    def with_f(value):
        object.__setattr__(value, "f", None)
        return value

    assert with_f(More(1, g=1)) != with_f(More(1, g=2))
    assert with_f(More(1)) != with_f(Value(1))
    assert with_f(Plain(1)) == with_f(Plain(1)) != with_f(Value(1))
    assert repr(More(1)) == "More(a=1, b=2, c=3, e=<5>, f=NOTHING, g=0)"


def test_options_and_methods_of_a_class_count():
    """An order is made by attrs, what changes has no hash, and a method that a class has is kept."""
    assert Ordered(1) < Ordered(2)
    assert hash(Ordered(1)) == hash(Ordered(1))
    assert Changing(1) == Changing(1) != Changing(2)
    with pytest.raises(TypeError, match="unhashable"):
        hash(Changing(1))
    assert (Own(1) == 2, hash(Own(1)), repr(Own(1))) == (True, 7, "own")


@pytest.mark.parametrize("value", [allm.user("hi"), allm.Usage(input_tokens=3), allm.TextDelta("0", "x")])
def test_values_are_copied_and_pickled(value):
    """As values of attrs are."""
    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == attrs.evolve(value) == value  # noqa: S301
    assert len({value, copy.copy(value)}) == 1
