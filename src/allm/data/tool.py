"""A tool the model may call: its name, what it is for, and the JSON Schema of its arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from allm.data.attrs_fields import mapping_field

__all__ = ["Tool"]


@attrs.frozen
class Tool:
    """A function the model can ask for.

    Attributes:
        name: 1 to 64 letters, digits, `_` or `-`.
        description: What it does, for the model.
        schema: JSON Schema of the arguments, an object schema.
        handler: `fn(arguments)` or `fn(arguments, context)`, sync or async; never serialised.
        manual: The caller answers the call; it is never run here.
        timeout: Seconds one call may take; None uses the call's `tool_timeout`.
    """

    name: str
    description: str
    schema: dict[str, Any] = attrs.field(factory=lambda: {"type": "object", "properties": {}}, hash=False)
    handler: Callable[..., Any] | None = attrs.field(default=None, kw_only=True)
    manual: bool = attrs.field(default=False, kw_only=True)
    timeout: float | None = attrs.field(default=None, kw_only=True)
    metadata: dict[str, Any] = mapping_field()
