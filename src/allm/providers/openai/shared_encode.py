"""What the bodies of both endpoints have in common: images, tool choice, formats, sampling, merging the options.

https://platform.openai.com/docs/api-reference/chat/create, https://platform.openai.com/docs/api-reference/responses/create.
What differs from service to service is in its `Preset`.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from allm.adapters import Origin, Path, Problem, UnusableMediaError, as_object, base64_text, dumps
from allm.data.content import ImagePart, ToolCall
from allm.data.errors import ValidationError
from allm.data.request import Request
from allm.providers.openai.presets import Preset, is_bound

__all__ = [
    "COMPUTER_CALL",
    "CUSTOM_CALL",
    "IMAGE_CALL",
    "arguments_text",
    "call_id",
    "image_source",
    "image_url",
    "is_custom",
    "lacks",
    "own_name",
    "parameters",
    "sampling",
    "tool_choice",
    "with_options",
]

COMPUTER_CALL = "computer_call"
CUSTOM_CALL = "custom_tool_call"
"""Item type of a call whose input is free text; both decoders note it with the call, as it goes back in kind."""

IMAGE_CALL = "image_generation_call"
"""Item type of an image that the model made; `result` is its base64 text."""

INVALID_JSON = "INVALID_JSON"
"""The key of arguments that are not JSON, where an object is wanted; Anthropic documents it."""

_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""Perhaps half of a character, which is no UTF-8 once it is unescaped: servers fail at it."""

_SHORT_ID = 9  # characters: Mistral takes neither more nor fewer
_CHOICE_WORDS = frozenset({"auto", "none", "required"})

# https://platform.openai.com/docs/guides/images-vision#image-input-requirements. Other services take other formats.
_IMAGE_FORMATS = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})

# Keywords by which a schema is that of something: one without them, such as `{}`, is that of any object.
_SAY_WHAT = frozenset({"type", "properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"})

_ADDED = frozenset({"tools", "include"})
_MERGED = frozenset({"reasoning", "stream_options", "text"})


def is_custom(call: ToolCall, provider: str) -> bool:
    """Whether the input of a call is free text: a matter of the format, and no secret of who made the call."""
    return as_object(call.metadata.get(provider)).get("type") == CUSTOM_CALL


def arguments_text(call: ToolCall, preset: Preset) -> str:
    """The model's own text where there is one.

    It may not be JSON: OpenAI takes it back as it came, other servers parse it and refuse the conversation for ever
    (vLLM, llama.cpp), so that they get an object with the text in it.
    """
    if call.arguments is None and call.raw_arguments and not is_bound(preset):
        return dumps({INVALID_JSON: call.raw_arguments}).decode()
    raw = call.raw_arguments or ""
    if call.arguments is not None and (not raw.lstrip().startswith("{") or _ESCAPED_HALF.search(raw)):
        return dumps(dict(call.arguments)).decode()  # "null" and the like are not taken back by those who send them
    return raw or "{}"


