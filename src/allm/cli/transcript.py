"""A conversation as Markdown, to read or to keep."""

from __future__ import annotations

import json

import allm
from allm.data.content import MediaPart, media_of

__all__ = ["transcript"]


def _file(media: allm.Media) -> str:
    """Its kind, and what it is called where it has a name or an address."""
    name = media.url or (media.file_name() if media.source[0] in {"file", "upload"} else media.name)
    return f"*({media.word}: {name})*" if name else f"*({media.word})*"


def transcript(session: allm.Session) -> str:
    """The messages of a conversation, each under a heading with its role."""
    parts = []
    names: dict[str | None, str] = {}  # of the tools, by call id
    for message in session.thread.messages:
        name = names.get(message.tool_call_id)
        pieces = [f"## {message.role}: {name}" if name else f"## {message.role}"]
        pieces += [message.text] if message.text else []
        pieces += [_file(media_of(part)) for part in message.parts if isinstance(part, MediaPart)]
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
