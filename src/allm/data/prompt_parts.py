"""Find parts that cannot be sent in a user, system or tool message.

Another service's opaque parts in an assistant message can be left out. Parts in other messages were added to be read,
and a response without them would be wrong, so they are an error and nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from allm.data.content import Part, ProviderPart, ReasoningPart
from allm.data.errors import Problem
from allm.data.message import Message, Role

__all__ = ["unsupported_parts"]


def unsupported_parts(
    messages: Iterable[Message], provider: str, refuses: Callable[[Role, Mapping[str, Any]], str | None] | None = None
) -> list[Problem]:
    """The problems of parts that would not reach the provider, except in assistant messages.

    Args:
        messages: The messages of the request.
        provider: The provider whose parts can be sent.
        refuses: Returns why a part with this data cannot be sent in a message of this role, or None if it can; by
            default none can.
    """
    return [
        Problem(("messages", index, "content", position), "unsupported_part", sentence)
        for index, message in enumerate(messages)
        if message.role != "assistant" and not isinstance(message.content, str)
        for position, part in enumerate(message.content)
        if (sentence := _refused(part, message.role, provider) or _refused_own(part, message.role, provider, refuses))
    ]


def _refused(part: Part, role: Role, provider: str) -> str | None:
    if isinstance(part, ReasoningPart):
        return f"is reasoning in a message of role {role!r}; expected it in an assistant message"
    if isinstance(part, ProviderPart) and part.provider != provider:
        wanted = f"did you mean {provider!r}?" if part.provider.lower() == provider else f"{provider} cannot read it"
        return f"is a part of {part.provider!r}; {wanted}"
    return None


def _refused_own(
    part: Part, role: Role, provider: str, refuses: Callable[[Role, Mapping[str, Any]], str | None] | None
) -> str | None:
    if not isinstance(part, ProviderPart):
        return None
    if refuses is None:
        return f"is a part that {provider} does not accept in a message of role {role!r}"
    return refuses(role, part.data)
