"""An `ImageRequest` as the body of `generateContent` (https://ai.google.dev/gemini-api/docs/image-generation)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from allm.adapters import Origin, Problem, UnusableMediaError, refuse
from allm.data.image_request import ImageRequest
from allm.providers.gemini.file_parts import FileEncoder

__all__ = ["encode_image"]

RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
TOLERANCE = 0.05
"""Share by which a size in pixels may miss a ratio: 1792x1024 counts as 16:9."""
NOT_TAKEN = ("quality", "style", "background", "output_format", "response_format", "user")


def encode_image(request: ImageRequest) -> dict[str, Any]:
    """The request body. `request.options` win over it; `generationConfig` and `imageConfig` in it are merged.

    A size becomes an aspect ratio, as the model chooses the pixels; `{"imageConfig": {"imageSize": "2K"}}` inside the
    option `generationConfig` asks for more of them.

    Raises:
        ValidationError: What Gemini does not take; all problems at once.
    """
    problems: list[Problem] = []
    if request.operation == "variation":
        sentence = "Gemini makes no variations; use edit_image and say what should change"
        problems.append(Problem(("operation",), "unsupported_operation", sentence))
    if request.mask is not None:
        sentence = "Gemini takes no mask; say in the prompt what should change"
        problems.append(Problem(("mask",), "unsupported_option", sentence))
    problems += [
        Problem((name,), "unsupported_option", "Gemini does not take it; leave it out")
        for name in NOT_TAKEN
        if getattr(request, name) is not None
    ]
    config: dict[str, Any] = {"responseModalities": ["TEXT", "IMAGE"]}
    if (ratio := _ratio(request.size, problems)) is not None:
        config["imageConfig"] = {"aspectRatio": ratio}
    if request.n is not None and request.n > 1:
        config["candidateCount"] = request.n
    parts = [{"text": request.prompt or ""}, *_images(request, problems)]
    refuse(problems)
    return _merged(
        {"contents": [{"role": "user", "parts": parts}], "generationConfig": config},
        request.options,
    )


def _images(request: ImageRequest, problems: list[Problem]) -> list[dict[str, Any]]:
    encoder = FileEncoder(Origin("gemini"))
    parts: list[dict[str, Any]] = []
    for index, image in enumerate(request.images):
        try:
            parts.append(encoder.encode(image))
        except UnusableMediaError as error:
            problems.append(Problem(("images", index), error.tag, str(error)))
    return parts


def _ratio(size: str | None, problems: list[Problem]) -> str | None:
    if size is None or size == "auto":
        return None
    width, height = (int(side) for side in size.split("x"))
    nearest = min(RATIOS, key=lambda ratio: abs(width / height / _value(ratio) - 1))
    if abs(width / height / _value(nearest) - 1) > TOLERANCE:
        sentence = f"{size} is none of the shapes that Gemini draws: {', '.join(RATIOS)}"
        problems.append(Problem(("size",), "unsupported_size", sentence))
    return nearest


def _value(ratio: str) -> float:
    width, height = ratio.split(":")
    return int(width) / int(height)


def _merged(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(body)
    for name, value in options.items():
        inner: Any = merged.get(name)
        if name in {"generationConfig", "imageConfig"} and isinstance(inner, dict) and isinstance(value, Mapping):
            value = _merged(cast("dict[str, Any]", inner), cast("Mapping[str, Any]", value))
        merged[name] = value
    return merged
