"""Who made the opaque parts of a message, and so who may have them back.

A signature, encrypted reasoning, the id of an item or the call of a server's own tool mean something only to the
service that made them, and a service is an address: what a proxy signed is a 400 at the vendor whose format it speaks.
So a part remembers the address that it came from where that is not the vendor's own, in `made_at`, and its opaque data
goes back to no other one. The readable rest of a message goes everywhere.
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
    """A service that makes parts and takes them back.

    Attributes:
        provider: Its short name.
        place: Its address, host and path; None: the vendor's own.
        has_own: The vendor has an address of its own, so that a part without one is from there.
    """

    provider: str
    place: str | None = None
    has_own: bool = True

    def made(self, part: ImagePart | ReasoningPart | ProviderPart | TextPart | ToolCall) -> bool:
        """Whether the opaque data of a part is this service's own."""
        if part.made_at != self.place and (self.has_own or part.made_at is not None):
            return False
        if isinstance(part, ReasoningPart | ProviderPart):
            return part.provider == self.provider
        return self.provider in part.metadata

    def kept(self, part: ImagePart | ReasoningPart | TextPart | ToolCall) -> Mapping[str, Any]:
        """What was kept with a part for this service; empty if it is another's."""
        return as_object(part.metadata.get(self.provider)) if self.made(part) else {}

    def mark(self, event: AdapterEvent) -> AdapterEvent:
        """The event; if it completes a part, the part remembers this service's address."""
        if self.place is None:
            return event
        if isinstance(event, TextCompleted | ReasoningCompleted | ToolCallCompleted):
            return attrs.evolve(event, made_at=self.place)
        if isinstance(event, ImageCompleted):
            return attrs.evolve(event, part=attrs.evolve(event.part, made_at=self.place))
        if isinstance(event, ProviderPartCompleted):
            return attrs.evolve(event, part=attrs.evolve(event.part, made_at=self.place))
        return event
