"""What a message is made of: one ordered sequence of parts, as the provider sent it, to be replayed exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, cast, get_args

import attrs

from allm.data.attrs_classes import frozen
from allm.data.audio import Audio
from allm.data.citation import Citation
from allm.data.document import Document, Video
from allm.data.errors import Problem, ValidationError
from allm.data.image import Image
from allm.data.media import Media
from allm.data.problems import mapping_field

__all__ = [
    "HOLDS",
    "MEDIA_TYPES",
    "OF_MEDIA",
    "PART_TYPES",
    "AudioPart",
    "CachePoint",
    "DocumentPart",
    "HostedCall",
    "HostedStatus",
    "ImagePart",
    "MediaPart",
    "Part",
    "ProviderPart",
    "ReasoningPart",
    "TextPart",
    "ToolCall",
    "VideoPart",
    "cache_point",
    "hosted_calls_in",
    "media_of",
]


@frozen
class TextPart:
    """Visible text.

    Attributes:
        refusal: The model declined; `text` is its explanation (OpenAI `refusal`).
        citations: The sources that the text of a model relies on, in the order in which they came.
        metadata: Provider data to replay with this part, under the provider's name (Gemini thought signatures).
        made_at: The address that it came from, where that is not the vendor's own: opaque data goes back to no other.
    """

    text: str
    refusal: bool = attrs.field(default=False, kw_only=True)
    citations: tuple[Citation, ...] = attrs.field(default=(), converter=tuple[Citation, ...], kw_only=True)
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


@frozen
class ImagePart:
    """An image in a prompt, or in an answer.

    Attributes:
        detail: OpenAI's resolution hint, ignored by the others.
        metadata: Provider data to replay with an image that a model made, under the provider's name.
        made_at: The address that it came from, as in `TextPart`.
    """

    image: Image
    detail: Literal["auto", "low", "high"] = "auto"
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


@frozen
class DocumentPart:
    """A document in a prompt or in the result of a tool.

    A service that has no field for its title or its context gets them as a line of text before it.

    Attributes:
        title: What the model is told that it is called.
        context: What else the model should know about it, such as where it is from. It is not cited.
        citations: Whether the answer names the places in it that it relies on, where the vendor has that.
        source: Where a search of your own found it, such as its URL, which citations of it name. To Anthropic a text
            with one goes as a search result.
        metadata: Provider data to send with it, under the provider's name.
        made_at: The address that it came from, as in `TextPart`.
    """

    document: Document
    title: str | None = None
    context: str | None = None
    citations: bool | None = None
    source: str | None = attrs.field(default=None, kw_only=True)
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


@frozen
class AudioPart:
    """Audio in a prompt, in the result of a tool, or in an answer.

    Attributes:
        metadata: Provider data to send with it, under the provider's name.
        made_at: The address that it came from, as in `TextPart`.
    """

    audio: Audio
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


@frozen
class VideoPart:
    """A video in a prompt or in the result of a tool.

    Attributes:
        metadata: Provider data to send with it, under the provider's name: for Gemini, `{"gemini": {"videoMetadata":
            {"startOffset": "10s", "fps": 2}}}`.
        made_at: The address that it came from, as in `TextPart`.
    """

    video: Video
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


@frozen
class CachePoint:
    """Up to here a prompt stays the same, in a user's or a system message: the provider is asked to keep it.

    It is not content. A provider that has no such marks, or keeps prompts by itself, is not told of it.

    Attributes:
        ttl: For how long, where the provider can be told; None: for as long as the call option `prompt_cache` says.
        metadata: Empty, as every part has it.
        made_at: None, as every part has it.
    """

    ttl: Literal["5m", "1h"] | None = None
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


def cache_point(ttl: Literal["5m", "1h"] | None = None) -> CachePoint:
    """A mark up to where a prompt stays the same: `allm.user(long_text, allm.cache_point(), question)`.

    Args:
        ttl: For how long the provider is asked to keep it.

    Raises:
        ValidationError: `unknown`: another time.
    """
    if ttl not in {None, "5m", "1h"}:
        raise ValidationError(
            [Problem(("ttl",), "unknown", f"is {ttl!r}; expected '5m' or '1h'")], reason="invalid_part"
        )
    return CachePoint(ttl)


@frozen
class ReasoningPart:
    """The model's thinking: readable text and the opaque data that the provider wants back.

    Attributes:
        text: Readable thinking or summary; "" when the provider hides it.
        provider: Who may read the opaque fields; they are dropped on the way to anyone else.
        id: The provider's id of the item.
        signature: Anthropic `signature`, Gemini `thoughtSignature`.
        encrypted_content: OpenAI `encrypted_content`, Anthropic `redacted_thinking` data.
        metadata: Further data that goes back with it, under the provider's name.
        made_at: The address that it came from, as in `TextPart`.
    """

    text: str
    provider: str | None = attrs.field(default=None, kw_only=True)
    id: str | None = attrs.field(default=None, kw_only=True)
    signature: str | None = attrs.field(default=None, kw_only=True)
    encrypted_content: str | None = attrs.field(default=None, kw_only=True)
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


@frozen
class ToolCall:
    """A call the model asks for.

    Attributes:
        id: Unique within its message; the result message names it.
        name: The tool's name.
        arguments: The parsed JSON object; None when the raw text is not one.
        raw_arguments: The text as it arrived, or None when the provider sends objects.
        metadata: Provider data to replay with the call; `incomplete: True` marks a call the stream never finished.
        made_at: The address that it came from, as in `TextPart`.
    """

    id: str
    name: str
    arguments: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    raw_arguments: str | None = None
    metadata: dict[str, Any] = mapping_field()
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


@frozen
class ProviderPart:
    """An item only its provider understands (a server-side tool's call or result), kept for replay and never shown.

    Attributes:
        provider: Who understands it.
        data: The item as it goes over the wire.
        made_at: The address that it came from, as in `TextPart`.
    """

    provider: str
    data: Mapping[str, Any] = attrs.field(hash=False)
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


HostedStatus = Literal["in_progress", "completed", "failed", "incomplete", "requires_action"]


@frozen
class HostedCall:
    """A tool that ran at the provider, such as a web search: kept to be sent back, and never a call for the caller.

    Where a provider sends the call and its result as two items, each is a part of its own in its place, both with the
    same `id`; `Message.hosted_calls` has them as one.

    Attributes:
        id: Unique among the calls of its answer.
        kind: `web_search`, `web_fetch`, `code_execution`, `file_search`, `mcp`, or the provider's own word.
        status: `requires_action`: it waits for the caller, as the approval of an MCP call does. Its answer is a
            `HostedCall` with the same id in a message of the user: `allm.hosted.approve`, `deny`, `screenshot`.
        input: What the model asked for: queries, code, arguments.
        output: What came of it: sources, what the code printed, ids of files; None where the provider does not say.
        data: The item as it goes over the wire; empty for one that does not go back.
        provider: Who understands `data`.
        made_at: The address that it came from, as in `TextPart`.
    """

    id: str
    kind: str
    status: HostedStatus = "completed"
    input: Mapping[str, Any] | None = attrs.field(default=None, hash=False)
    output: Any = attrs.field(default=None, hash=False)
    data: Mapping[str, Any] = attrs.field(factory=dict[str, Any], hash=False)
    provider: str | None = attrs.field(default=None, kw_only=True)
    made_at: str | None = attrs.field(default=None, kw_only=True, eq=False)


MediaPart = ImagePart | DocumentPart | AudioPart | VideoPart
Part = TextPart | MediaPart | ReasoningPart | ToolCall | HostedCall | CachePoint | ProviderPart
PART_TYPES: tuple[type, ...] = get_args(Part)
OF_MEDIA: dict[type[Media], Any] = {Image: ImagePart, Document: DocumentPart, Audio: AudioPart, Video: VideoPart}
"""The part that holds each kind of media, in the field that has the name of the kind."""
MEDIA_TYPES: tuple[type, ...] = tuple(OF_MEDIA.values())
HOLDS: dict[type, type[Media]] = {part: kind for kind, part in OF_MEDIA.items()}


def media_of(part: MediaPart) -> Media:
    """The image, document, audio or video of a part."""
    return cast("Media", getattr(part, HOLDS[type(part)].word))


def hosted_calls_in(parts: Iterable[Part]) -> tuple[HostedCall, ...]:
    """The calls that ran at the provider, each with its result, in the order in which they began."""
    found: dict[str, HostedCall] = {}
    for part in parts:
        if isinstance(part, HostedCall):
            begun = found.get(part.id)
            if begun is not None:
                asked = begun.input if part.input is None else part.input
                part = attrs.evolve(part, kind=begun.kind, input=asked)
            found[part.id] = part
    return tuple(found.values())
