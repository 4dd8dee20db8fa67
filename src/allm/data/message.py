"""A message: a role and its content, with derived views that are never stored twice."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import attrs

from allm.data.attrs_fields import mapping_field
from allm.data.content import ImagePart, Part, ReasoningPart, TextPart, ToolCall

__all__ = ["Message", "Role"]

Role = Literal["system", "user", "assistant", "tool"]


def _content(value: str | Iterable[Part]) -> Any:
    return tuple(value) if isinstance(value, (list, tuple)) else value


@attrs.frozen
class Message:
    """One turn of a conversation.

    Attributes:
        content: Plain text, or parts in the order they are sent.
        tool_call_id: On a `tool` message: the call it answers.
        is_error: On a `tool` message: the tool failed.
    """

    role: Role
    content: str | tuple[Part, ...] = attrs.field(converter=_content)
    name: str | None = attrs.field(default=None, kw_only=True)
    tool_call_id: str | None = attrs.field(default=None, kw_only=True)
    is_error: bool = attrs.field(default=False, kw_only=True)
    metadata: dict[str, Any] = mapping_field()

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts, whichever way it was given."""
        return (TextPart(self.content),) if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """All visible text blocks in order, joined without separator."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, TextPart))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """The calls the model asks for, in order."""
        return tuple(part for part in self.parts if isinstance(part, ToolCall))

    @property
    def reasoning(self) -> tuple[ReasoningPart, ...]:
        """The thinking parts, in order."""
        return tuple(part for part in self.parts if isinstance(part, ReasoningPart))

    @property
    def images(self) -> tuple[ImagePart, ...]:
        """The images, in order."""
        return tuple(part for part in self.parts if isinstance(part, ImagePart))
