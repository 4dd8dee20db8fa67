"""What a tool of the provider's did, in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import allm

__all__ = ["hosted_line"]

_WORDS = {
    "web_search": "searched",
    "file_search": "searched files for",
    "web_fetch": "read",
    "code_execution": "ran code",
    "tool_search": "looked for tools",
}
_ASKED = ("query", "queries", "url", "code", "command", "name", "pattern")


def hosted_line(call: allm.HostedCall, asked: Mapping[str, Any] | None) -> str:
    """The line, such as `* searched "Trio 0.30"`.

    Args:
        call: As it ended.
        asked: The input that it began with.
    """
    given = asked or call.input or {}
    value = next((given[name] for name in _ASKED if given.get(name)), "")
    about = ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    failed = {"failed": " (failed)", "requires_action": " (waits for you)"}.get(call.status, "")
    word = _WORDS.get(call.kind, call.kind)
    line = " ".join(about[:800].split())
    shown = f' "{line if len(line) <= 80 else line[:77] + "..."}"' if line else ""  # noqa: PLR2004
    return f"* {word}{shown}{failed}"
