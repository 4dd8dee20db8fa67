"""Structure a model's JSON into users' types, and report every problem in words that the model can act on.

It is strict: a model that sends `"7"` for an int gets an error with the value, and can correct it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeVar

from typing_extensions import TypeForm

from allm.data.errors import Path, Problem, ValidationError
from allm.data.json.growing import answer_value
from allm.data.json.text import JsonTextError
from allm.data.structuring import Key, Misfit, problems_of
from allm.data.types.describe import shape_of
from allm.data.types.output import answer_shape
from allm.data.types.shapes import Reading, Shape, json_notation, name_of
from allm.data.types.unions import NoMember

__all__ = ["NotStructured", "invalid_output", "is_json", "load", "parse_text", "structure"]

T = TypeVar("T")


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
    return load(value, _known(shape_of, hint))


def _known(find: Callable[[Any], Shape], hint: Any) -> Shape:
    try:
        return find(hint)
    except TypeError as error:
        raise NotStructured([((), f"the type {name_of(hint):.60} cannot be written as JSON: {error}")]) from error


def load(value: Any, shape: Shape) -> Any:
    """Structure `value` as `shape` says; raises `NotStructured` like `structure`."""
    try:
        return shape.load(value, Reading())
    except RecursionError as error:
        raise NotStructured([((), "the JSON is nested too deeply")]) from error
    except Exception as error:  # shapes raise what the constructors of classes raise
        raise NotStructured(list(problems_of(error, _tell))) from error


def parse_text(text: str, hint: TypeForm[T], shape: Shape | None = None) -> T:
    """Parse the JSON document in `text`, which may be in a code fence or between sentences, as an instance of `hint`.

    A type that is no object in JSON may stand in `{"value": ...}`, as it is asked for.

    Args:
        text: The answer.
        hint: The type.
        shape: That of the whole answer, where it is known.

    Raises:
        ValidationError: Not JSON, or JSON that does not fit (`reason="invalid_output"`), with every problem.
    """
    name = name_of(hint)
    try:
        value = answer_value(text)
    except JsonTextError as error:
        sentence = f"the response is not JSON for {name}: {error}. It begins with {text[:80]!r}"
        raise ValidationError([Problem((), "not_json", sentence)], reason="invalid_output") from error
    try:
        return load(value, shape or _known(answer_shape, hint))  # type: ignore[no-any-return]
    except NotStructured as error:
        raise invalid_output(error, f"the response is JSON but not a valid {name}: {error}") from error


def invalid_output(found: NotStructured, message: str) -> ValidationError:
    """The error of an answer whose JSON does not fit its type."""
    problems = [Problem(tuple(map(_plain, path)), "malformed_value", what) for path, what in found.found]
    return ValidationError(problems, reason="invalid_output", message=message)


def is_json(text: str) -> bool:
    """Whether `text` has a JSON document, as `parse_text` finds it."""
    try:
        answer_value(text)
    except JsonTextError:
        return False
    return True


_MAX_MEMBERS = 5  # of a union, in one message
_MAX_SHOWN = 2  # problems of each


# --- messages -----------------------------------------------------------------------------------------------------


def _plain(step: str | int) -> str | int:
    return str(step) if isinstance(step, str) else step


def _written(step: str | int) -> str:
    if isinstance(step, Key):
        return f"[{step!r:.60}]"
    return f"[{step}]" if isinstance(step, int) else f".{step}"


def _tell(error: BaseException, _: Path) -> str:
    if isinstance(error, Misfit):
        return f"expected {error.expected}, got {json_notation(error.value)}"
    if isinstance(error, NoMember):
        tried = [f"as {name}: {_in_short(inner)}" for name, inner in error.failures[:_MAX_MEMBERS]]
        more = [f"and {count} more"] if (count := len(error.failures) - _MAX_MEMBERS) > 0 else []
        return "it fits none of the types; " + "; ".join(tried + more)
    if isinstance(error, KeyError):
        return f"required field {error} is missing"
    return str(error) or type(error).__name__


def _tell_inside(error: BaseException, path: Path) -> str:
    """The same without the members of unions in unions, whose number doubles with each level."""
    return "it fits none of the types" if isinstance(error, NoMember) else _tell(error, path)


def _in_short(error: BaseException) -> str:
    """The first problems of a member of a union."""
    found = NotStructured(list(itertools.islice(problems_of(error, _tell_inside), _MAX_SHOWN)))
    return f"{found!s:.200}"
