"""The shape of a union: which member a value belongs to, decided without losing anything.

For a value, the members of its kind are tried in this order:

1. a Literal or enum that has it, then the scalar of exactly its type: 1 in `float | int` is an int, and a text in
   `date | str` stays a text;
2. the other number, then types written as text, in the order of `texts`: `2024-01-31` in `datetime | date` is a date;
3. classes, of which one is chosen by its tag if there is one: a field that is a Literal in each, with values of its
   own. Without a tag, the class with all of the fields and the fewest left to their defaults;
4. lists and dictionaries, in the order they are written.

Every member is first asked to take the value exactly, at every depth, so that `[1.0]` in `list[int] | list[float]` is a
list of floats; only if none does may 1.0 be an integer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
from typing_extensions import override

from allm.data.attrs_classes import define
from allm.data.structuring import Misfit, Misfits, same_json
from allm.data.types.shapes import NO_KEYS, Definitions, Reading, Refused, Schema, Shape, json_notation

__all__ = ["NoMember", "Union", "flat"]


class NoMember(Exception):
    """A value fits no member of a union; has the exception of each member of its kind, with a name for it."""

    def __init__(self, value: Any, failures: Sequence[tuple[str, Exception]]) -> None:
        super().__init__(value, failures)
        self.value = value
        self.failures = failures


@define(eq=False)
class Union(Shape):
    """One of several shapes, and perhaps null."""

    members: Sequence[Shape]
    nullable: bool = False
    _tag: tuple[str, dict[int, list[Any]]] | bool | None = attrs.field(default=False, alias="tag")

    @property
    @override
    def words(self) -> str:  # type: ignore[override]
        return " or ".join(dict.fromkeys(member.words for member in self.members))

    @override
    def takes_null(self) -> bool:
        return self.nullable or any(member.takes_null() for member in self.members)

    @override
    def rank(self, value: Any) -> float | None:
        if value is None and self.nullable:
            return 0
        ranks = [rank for member in self.members if (rank := member.rank(value)) is not None]
        return min(ranks) if ranks else None

    @override
    def schema(self, definitions: Definitions) -> Schema:
        schemas = [member.schema(definitions) for member in self.members]
        about: Schema = {}
        if len(schemas) == 1:  # `Annotated[int, "text"] | None` is described like `Annotated[int | None, "text"]`
            about = {key: schemas[0].pop(key) for key in ("title", "description") if key in schemas[0]}
            if "anyOf" in schemas[0] and len(schemas[0]) == 1:
                schemas = list(schemas[0]["anyOf"])
        if self.nullable:
            schemas.append({"type": "null"})
        different = [schema for index, schema in enumerate(schemas) if schema not in schemas[:index]]
        return {**about, **({"anyOf": different} if len(different) > 1 else different[0])}

    @override
    def load(self, value: Any, reading: Reading) -> Any:
        if value is None and self.nullable:
            return None
        if len(self.members) == 1:
            return self.members[0].load(value, reading)
        if not isinstance(value, (dict, list)):
            return self._load(value, reading)
        # Members may have unions inside that contain this one: without a memo, each level would double the work.
        key = (id(value), id(self), reading.exact)
        if key not in reading.memo:
            try:
                found = (True, self._load(value, reading))
            except RecursionError:
                raise
            except Exception as error:
                found = (False, error)
            reading.memo[key] = (value, *found)  # with the value, so that no other one gets its id
        _, fits, outcome = reading.memo[key]
        if not fits:
            raise outcome
        return outcome

    def _load(self, value: Any, reading: Reading) -> Any:
        candidates = self._candidates(value)
        if len(candidates) == 1:
            return self._only(candidates[0], value, reading)
        failures: list[Exception] = []
        for exact in (True,) if reading.exact else (True, False):
            failures = []
            for member in candidates:
                try:
                    return member.load(value, Reading(exact, reading.memo))
                except RecursionError:
                    raise
                except Exception as error:
                    failures.append(error)
        kept = [
            (member.label(), error) for member, error in zip(candidates, failures, strict=True) if not _is_kind(error)
        ]
        if not kept:
            raise Misfit(self.words, value)
        if len(kept) == 1:
            raise kept[0][1]
        raise NoMember(value, kept)

    def _only(self, member: Shape, value: Any, reading: Reading) -> Any:
        try:
            return member.load(value, reading)
        except Misfit as error:
            raise error if not _is_kind(error) else Misfit(self.words, value) from error

    def _candidates(self, value: Any) -> list[Shape]:
        """The members for a value, in the order they are tried."""
        members = self._tagged(value) if isinstance(value, dict) else self.members
        ranked = [(rank, member) for member in members if (rank := member.rank(value)) is not None]
        if any(rank < NO_KEYS for rank, _ in ranked):  # then a class that lacks one of the keys cannot fit
            ranked = [(rank, member) for rank, member in ranked if rank != NO_KEYS]
        return [member for _, member in sorted(ranked, key=lambda pair: pair[0])]

    def _tagged(self, value: dict[str, Any]) -> Sequence[Shape]:
        """The members that the value's tag leaves; an unknown tag is an error that lists those there are."""
        if self._tag is False:
            self._tag = _tag_of(self.members)
        if not isinstance(self._tag, tuple):
            return self.members
        name, values_of = self._tag
        others = [member for index, member in enumerate(self.members) if index not in values_of]
        if name not in value:
            untold = [m for i, m in enumerate(self.members) if i in values_of and not _required(m, name)]
            if untold or any(member.rank(value) is not None for member in others):
                return [*untold, *others]
            raise Misfits([((name,), KeyError(name))])
        for index, tags in values_of.items():
            if any(same_json(tag, value[name]) for tag in tags):
                return [self.members[index], *others]
        if others and any(member.rank(value) is not None for member in others):
            return others
        known = ", ".join(json_notation(tag) for tags in values_of.values() for tag in tags)
        raise Misfits([((name,), Misfit(f"one of {known}", value[name]))])


def _is_kind(error: BaseException) -> bool:
    """Whether the value is of another kind than expected, so that the error says nothing about its content."""
    return isinstance(error, Misfit) and not isinstance(error, Refused)


def _required(member: Shape, name: str) -> bool:
    return (member.tags() or {})[name][1]


def _tag_of(members: Sequence[Shape]) -> tuple[str, dict[int, list[Any]]] | None:
    """The field that tells the classes among the members apart, and its values for each."""
    tags = {index: found for index, member in enumerate(members) if (found := member.tags()) is not None}
    if len(tags) < 2:  # noqa: PLR2004
        return None
    for name in next(iter(tags.values())):
        if all(name in found for found in tags.values()):
            values = [value for found in tags.values() for value in found[name][0]]
            if not any(same_json(one, other) for at, one in enumerate(values) for other in values[:at]):
                return name, {index: list(found[name][0]) for index, found in tags.items()}
    return None


def flat(shapes: Sequence[Shape]) -> tuple[list[Shape], bool]:
    """The members of a union with those of unions in it, and whether one of them is null alone."""
    members: list[Shape] = []
    nullable = False
    for shape in shapes:
        if isinstance(shape, Union):
            members += shape.members
            nullable = nullable or shape.nullable
        else:
            members.append(shape)
    return members, nullable
