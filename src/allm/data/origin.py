"""Who made the opaque parts of a message, and so who may have them back.

A signature, encrypted reasoning, the id of an item or the call of a server's own tool mean something only to the
service that made them, and a service is an address: what a proxy signed is a 400 at the vendor whose format it speaks.
So what comes from any other address than the vendor's own is marked with that address, under `PLACE` in the metadata
of its part, and goes back to no other one. The readable rest of a message goes everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.data.content import ProviderPart, ReasoningPart, TextPart, ToolCall
from allm.data.events import (
    AdapterEvent,
    ProviderPartCompleted,
    ReasoningCompleted,
    TextCompleted,
    ToolCallCompleted,
)
from allm.data.json.text import as_object

__all__ = ["PLACE", "Origin"]

PLACE = "made_at"
"""The key in a part's metadata."""


@attrs.frozen
class Origin:
    """A service that makes parts and takes them back.

    Attributes:
        provider: Its short name.
        place: Its address, host and path; None: the vendor's own.
    """

    provider: str
    place: str | None = None

    def made(self, part: ReasoningPart | ProviderPart | TextPart | ToolCall) -> bool:
        """Whether the opaque data of a part is this service's own."""
        if part.metadata.get(PLACE) != self.place:
            return False
        if isinstance(part, ReasoningPart | ProviderPart):
            return part.provider == self.provider
        return self.provider in part.metadata

    def kept(self, part: ReasoningPart | TextPart | ToolCall) -> Mapping[str, Any]:
        """What was kept with a part for this service; empty if it is another's."""
        return as_object(part.metadata.get(self.provider)) if self.made(part) else {}

    def mark(self, event: AdapterEvent) -> AdapterEvent:
        """The event, with the place if it completes a part that has opaque data."""
        if self.place is None:
            return event
        match event:
            case ProviderPartCompleted():
                part = event.part
                return attrs.evolve(event, part=attrs.evolve(part, metadata={**part.metadata, PLACE: self.place}))
            case ReasoningCompleted() if event.provider is not None:
                return attrs.evolve(event, metadata={**event.metadata, PLACE: self.place})
            case TextCompleted() | ToolCallCompleted() if event.metadata:
                return attrs.evolve(event, metadata={**event.metadata, PLACE: self.place})
            case _:
                return event
