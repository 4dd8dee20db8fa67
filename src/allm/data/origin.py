"""The origin of the opaque parts of a message, which decides to whom they are sent back.

A signature, encrypted reasoning, the id of an item or the call of a server tool is valid only for the service that made
it, and a service is an address: what a proxy signed gives a 400 at the vendor whose format it uses. So a part has the
address it came from in `made_at`, unless that is the vendor's own, and its opaque data is sent to that address only.
The readable content of a message is sent everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.content import ImagePart, ProviderPart, ReasoningPart, TextPart, ToolCall
from allm.data.events import (
    AdapterEvent,
    ImageCompleted,
    ProviderPartCompleted,
    ReasoningCompleted,
    TextCompleted,
    ToolCallCompleted,
)
from allm.data.json.text import as_object

__all__ = ["Origin"]


@attrs.frozen
class Origin:
    """A service that makes opaque parts and accepts them back.

    Attributes:
        provider: The short name of the provider.
        place: The address of the service, host and path; None means the vendor's own.
        has_own: Whether the vendor has its own address, from which parts without an address came.
    """

    provider: str
    place: str | None = None
    has_own: bool = True

    def made(self, part: ImagePart | ReasoningPart | ProviderPart | TextPart | ToolCall) -> bool:
        """Whether this service made the opaque data of a part."""
        if part.made_at != self.place and (self.has_own or part.made_at is not None):
            return False
        if isinstance(part, ReasoningPart | ProviderPart):
            return part.provider == self.provider
        return self.provider in part.metadata

    def kept(self, part: ImagePart | ReasoningPart | TextPart | ToolCall) -> Mapping[str, Any]:
        """The metadata of a part for this service; empty if another service made it."""
        return as_object(part.metadata.get(self.provider)) if self.made(part) else {}

    def mark(self, event: AdapterEvent) -> AdapterEvent:
        """Set the address of this service on the part that `event` completes, if any."""
        if self.place is None:
            return event
        if isinstance(event, TextCompleted | ReasoningCompleted | ToolCallCompleted):
            return attrs.evolve(event, made_at=self.place)
        if isinstance(event, ImageCompleted):
            return attrs.evolve(event, part=attrs.evolve(event.part, made_at=self.place))
        if isinstance(event, ProviderPartCompleted):
            return attrs.evolve(event, part=attrs.evolve(event.part, made_at=self.place))
        return event
