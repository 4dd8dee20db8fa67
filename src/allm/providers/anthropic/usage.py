"""Token counts of the Messages API (https://platform.claude.com/docs/en/api/messages, `usage`).

A stream reports them twice, and the second report replaces the first one field by field: until mid-2025 it had output
tokens alone, later all counts, which may be larger by far (a server tool read more) or smaller (the context was
compacted). `input_tokens` leaves out what came from the cache or went into it. The compaction of a context is a model
call of its own that only `iterations` counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from allm.adapters import as_count, as_list, as_object, as_text
from allm.data.response import Usage

__all__ = ["UsageReports"]

_EXTRA = ("cache_creation", "server_tool_use")
"""Objects of counts that no other provider has."""
_TARIFFS = ("speed", "inference_geo")
"""Words for how and where the answer was made, which decide what it costs."""


@attrs.define(eq=False)
class UsageReports:
    """What the reports of one answer add up to."""

    _fields: dict[str, Any] = attrs.field(factory=dict[str, Any], init=False)

    def add(self, usage: Mapping[str, Any]) -> Usage:
        """Take a report; the counts that hold from now on."""
        self._fields.update({name: value for name, value in usage.items() if value is not None})
        total = _counts(self._fields)
        for entry in as_list(self._fields.get("iterations")):
            if as_object(entry).get("type") == "compaction":
                total += _counts(entry)
        return total


def _counts(fields: Mapping[str, Any]) -> Usage:
    uncached = as_count(fields.get("input_tokens"))
    read = as_count(fields.get("cache_read_input_tokens"))
    written = as_count(fields.get("cache_creation_input_tokens"))
    extra: dict[str, Any] = {
        name: count
        for group in _EXTRA
        for name, value in as_object(fields.get(group)).items()
        if (count := as_count(value)) is not None
    }
    extra |= {name: word for name in _TARIFFS if (word := as_text(fields.get(name))) is not None}
    return Usage(
        input_tokens=None if uncached is None else uncached + (read or 0) + (written or 0),
        output_tokens=as_count(fields.get("output_tokens")),
        cached_input_tokens=read,
        cache_write_input_tokens=written,
        reasoning_tokens=as_count(as_object(fields.get("output_tokens_details")).get("thinking_tokens")),
        extra=extra,
    )
