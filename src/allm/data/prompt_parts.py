"""Parts that cannot be sent in a message of the user, the system or a tool.

What an assistant has said in another service's way may be left out: it was that service's own. What somebody else put
into the conversation is there to be read, and an answer without it would be a wrong one, so nothing is sent.
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
    """A problem for each part that would not reach the provider, but for those of assistants.

    Args:
        messages: Of the request.
        provider: Whose parts are sent.
        refuses: Says of the data of such a part in a message of that role why it cannot be sent, None if it can;
            without it none can.
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
        return f"is reasoning in a message of role {role!r}; expected it in an assistant's"
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
        return f"is a part that {provider} does not take in a message of role {role!r}"
    return refuses(role, part.data)
