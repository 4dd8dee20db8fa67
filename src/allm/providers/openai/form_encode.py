"""What of a request would not answer in one piece."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from allm.adapters import Problem

__all__ = ["streaming_problems"]


def streaming_problems(options: Mapping[str, Any]) -> list[Problem]:
    """`stream` asks for an answer in events, which is paid for and then not understood."""
    if not options.get("stream"):
        return []
    return [
        Problem(("options", "stream"), "unsupported_option", "this call reads its answer in one piece; leave it out")
    ]
