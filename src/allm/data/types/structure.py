"""Structure a model's JSON into users' types, and report every problem in words that the model can act on.

It is strict: a model that sends `"7"` for an int gets an error with the value, and can correct it. The core is
`data/structuring`; `scalars.py` and `classes.py` add hooks for users' types.
"""

from __future__ import annotations

import enum
import functools
import re
import types
import typing
from decimal import Decimal
from typing import Any, TypeVar

import cattrs

from allm.data.errors import Path, Problem, ValidationError
from allm.data.json.text import JsonTextError, loads
from allm.data.structuring import SEQUENCES, Key, Misfit, origin_of, problems_of, strict_converter
from allm.data.types.classes import is_named_tuple, register_classes
from allm.data.types.scalars import TEXT_FORMS, register_scalars

__all__ = ["NotStructured", "parse_text", "structure"]

T = TypeVar("T")

_FENCED = re.compile(r"\s*```(?:json)?\s*\n(?P<inside>.*)\n\s*```\s*", re.DOTALL | re.IGNORECASE)
"""A JSON document in a Markdown code fence, as models write it that are not constrained to a schema."""


class NotStructured(Exception):
    """A value does not fit its type.

    Attributes:
        found: The path and the message of every problem.
    """

    def __init__(self, found: list[tuple[Path, str]]) -> None:
        self.found = found
        super().__init__("; ".join(f"{where.lstrip('.')}: {what}" if where else what for where, what in self.problems))

    @property
    def problems(self) -> list[tuple[str, str]]:
        """The same with paths as text: `.address.zip`, `[0].name`, `['key']`."""
        return [("".join(map(_written, path)), what) for path, what in self.found]


def structure(value: Any, hint: Any) -> Any:
    """Structure `value`, which is parsed JSON, as an instance of the type `hint`.

    Raises:
        NotStructured: It does not fit; with every problem, at most twenty per list or object.
    """
    try:
        return _converter().structure(value, hint)
    except Exception as error:  # cattrs raises what its hooks raise
        raise NotStructured(list(problems_of(error, _tell))) from error


def parse_text(text: str, hint: type[T]) -> T:
    """Parse the JSON document in `text`, with or without a Markdown code fence, as an instance of `hint`.

    Raises:
        ValidationError: Not JSON, or JSON that does not fit (`reason="invalid_output"`), with every problem.
    """
    name = getattr(hint, "__name__", str(hint))
    try:
        value = loads(fenced["inside"] if (fenced := _FENCED.fullmatch(text)) else text)
    except JsonTextError as error:
        sentence = f"the response is not the JSON of a {name}: {error}. It begins with {text[:80]!r}"
        raise ValidationError([Problem((), "not_json", sentence)], reason="invalid_output") from error
    try:
        return structure(value, hint)  # type: ignore[no-any-return]
    except NotStructured as error:
        raise ValidationError(
            [Problem(tuple(map(_plain, path)), "malformed_value", what) for path, what in error.found],
            reason="invalid_output",
            message=f"the response is JSON but not a valid {name}: {error}",
        ) from error


MAX_HOOKS = 200
"""Most types whose hooks are kept: more than a program with a fixed set of types uses often. One that makes a class for
each request keeps this many alive. A hook that is needed again is made again, which takes about a millisecond."""


@functools.cache
def _converter() -> cattrs.Converter:
    """The converter for users' types."""
    made = strict_converter(refuse_unknown=True, most_hooks=MAX_HOOKS)
    register_scalars(made)
    register_classes(made)
    return made


# --- messages -----------------------------------------------------------------------------------------------------

_NAMES: dict[Any, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    Decimal: "a decimal number",
    None: "null",
    types.NoneType: "null",
}


def _plain(step: str | int) -> str | int:
    return str(step) if isinstance(step, str) else step


def _written(step: str | int) -> str:
    if isinstance(step, Key):
        return f"[{step!r:.60}]"
    return f"[{step}]" if isinstance(step, int) else f".{step}"


def _tell(error: BaseException, _: Path) -> str:
    if isinstance(error, Misfit):
        return f"expected {_expected(error.expected)}, got {_shown(error.value)}"
    if isinstance(error, cattrs.StructureHandlerNotFoundError):
        return f"the type {getattr(error.type_, '__name__', error.type_)!r:.60} cannot be written as JSON"
    if isinstance(error, KeyError):
        return f"required field {error} is missing"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"unknown field {', '.join(repr(name) for name in sorted(error.extra_fields))}"
    return str(error) or type(error).__name__


def _shown(value: Any) -> str:
    """The value in JSON notation, cut to the length a model needs to find its mistake."""
    shown = f"{value!r:.60}"
    return {"None": "null", "True": "true", "False": "false"}.get(shown, shown)


def _expected(hint: Any) -> str:
    """A description of the type's values in JSON."""
    if typing.get_origin(hint) is typing.Annotated:
        return _expected(hint.__origin__)
    origin = origin_of(hint)
    if origin in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(hint) if option is not types.NoneType]
        return " or ".join(dict.fromkeys(map(_expected, options)))
    if origin is typing.Literal:
        return f"one of {', '.join(map(repr, typing.get_args(hint)))}"
    if isinstance(origin, type) and issubclass(origin, enum.Enum):
        return f"one of {', '.join(repr(member.value) for member in origin)}"
    if origin in SEQUENCES or is_named_tuple(origin):
        return "a list"
    return _NAMES.get(origin) or (TEXT_FORMS[origin][1] if origin in TEXT_FORMS else "an object")
