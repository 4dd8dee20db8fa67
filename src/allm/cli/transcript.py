"""A conversation as Markdown, to read or to keep."""

from __future__ import annotations

import json

import allm

__all__ = ["transcript"]


def transcript(session: allm.Session) -> str:
    """The messages of a conversation, each under a heading with its role."""
    parts = []
    names: dict[str | None, str] = {}  # of the tools, by call id
    for message in session.thread.messages:
        name = names.get(message.tool_call_id)
        pieces = [f"## {message.role}: {name}" if name else f"## {message.role}"]
        pieces += [message.text] if message.text else []
        pieces += ["*(image)*"] * len(message.images)
        for call in message.tool_calls:
            names[call.id] = call.name
            arguments = (
                call.raw_arguments
                if call.arguments is None
                else json.dumps(dict(call.arguments), indent=2, ensure_ascii=False)
            )
            pieces.append(f"Calls `{call.name}`:\n\n```json\n{arguments}\n```")
        parts.append("\n\n".join(pieces))
    return "\n\n".join(parts) + "\n"
