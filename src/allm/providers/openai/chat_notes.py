"""What a Chat Completions answer says about itself beyond its content.

Services add fields of their own, beside the choices (OpenRouter's `provider`, Perplexity's `citations` and
`search_results`, OpenAI's `system_fingerprint`, Azure's `prompt_filter_results`), in the choice (Azure's
`content_filter_results`, OpenRouter's `native_finish_reason`) and in the message (Groq's `executed_tools`). All that
has no place elsewhere is kept under its own name. In a stream it comes once, is repeated with each chunk, or grows:

- an object is merged key by key; Azure's judgement of a category is about the piece of text that came with it, so that
  one that filtered something stays;
- an array whose objects have an `index` is merged object by object;
- everything else replaces what was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from allm.adapters import as_object, as_objects

__all__ = ["CHOICE", "CHUNK", "MESSAGE", "take_notes"]

CHUNK = frozenset(
    {
        *("id", "object", "created", "model", "choices", "usage", "service_tier", "error", "obfuscation"),
        *("type", "code", "x_groq"),
    }
)
"""Fields of a chunk that have a place of their own, or mean nothing."""
CHOICE = frozenset({"index", "delta", "message", "finish_reason", "logprobs", "error", "usage"})
"""The same of a choice."""
MESSAGE = frozenset(
    {
        *("citations", "content_filter_results", "context", "executed_tools", "related_questions", "search_results"),
        *("stop_reason", "tool_responses", "videos"),
    }
)
"""Fields of a message that say something of the answer, and do not go back with it."""


def take_notes(notes: dict[str, Any], source: Mapping[str, Any], names: Iterable[str]) -> None:
    """Keep the fields of `source` that have these names and say anything."""
    for name in names:
        value = source.get(name)
        if value or value == 0:
            notes[name] = _merged(notes.get(name), value)


def _merged(old: Any, new: Any) -> Any:
    if isinstance(new, dict) and isinstance(old, dict):
        if old.get("filtered") is True and new.get("filtered") is False:
            return old
        before, after = as_object(old), as_object(new)
        return {**before, **{name: _merged(before.get(name), value) for name, value in after.items()}}
    if isinstance(new, list) and isinstance(old, list) and _is_indexed(new) and _is_indexed(old):
        rows = {row["index"]: row for row in as_objects(old)}
        for row in as_objects(new):
            rows[row["index"]] = _merged(rows.get(row["index"]), row)
        return list(rows.values())
    return cast("Any", new)


def _is_indexed(rows: list[Any]) -> bool:
    return all(type(as_object(row).get("index")) is int for row in rows)
