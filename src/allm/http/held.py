"""Bounds what a decoder holds and no event has shown yet: the pieces of a call without a name, sound, notes.

The execution layer counts what an answer holds by its events (`AnswerLimits`), and cannot see what a decoder keeps for
later. So the decoder is measured as a whole, with everything its fields hold, whenever much more has arrived: no
vendor's decoder has to count, and the cost is in proportion to what arrives.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs

from allm.http.answer_limits import AnswerLimits

__all__ = ["FIRST", "check_held", "held_bytes"]

FIRST = 64 * 1024 * 1024
"""Bytes of an answer after which its decoder is measured: many times those of the longest answers today."""
_SINGLE = frozenset({int, float, bool, type(None)})
_SHORT = 100  # characters
_OTHER = 8  # bytes that a number or a flag counts for


def check_held(decoder: Any, message: Any, limits: AnswerLimits) -> int:
    """Measure a decoder.

    Args:
        decoder: With everything that it holds.
        message: The part of it that events have shown.
        limits: Those of the answer.

    Returns:
        After how many more bytes of the wire to measure it again.

    Raises:
        AdapterError: `answer_too_large`.
    """
    # A vendor's decoder may have the pieces of a text besides, which the message has already.
    held = held_bytes(decoder) - 2 * held_bytes(message)
    if limits.total_bytes is not None and held > limits.total_bytes:
        raise limits.exceeded("total_bytes")
    return max(FIRST, held // 4)


def held_bytes(value: Any) -> int:
    """Bytes of all texts that an object holds, in its fields and in theirs, and about eight for anything else."""
    size, waiting, seen = 0, [value], set[int]()
    fields: dict[type, tuple[str, ...]] = {}  # of classes that were met
    while waiting:
        item = waiting.pop()
        kind = type(item)
        if isinstance(item, (str, bytes)):
            if len(item) > _SHORT:  # else it costs less than to know whether it was counted
                if id(item) in seen:
                    continue
                seen.add(id(item))
            size += len(item)
            continue
        size += _OTHER
        if kind in _SINGLE or id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, dict):
            waiting += item.keys()
            waiting += item.values()
        elif isinstance(item, (list, tuple, set, frozenset, deque)):
            waiting += item
        else:
            names = fields.get(kind)
            if names is None:
                names = fields[kind] = tuple(field.name for field in attrs.fields(kind)) if attrs.has(kind) else ()
            waiting += [getattr(item, name) for name in names]
            if names and hasattr(item, "__dict__"):  # of a subclass that is no class of attrs itself
                waiting += vars(item).values()
    return size
