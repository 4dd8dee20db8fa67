"""What a provider wants back with a part, on its way through a page that keeps the conversation.

Only texts, reasoning and calls have such data, and it is read into these classes only, whatever a page sends: an image
of a file, for example, must never come from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from allm.data.content import ReasoningPart, TextPart, ToolCall
from allm.data.errors import ValidationError
from allm.data.json.codec import plain, structured

__all__ = ["opaque_of", "with_opaque"]

PartT = TypeVar("PartT", TextPart, ReasoningPart, ToolCall)

_VISIBLE = frozenset({"v", "type", "text", "name", "arguments"})
_OF_CALL = frozenset({"id", "raw_arguments"})


def opaque_of(part: TextPart | ReasoningPart | ToolCall) -> dict[str, Any]:
    """The fields of a part that the page does not show, as plain JSON data; empty for most."""
    hidden = _VISIBLE | _OF_CALL if isinstance(part, ToolCall) else _VISIBLE
    try:
        return {name: value for name, value in plain(part)[0].items() if name not in hidden}
    except ValidationError:  # the metadata of an adapter that no document can hold
        return {}


def with_opaque(part: PartT, opaque: Any) -> PartT:
    """The part with the fields that `opaque_of` gave; as it is if they are not such fields."""
    if not isinstance(opaque, Mapping) or not opaque:
        return part
    document = plain(part)[0]
    hidden = _VISIBLE | _OF_CALL if isinstance(part, ToolCall) else _VISIBLE
    added = {name: value for name, value in opaque.items() if name not in hidden}
    try:
        return cast("PartT", structured({**document, **added}, type(part)))
    except ValidationError:
        return part
