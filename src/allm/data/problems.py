"""What is wrong with a request: all of it, in one error."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from allm.data.errors import Path, ValidationError, render_path

__all__ = ["Problem", "UnusableImageError", "refuse"]


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
        raise ValidationError(
            [(problem.path, problem.tag) for problem in problems],
            reason="invalid_request",
            message="; ".join(f"{render_path(problem.path)}: {problem.sentence}" for problem in problems),
        )


class UnusableImageError(Exception):
    """Why an image cannot be sent: the `tag` of the problem, and a sentence."""

    def __init__(self, tag: str, sentence: str) -> None:
        super().__init__(sentence)
        self.tag = tag