def parameters(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema of a tool as OpenAI takes it: that of an object has `properties`, even where there are none.

    "Invalid schema for function: object schema missing properties" is the answer to `{"type": "object"}`, which MCP
    servers give for a tool without parameters.
    """
    says_nothing = not _SAY_WHAT.intersection(schema)
    if "properties" in schema or not (schema.get("type") == "object" or says_nothing):
        return schema
    return {**schema, "type": "object", "properties": {}}


@functools.lru_cache(maxsize=32)
def _pattern(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.DOTALL)


def call_id(given: str | None, preset: Preset) -> str | None:
    """The id of a call as the service takes it; what it refuses is changed, the same in a call and its result."""
    if given is None or preset.call_ids is None or _pattern(preset.call_ids).fullmatch(given):
        return given
    return hashlib.sha256(given.encode("utf-8", "surrogatepass")).hexdigest()[:_SHORT_ID]


def image_source(
    part: ImagePart, preset: Preset, origin: Origin, path: Path, problems: list[Problem]
) -> dict[str, Any] | None:
    """`image_url`, a `data:` URL for everything that has none, or `file_id`; None when it cannot be sent."""
    image = part.image
    try:
        if image.upload is not None:
            from allm.adapters import own_upload

            file = own_upload(image, origin)
            return None if file is None else {"file_id": file.id}
        if image.url is not None:
            return {"image_url": image.url}
        mime_type = image.resolved_mime_type()
        url = base64_text(image, f"data:{mime_type};base64,")
    except UnusableMediaError as error:
        problems.append(Problem(path, error.tag, str(error)))
        return None
    except ValidationError as error:
        problems.append(Problem(path, error.errors[0][1], str(error)))
        return None
    if is_bound(preset) and mime_type not in _IMAGE_FORMATS:
        sentence = f"OpenAI does not take {mime_type}; convert it to PNG, JPEG, WebP or GIF"
        problems.append(Problem(path, "unsupported_image_format", sentence))
        return None
    return {"image_url": url}


def image_url(part: ImagePart, preset: Preset, origin: Origin, path: Path, problems: list[Problem]) -> Any:
    """The image's URL, which Chat Completions wants; None when it cannot be sent."""
    source = image_source(part, preset, origin, path, problems)
    if source is not None and "file_id" in source:
        sentence = "Chat Completions takes no uploaded image; use endpoint='responses', or Image.from_file"
        problems.append(Problem(path, "unsupported_image_upload", sentence))
        return None
    return None if source is None else source["image_url"]


def tool_choice(request: Request, problems: list[Problem], *, nested: bool) -> Any:
    """`tool_choice` as the body has it; None where it is not sent.

    Args:
        request: Whose choice.
        problems: Takes what is wrong with it.
        nested: The name of a function is one level down, as in Chat Completions. A mapping in the other form is put
            into this one, as `endpoint="auto"` may take a call to either.
    """
    choice = request.tool_choice
    if isinstance(choice, Mapping):
        return _choice_mapping(dict(choice), nested=nested)
    names = {tool.name for tool in request.tools}
    if choice is None or choice in _CHOICE_WORDS:
        if names or request.options.get("tools"):
            return choice
        if choice == "required":
            problems.append(Problem(("tool_choice",), "requires_tools", "a call is required, but there are no tools"))
        return None  # without tools, the API refuses the field
    if choice not in names:
        sentence = f"{choice!r} is neither auto, none, required nor the name of a tool of this request"
        problems.append(Problem(("tool_choice",), "unknown_tool", sentence))
    return _choice_mapping({"type": "function", "name": choice}, nested=nested)


def _choice_mapping(choice: dict[str, Any], *, nested: bool) -> dict[str, Any]:
    kind: Literal["function"] = "function"
    if choice.get("type") != kind:
        return choice
    if nested and "name" in choice:
        return {"type": kind, kind: {"name": choice["name"]}}
    inner = choice.get(kind)
    if not nested and isinstance(inner, Mapping):
        return {"type": kind, **cast("Mapping[str, Any]", inner)}
    return choice


def with_options(body: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`options` over `body`.

    They win, field by field. `tools` and `include` are added to what is there, and the objects `text`, `reasoning` and
    `stream_options` are merged key by key: who asks for a summary does not take the effort away.
    """
    merged = dict(body)
    for key, value in options.items():
        current = merged.get(key)
        if key in _ADDED and isinstance(current, list) and isinstance(value, (list, tuple)):
            items: list[Any] = cast("Any", current)
            merged[key] = items + [item for item in cast("list[Any]", value) if item not in items]
        elif key in _MERGED and isinstance(current, dict) and isinstance(value, Mapping):
            merged[key] = {**cast("dict[str, Any]", current), **cast("Mapping[str, Any]", value)}
        else:
            merged[key] = value
    return merged


_PROVIDERS_CHOICE = "auto"
_STANDARD = frozenset({"default", "standard", "standard_only"})
"""The words of all vendors for their standard tier."""


def sampling(request: Request, preset: Preset, problems: list[Problem]) -> dict[str, Any]:
    """The fields that both APIs have; None for what is not sent."""
    has_tools = bool(request.tools or request.options.get("tools"))  # without tools, OpenAI refuses the field
    parallel = request.parallel_tool_calls if has_tools else None
    if parallel is not None and not preset.parallel_calls_field:
        if not parallel:
            sentence = f"{preset.name} has no switch for parallel tool calls; leave it out"
            problems.append(lacks("parallel_tool_calls", sentence))
        parallel = None
    return {
        "top_p": request.top_p,
        "parallel_tool_calls": parallel,
        "service_tier": _service_tier(request.service_tier, preset, problems),
    }


def _service_tier(tier: str | None, preset: Preset, problems: list[Problem]) -> str | None:
    if preset.standard_tier is None:
        if tier is not None and tier != _PROVIDERS_CHOICE and tier not in _STANDARD:
            problems.append(lacks("service_tier", f"{preset.name} has no service tiers; leave it out"))
        return None
    return preset.standard_tier if tier in _STANDARD else tier


def lacks(name: str, sentence: str) -> Problem:
    """The problem of an option that the service does not have."""
    return Problem((name,), "unsupported_option", sentence)


def own_name(model: str | None) -> str:
    """The name without the vendor that a gateway puts before it (`openai/gpt-image-2`); "" for None."""
    return (model or "").rpartition("/")[2]
