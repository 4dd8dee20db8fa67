"""What the chunks of a run say beside their text, in keys of the service's own: kept as that of single chunks is.

A value that is the same in chunk after chunk is read once: a note that is taken twice is the same note.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from allm.adapters import JsonTextError, loads
from allm.providers.openai.answer_notes import CHOICE, CHUNK, MESSAGE
from allm.providers.openai.chat_fields import OF_THE_ANSWER
from allm.providers.openai.chat_reasoning import HOLDERS, REASONING_FIELDS
from allm.providers.openai.usual_events import ChatShape

__all__ = ["NOTHING_BESIDE", "NOT_KEPT", "Beside", "read_beside"]

NOT_KEPT = OF_THE_ANSWER.union(REASONING_FIELDS)
"""Fields of a message that are no part of what only the service knows."""
_CONTENT = HOLDERS.union({"annotations", "audio", "extra_content", "function_call", "images", "refusal", "tool_calls"})
"""Fields of a delta that may be content: a run has none of them."""
_NULL = b"null"


class Beside(NamedTuple):
    """What there is to keep.

    Attributes:
        notes: For `take_notes`, in order.
        fields: For `merge_fields`, in order.
    """

    notes: list[dict[str, Any]]
    fields: list[dict[str, Any]]


NOTHING_BESIDE = Beside([], [])


def read_beside(shape: ChatShape, chunks: list[Any]) -> Beside | None:
    """What the chunks of this shape say; None if that is no matter of a run."""
    found = Beside([], [])
    choices = [chunk.choices[0] for chunk in chunks]
    try:
        for names, used, holders in ((shape.chunk, CHUNK, chunks), (shape.choice, CHOICE, choices)):
            for name in names:
                values = list(_changes(name, holders))
                if values and name in used:
                    return None
                found.notes.extend({name: value} for value in values)
        deltas = [choice.delta for choice in choices]
        for name in shape.delta:
            if not _of_message(name, deltas, found):
                return None
    except JsonTextError:
        return None
    return found


def _of_message(name: str, deltas: list[Any], found: Beside) -> bool:
    """Add what the deltas say under one name; False: it may be content."""
    if name in MESSAGE:
        found.notes.extend({name: value} for value in _changes(name, deltas) if value)
        return True
    if name in NOT_KEPT or name in _CONTENT:
        return name not in _CONTENT or not any(_changes(name, deltas))
    for delta in deltas:
        raw = bytes(getattr(delta, name))
        value = None if raw == _NULL else loads(raw)
        if value:
            found.fields.append({name: value})
    return True


def _changes(name: str, holders: Iterable[Any]) -> Iterable[Any]:
    """The values of one key, each as often as it changes."""
    last = _NULL
    for holder in holders:
        raw = bytes(getattr(holder, name))
        if raw not in (last, _NULL):
            yield loads(raw)
        last = raw
