"""Moderation of texts and images by a provider's content rules: the request, and the results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from allm.data.attrs_classes import frozen
from allm.data.image import Image
from allm.data.problems import Problem, mapping_field, wrong_type

__all__ = [
    "ModerationInput",
    "ModerationRequest",
    "ModerationResponse",
    "ModerationResult",
    "moderation_problems",
]

ModerationInput = str | Image


def _inputs(value: Any) -> Any:
    if isinstance(value, str | Image):
        return (value,)
    if not isinstance(value, Iterable) or isinstance(value, bytes | bytearray | Mapping):
        return value
    return tuple(value)


@frozen
class ModerationRequest:
    """A request for moderation. Texts alone get one result each; texts and images together get a single result.

    Attributes:
        inputs: Texts and images; a single one need not be in a list.
        options: Fields merged over the provider's request body; they win over all others.
    """

    inputs: tuple[ModerationInput, ...] = attrs.field(converter=_inputs)
    model: str | None = attrs.field(default=None, kw_only=True)
    options: dict[str, Any] = mapping_field()
    metadata: dict[str, Any] = mapping_field()

    @property
    def has_images(self) -> bool:
        """Whether any input is an image, so that there is a single result for all of them."""
        return any(isinstance(item, Image) for item in self.inputs)


def _flags(value: Mapping[str, bool]) -> dict[str, bool]:
    return dict(value)


def _scores(value: Mapping[str, float]) -> dict[str, float]:
    return dict(value)


def _types(value: Mapping[str, Iterable[str]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(types) for name, types in value.items()}


@frozen(kw_only=True)
class ModerationResult:
    """One result. The names of categories are the provider's.

    Attributes:
        flagged: Whether the input breaks any of the provider's rules.
        categories: For each rule, whether it is broken.
        scores: The model's confidence for each rule, from 0 to 1. The threshold is the provider's, or yours.
        applied_input_types: The input types that each score considers: `text`, `image`. Empty for text-only models.
    """

    flagged: bool
    categories: dict[str, bool] = attrs.field(factory=dict, converter=_flags, hash=False)
    scores: dict[str, float] = attrs.field(factory=dict, converter=_scores, hash=False)
    applied_input_types: dict[str, tuple[str, ...]] = attrs.field(factory=dict, converter=_types, hash=False)

    @property
    def flagged_categories(self) -> tuple[str, ...]:
        """The names of the broken rules."""
        return tuple(name for name, broken in self.categories.items() if broken)


def _results(value: Iterable[ModerationResult]) -> tuple[ModerationResult, ...]:
    return tuple(value)


@frozen(kw_only=True)
class ModerationResponse:
    """The results, in the order of the texts, or a single one for texts and images together.

    Attributes:
        model: The model that responded, as the provider names it.
        id, request_id: The provider's ids of the response and of the HTTP request.
    """

    results: tuple[ModerationResult, ...] = attrs.field(default=(), converter=_results)
    model: str | None = None
    id: str | None = None
    request_id: str | None = None
    metadata: dict[str, Any] = mapping_field()

    @property
    def flagged(self) -> bool:
        """Whether any result is flagged."""
        return any(result.flagged for result in self.results)


def moderation_problems(request: ModerationRequest) -> list[Problem]:
    """The problems of a moderation request."""
    inputs: Any = request.inputs
    if not isinstance(inputs, tuple):
        return [wrong_type(("inputs",), inputs, "a text, an Image, or an iterable of them")]
    return list(_problems(request))


def _problems(request: ModerationRequest) -> Iterator[Problem]:
    if not request.inputs:
        yield Problem(("inputs",), "empty", "there is nothing to moderate")
    for index, item in enumerate(request.inputs):
        if not isinstance(item, str | Image):
            yield wrong_type(("inputs", index), item, "a text or an Image")
        elif item == "":
            yield Problem(("inputs", index), "empty", "an empty text cannot be moderated; leave it out")
    if request.model is not None and not isinstance(request.model, str):
        yield wrong_type(("model",), request.model, "str")
