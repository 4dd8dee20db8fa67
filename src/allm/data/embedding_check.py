"""Validation of embedding requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from allm.data.embedding import EmbeddingInput, EmbeddingRequest, EncodingFormat
from allm.data.image import Image
from allm.data.problems import Problem, shown, wrong_type

__all__ = ["field_problems", "input_problem", "request_problems", "text_size"]


def text_size(item: EmbeddingInput) -> int:
    """Bytes of text in an input: an upper bound of its tokens, for every tokenizer in use."""
    if isinstance(item, str):
        return len(item) if item.isascii() else len(item.encode("utf-8", "surrogatepass"))
    return 0 if isinstance(item, Image) else sum(text_size(part) for part in item)


def input_problem(index: int, item: Any) -> Problem | None:
    """The problem of the input at `index`, or None."""
    if type(item) is str and item:  # nearly always
        return None
    pieces = item if isinstance(item, tuple) else (item,)
    for piece in pieces:
        if not isinstance(piece, str | Image):
            expected = "a text, an Image, or a tuple of both (token ids are not sent)"
            return wrong_type(("inputs", index), piece, expected)
    if not pieces or "" in pieces:
        return Problem(("inputs", index), "empty", "an empty text has no vector; leave it out")
    return None


def request_problems(request: EmbeddingRequest) -> list[Problem]:
    """The problems of a request."""
    inputs: Any = request.inputs
    if not isinstance(inputs, tuple):
        return [wrong_type(("inputs",), inputs, "a text or an iterable of texts"), *field_problems(request)]
    if not inputs:
        return [Problem(("inputs",), "empty", "there is nothing to embed"), *field_problems(request)]
    found = (input_problem(index, item) for index, item in enumerate(inputs))
    return [problem for problem in found if problem is not None] + field_problems(request)


def field_problems(request: EmbeddingRequest) -> list[Problem]:
    """The problems of a request other than those of its inputs."""
    return list(_fields(request))


def _fields(request: EmbeddingRequest) -> Iterator[Problem]:
    dimensions = request.dimensions
    if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
        sentence = f"is {shown(dimensions)}; expected a vector length of 1 or more"
        yield Problem(("dimensions",), "must_be_positive" if type(dimensions) is int else "invalid_type", sentence)
    for name in ("model", "task_type", "user"):
        value = getattr(request, name)
        if value is not None and not isinstance(value, str):
            yield wrong_type((name,), value, "str")
    if request.encoding_format is not None and request.encoding_format not in get_args(EncodingFormat):
        sentence = f"is {shown(request.encoding_format)}; expected 'float' or 'base64'"
        yield Problem(("encoding_format",), "unknown", sentence)
