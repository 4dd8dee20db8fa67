"""What is wrong with a request: all of it, in one error; and names that are none."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence

import attrs

from allm.data.errors import OptionError, Path, ValidationError, render_path

__all__ = ["Problem", "UnusableImageError", "check_names", "refuse", "unknown_option"]

MOST_SHOWN = 20
"""Problems in the text of an error, which has every one of them as a value: a list of 100,000 may be wrong all over."""


@attrs.frozen
class Problem:
    """Why a part of the request cannot be sent."""

    path: Path
    tag: str
    sentence: str


def refuse(problems: Sequence[Problem]) -> None:
    """Raise if there are problems.

    Raises:
        ValidationError: With every one of them.
    """
    if problems:
        shown = [f"{render_path(problem.path)}: {problem.sentence}" for problem in problems[:MOST_SHOWN]]
        if len(problems) > MOST_SHOWN:
            shown.append(f"and {len(problems) - MOST_SHOWN} more")
        errors = [(problem.path, problem.tag) for problem in problems]
        raise ValidationError(errors, reason="invalid_request", message="; ".join(shown))


def unknown_option(name: str, known: Collection[str]) -> OptionError:
    """The error of a name that is no option, with the nearest one of those that are."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {', '.join(sorted(known))}."
    return OptionError(
        f"unknown option {name!r}; {hint} Provider parameters go into options={{...}}",
        reason="unknown_option",
        option=name,
    )


def check_names(cls: type[attrs.AttrsInstance], names: Iterable[str]) -> None:
    """Refuse what is no field of `cls` that is given by its name.

    Raises:
        OptionError: Suggests the nearest one.
    """
    known = {field.name for field in attrs.fields(cls) if field.kw_only}
    for name in names:
        if name not in known:
            raise unknown_option(name, known)


class UnusableImageError(Exception):
    """Why an image cannot be sent: the `tag` of the problem, and a sentence."""

    def __init__(self, tag: str, sentence: str) -> None:
        super().__init__(sentence)
        self.tag = tag
