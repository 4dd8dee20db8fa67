"""A shape with constraints and a description; the constraints are in its schema, and hold for its values."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

from typing_extensions import override

from allm.data.attrs_classes import define, frozen
from allm.data.types.shapes import Definitions, Reading, Refused, Schema, Shape, json_notation

__all__ = ["Refined", "Rule", "described", "rule_for"]

_BOUNDS: dict[str, tuple[str, str, Callable[[Any, Any], bool]]] = {
    "ge": ("minimum", ">=", operator.ge),
    "gt": ("exclusiveMinimum", ">", operator.gt),
    "le": ("maximum", "<=", operator.le),
    "lt": ("exclusiveMaximum", "<", operator.lt),
}
_LENGTHS = {"min_length": (operator.ge, "at least"), "max_length": (operator.le, "at most")}
_LENGTH_WORDS = {
    ("text", "min_length"): ("minLength", "character"),
    ("text", "max_length"): ("maxLength", "character"),
    ("list", "min_length"): ("minItems", "item"),
    ("list", "max_length"): ("maxItems", "item"),
    ("object", "min_length"): ("minProperties", "entry"),
    ("object", "max_length"): ("maxProperties", "entry"),
    ("bytes", "min_length"): (None, "byte"),
    ("bytes", "max_length"): (None, "byte"),
}
_TIGHTER: dict[str, Callable[[Any, Any], Any]] = {
    **dict.fromkeys(("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), max),
    **dict.fromkeys(("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), min),
}


@frozen(eq=False)
class Rule:
    """A condition that a value has to meet.

    Attributes:
        words: It, after "expected".
        test: Whether a value meets it.
        keyword, limit: How the schema says it; None if JSON Schema has no word for it, so that the description has to.
    """

    words: str
    test: Callable[[Any], bool]
    keyword: str | None = None
    limit: Any = None

    def apply(self, loaded: Any, value: Any) -> Any:
        """Return the value, or raise `Refused`."""
        if not self.test(loaded):
            raise Refused(self.words, value)
        return loaded


@frozen(eq=False)
class _Change:
    """A function of the program that checks or changes the value: pydantic's `AfterValidator`."""

    apply_to: Callable[[Any], Any]
    words: str | None = None
    keyword: str | None = None
    limit: Any = None

    def apply(self, loaded: Any, _: Any) -> Any:
        return self.apply_to(loaded)


def rule_for(shape: Shape, name: str, limit: Any) -> Rule | _Change:
    """The rule of a constraint on the values of a shape.

    Raises:
        TypeError: It says nothing about them.
    """
    rule = _Change(limit) if name == "after" else _rule(shape.sort, name, limit)
    if rule is None:
        raise TypeError(f"the constraint {name}={limit!r} says nothing about {shape.label()}")
    return rule


def _rule(sort: str | None, name: str, limit: Any) -> Rule | None:
    if name == "predicate":
        words = getattr(limit, "__qualname__", None) or repr(limit)
        return Rule(f"a value for which {words} is true", limit)
    if name in _BOUNDS and sort in {"number", "ordered", "any"}:
        keyword, sign, compare = _BOUNDS[name]
        test = functools.partial(_is_within, compare, limit, sort == "any")
        return Rule(f"{sign} {limit}", test, *_said(sort, keyword, limit))
    if name in _LENGTHS and (sort, name) in _LENGTH_WORDS:
        compare, least = _LENGTHS[name]
        word, unit = _LENGTH_WORDS[sort or "", name]
        plural = unit if limit == 1 else "entries" if unit == "entry" else f"{unit}s"
        return Rule(f"{least} {limit} {plural}", lambda value: compare(len(value), limit), word, limit)
    if name == "one_of" and sort in {"text", "number"} and (choices := _choices(sort, limit)):
        return Rule(f"one of {', '.join(map(json_notation, choices))}", lambda value: value in choices, "enum", choices)
    if name == "pattern" and sort == "text":
        text = getattr(limit, "pattern", limit)
        return Rule(f"a string that matches {text!r}", functools.partial(_matches, re.compile(limit)), "pattern", text)
    if name == "multiple_of" and sort in {"number", "ordered"}:
        return Rule(f"a multiple of {limit}", functools.partial(_is_multiple, limit), *_said(sort, "multipleOf", limit))
    if name == "tz" and sort == "ordered":
        words = "without a time zone" if limit is None else "with a time zone"
        return Rule(words, lambda value: (value.tzinfo is None) is (limit is None))
    return None


def _said(sort: str | None, keyword: str, limit: Any) -> tuple[str | None, Any]:
    """The keyword and its value in JSON; none for what is written as text."""
    if sort == "ordered":
        return None, None
    return keyword, limit if isinstance(limit, (int, float)) else int(limit) if limit == int(limit) else float(limit)


def _choices(sort: str, options: Iterable[Any]) -> list[Any]:
    """The options of the sort, in an order that is always the same."""
    kinds: tuple[type, ...] = (str,) if sort == "text" else (int, float)
    found = [option for option in options if type(option) in kinds]
    return found if isinstance(options, (list, tuple)) else sorted(found)


def _is_within(compare: Callable[[Any, Any], bool], limit: Any, numbers_only: bool, value: Any) -> bool:  # noqa: FBT001
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return (numbers_only and not is_number) or compare(value, limit)


def _matches(pattern: re.Pattern[str], value: str) -> bool:
    return pattern.search(value) is not None


def _is_multiple(limit: Any, value: Any) -> bool:
    if isinstance(value, (int, float, Decimal)):
        return Decimal(str(value)) % Decimal(str(limit)) == 0  # 0.3 is a multiple of 0.1, though not in binary
    return not value % limit


@define(eq=False)
class Refined(Shape):
    """A shape with constraints and a description."""

    inner: Shape
    rules: list[Rule | _Change]
    about: dict[str, Any]

    @property
    @override
    def words(self) -> str:  # type: ignore[override]
        return self.inner.words

    @property
    @override
    def sort(self) -> str | None:  # type: ignore[override]
        return self.inner.sort

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        loaded = self.inner.load(value, reading)
        for rule in self.rules:
            loaded = rule.apply(loaded, value)
        return loaded

    @override
    def schema(self, definitions: Definitions) -> Schema:
        schema = dict(self.inner.schema(definitions))
        untold = [rule.words for rule in self.rules if rule.keyword is None and rule.words]
        for rule in self.rules:
            if rule.keyword is not None:
                _narrow(schema, rule.keyword, rule.limit)
        about = dict(self.about)
        if untold:
            told = about.get("description") or schema.get("description")
            about["description"] = ". ".join([told.rstrip("."), *untold] if told else untold)
        return described(schema, about)

    @override
    def rank(self, value: Any) -> float | None:
        return self.inner.rank(value)

    @override
    def takes_null(self) -> bool:
        return self.inner.takes_null()

    @override
    def tags(self) -> dict[str, tuple[list[Any], bool]] | None:
        return self.inner.tags()

    @override
    def label(self) -> str:
        return self.inner.label()


def described(schema: Schema, about: Schema) -> Schema:
    """`schema` with further keywords; a reference gets them around it, since vendors take none beside it."""
    if not about:
        return schema
    return {"anyOf": [schema], **about} if "$ref" in schema else {**schema, **about}


def _narrow(schema: Schema, keyword: str, limit: Any) -> None:
    if keyword not in schema or keyword in _TIGHTER:
        schema[keyword] = _TIGHTER[keyword](schema[keyword], limit) if keyword in schema else limit
    elif schema[keyword] != limit:
        schema.setdefault("allOf", []).append({keyword: limit})
