"""Conversion of classes whose fields say too little for cattrs: content, images, tools, halts."""

from __future__ import annotations

import base64
from types import NoneType
from typing import Any, cast, get_args

import attrs
import cattrs

from allm.data.content import Part
from allm.data.image import Image
from allm.data.json.document import json_problem
from allm.data.json.tags import register, register_union
from allm.data.results import CallHalt, HaltCause, HaltedReason
from allm.data.structuring import Misfit, sequence
from allm.data.tool import Tool

__all__ = ["load_bytes", "register_classes"]


def register_classes(converter: cattrs.Converter) -> None:
    """Register the hooks of this module; those of `Part` have to be there before."""
    for register_one in (_content, _image, _tool, _halts):
        register_one(converter)


def load_bytes(value: Any, _: Any = None) -> bytes:
    """Bytes, which are base64 where they come from a text."""
    if type(value) is bytes:
        return value
    if not isinstance(value, str):
        raise Misfit("base64 text", value)
    return base64.b64decode(value, validate=True)


def _content(converter: cattrs.Converter) -> None:
    content = str | tuple[Part, ...]

    def unstructure(value: Any) -> Any:
        return value if isinstance(value, str) else [converter.unstructure(part, unstructure_as=Part) for part in value]

    def structure(value: Any, _: Any) -> Any:
        if isinstance(value, str):
            return value
        return tuple(sequence(value, lambda part: converter.structure(part, cast("Any", Part))))

    register(converter, content, unstructure, structure)


def _image(converter: cattrs.Converter) -> None:
    source = attrs.fields(attrs.resolve_types(Image)).source.type
    kinds = {"bytes", "base64", "url", "file"}

    def unstructure(value: tuple[str, str | bytes]) -> dict[str, str | bytes]:
        kind, data = value
        if isinstance(data, bytes) is not (kind == "bytes"):  # which one it is could not be told from base64
            raise TypeError(f"an image's source is {kind!r:.60} with {type(data).__name__}")
        return {"type": kind, "value": data}

    def structure(value: Any, _: Any) -> Any:
        kind, data = (value.get("type"), value.get("value")) if isinstance(value, dict) else (None, None)
        if kind not in kinds or not isinstance(data, bytes if type(data) is bytes and kind == "bytes" else str):
            raise ValueError(f'expected {{"type": one of {", ".join(sorted(kinds))}, "value": text}}')
        return (kind, load_bytes(data) if kind == "bytes" else data)

    register(converter, source, unstructure, structure)


def _halts(converter: cattrs.Converter) -> None:
    for cause in (HaltCause | None, CallHalt | None):
        register_union(converter, cause, {cls.__name__: cls for cls in get_args(cause) if cls is not NoneType})
    # A union of literals and str, which cattrs cannot tell apart.
    register(converter, HaltedReason, lambda reason: reason, lambda value, _: converter.structure(value, str))


def _tool(converter: cattrs.Converter) -> None:
    """A tool with a handler is rejected: without it the tool that is read would behave differently."""
    dump = converter.get_unstructure_hook(Tool)

    def unstructure(tool: Tool) -> Any:
        if tool.handler is not None:
            raise json_problem(
                "not_serialisable",
                f"tool {tool.name!r} has a handler, which cannot be serialised: evolve it with handler=None",
            )
        return dump(tool)

    converter.register_unstructure_hook(Tool, unstructure)
