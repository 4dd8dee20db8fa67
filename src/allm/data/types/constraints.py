"""Constraints and descriptions in `Annotated`, of annotated_types, msgspec and pydantic: told, and enforced."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from allm.data.attrs_classes import define, frozen

__all__ = ["AttrsValidator", "Notes", "notes_of"]

_LIBRARIES = frozenset({"annotated_types", "msgspec", "pydantic", "annotated_doc", "typing_extensions", "typing"})
_LIMITS = ("ge", "gt", "le", "lt", "min_length", "max_length", "multiple_of", "pattern")
_PARTS = {"AfterValidator": ("after", "func"), "Predicate": ("predicate", "func"), "Timezone": ("tz", "tz")}
_OWN_TO_PYDANTIC = frozenset({"pattern", "strict", "union_mode", "allow_inf_nan"})
"""The settings of pydantic's that are a constraint here, or hold anyway; any other one is left to pydantic."""


@frozen(eq=False)
class AttrsValidator:
    """Marks the validator of a field of attrs, as one of its notes."""

    validator: Any


@define(eq=False)
class Notes:
    """What the metadata of one `Annotated` says.

    Attributes:
        limits: Constraints by name, in their order.
        by_class: Constraints that the class enforces as well; those that say nothing about the type are its own affair.
        about: Keywords for the schema: `description`, `title`, `examples`, extra ones.
        is_foreign: Whether some of it only pydantic understands.
    """

    limits: list[tuple[str, Any]] = attrs.field(factory=list)
    by_class: list[tuple[str, Any]] = attrs.field(factory=list)
    about: dict[str, Any] = attrs.field(factory=dict)
    is_foreign: bool = False

    def __bool__(self) -> bool:
        return bool(self.limits or self.by_class or self.about or self.is_foreign)


def notes_of(metadata: Iterable[Any]) -> Notes:
    """Read the metadata of an `Annotated`, or a pydantic `FieldInfo`; what is of other libraries is left out."""
    notes = Notes()
    for item in metadata:
        _read(item, notes)
    return notes


def _read(item: Any, notes: Notes) -> None:
    if isinstance(item, str):
        notes.about.setdefault("description", item)
        return
    if isinstance(item, AttrsValidator):
        notes.by_class += _limits_of_validator(item.validator)
        return
    if not any(base.__module__.partition(".")[0] in _LIBRARIES for base in type(item).__mro__):
        return
    kind = type(item).__name__
    if kind in _PARTS:
        name, attribute = _PARTS[kind]
        notes.limits.append((name, getattr(item, attribute)))
    elif kind == "FieldInfo" or hasattr(item, "extra_json_schema"):
        _read_described(item, notes)
    elif hasattr(item, "__get_pydantic_core_schema__") and kind not in {"Strict", "StringConstraints"}:
        notes.is_foreign = True
    elif hasattr(item, "documentation"):
        notes.about.setdefault("description", item.documentation)
    elif hasattr(item, "__iter__"):  # a group, such as `Interval`
        for inner in item:
            _read(inner, notes)
    else:
        _read_limits(item, kind, notes)


def _read_limits(item: Any, kind: str, notes: Notes) -> None:
    if kind == "_PydanticGeneralMetadata":
        settings = {key: value for key, value in vars(item).items() if value is not None}
        notes.is_foreign |= not settings.keys() <= _OWN_TO_PYDANTIC
        notes.limits += [("pattern", settings["pattern"])] if "pattern" in settings else []
    elif kind not in {"Strict", "AllowInfNan"} and not _plain_limits(item, notes):
        notes.is_foreign |= type(item).__module__.startswith("pydantic")


def _read_described(item: Any, notes: Notes) -> None:
    """A pydantic `FieldInfo`, or msgspec's `Meta`."""
    for name in ("title", "description", "examples"):
        if (value := getattr(item, name, None)) is not None:
            notes.about.setdefault(name, value)
    extra = getattr(item, "extra_json_schema", None) or getattr(item, "json_schema_extra", None)
    if isinstance(extra, dict):
        notes.about.update(extra)
    for inner in getattr(item, "metadata", ()):
        _read(inner, notes)
    if hasattr(item, "extra_json_schema"):
        _plain_limits(item, notes)
        if (tz := item.tz) is not None:
            notes.limits.append(("tz", ... if tz else None))


def _limits_of_validator(validator: Any) -> list[tuple[str, Any]]:
    """The constraints that a validator of attrs stands for: the class enforces them, so the schema has to tell them.

    One that a schema has no word for, such as a function of the program, is the class's alone.
    """
    kind = type(validator).__name__
    if not type(validator).__module__.startswith("attr."):
        return []
    if kind == "_AndValidator":
        return [limit for inner in validator._validators for limit in _limits_of_validator(inner)]
    if kind == "_OptionalValidator":
        return _limits_of_validator(validator.validator)
    if kind == "_DeepIterable":
        return _limits_of_validator(validator.iterable_validator)
    if kind == "_InValidator":
        # May be any container, such as a text, whose parts are in it too. What was a set is now a tuple in any order.
        options = getattr(validator, "_original_options", validator.options)
        return [("one_of", options)] if isinstance(options, (list, tuple, set, frozenset)) else []
    if kind == "_NumberValidator":
        names = {">=": "ge", ">": "gt", "<=": "le", "<": "lt"}
        return [(names[validator.compare_op], validator.bound)]
    if kind == "_MatchesReValidator":
        pattern = validator.pattern.pattern
        whole = validator.match_func == validator.pattern.fullmatch
        return [("pattern", f"^(?:{pattern})$")] if whole else []
    names = {"_MaxLengthValidator": "max_length", "_MinLengthValidator": "min_length"}
    return [(names[kind], getattr(validator, names[kind]))] if kind in names else []


def _plain_limits(item: Any, notes: Notes) -> bool:
    found = [(name, value) for name in _LIMITS if (value := getattr(item, name, None)) is not None]
    found = [(name, value) for name, value in found if (name, value) != ("min_length", 0)]
    notes.limits += found
    return bool(found) or any(hasattr(item, name) for name in _LIMITS)
