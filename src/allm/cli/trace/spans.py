"""Read what `allm.telemetry.record` wrote: the spans of each recording in a file, as trees.

A file may end anywhere, as its process may have been killed: a span without an end is unfinished, and a line that is
not whole is skipped and counted. A span whose start is missing begins where its end says; one whose parent is missing
is a root.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import attrs

from allm.data.json.text import loads

__all__ = ["Recording", "Span", "Status", "read"]

Status = Literal["ok", "error", "cancelled", "stopped", "unfinished"]

_PHASES = ("start", "stop", "exception", "event")  # no set, as a broken line may have a list there


@attrs.define(eq=False, kw_only=True)
class Span:
    """A span, or a single event, which has no duration.

    Attributes:
        start, end: Seconds since 1970; an unfinished span has no end.
        failed: It ended with an exception.
        event: It is a single event.
        depth: 0 for a root.
    """

    id: int
    name: str
    parent_id: int | None
    start: float
    end: float | None = None
    failed: bool = False
    event: bool = False
    attributes: dict[str, Any] = attrs.field(factory=dict[str, Any])
    content: dict[str, Any] = attrs.field(factory=dict[str, Any])
    parent: Span | None = None
    children: list[Span] = attrs.field(factory=list["Span"])
    depth: int = 0

    @property
    def status(self) -> Status:
        """How it ended."""
        outcome, error = self.attributes.get("outcome"), self.attributes.get("error")
        if self.end is None:
            return "unfinished"
        if outcome == "cancelled" or self.attributes.get("cancelled") is True or _is_cancelled(error):
            return "cancelled"
        if self.event:  # a retry has the error that it answers to
            return "ok"
        if self.failed or outcome == "failed" or error is not None:
            return "error"
        return "stopped" if outcome == "halted" else "ok"


@attrs.define(eq=False, kw_only=True)
class Recording:
    """One `with allm.telemetry.record(...)` block.

    Attributes:
        header: The line that it began with; empty if that is missing.
        ended: Whether the block was left; otherwise the process was killed, or still runs.
        full: Whether it ended as the file had its greatest size.
        lost: Events that could not be recorded.
        last: The time of its last line.
        spans: By id.
    """

    run: str
    header: dict[str, Any] = attrs.field(factory=dict[str, Any])
    ended: bool = False
    full: bool = False
    lost: int = 0
    last: float = -math.inf
    spans: dict[int, Span] = attrs.field(factory=dict[int, Span])

    @property
    def start(self) -> float:
        """When its first span began."""
        return min((span.start for span in self.spans.values()), default=self.last)

    def in_order(self) -> list[Span]:
        """Every span after its parent and before its parent's next child; children by their start."""
        for span in self.spans.values():
            span.children.clear()
        roots: list[Span] = []
        for span in sorted(self.spans.values(), key=lambda span: (span.start, span.id)):
            # A parent began earlier, so its id is smaller; in a file that says otherwise there could be a circle.
            known = span.parent_id is not None and span.parent_id < span.id
            span.parent = self.spans.get(span.parent_id) if known and span.parent_id is not None else None
            (roots if span.parent is None else span.parent.children).append(span)
        found: list[Span] = []
        waiting = roots[::-1]
        while waiting:  # no recursion: trees may be deep
            span = waiting.pop()
            span.depth = 0 if span.parent is None else span.parent.depth + 1
            found.append(span)
            waiting += span.children[::-1]
        return found


def read(lines: Iterable[bytes]) -> tuple[list[Recording], int]:
    """The recordings in a file, in the order of their beginning, and how many lines were skipped."""
    recordings: dict[str, Recording] = {}
    skipped = 0
    for line in lines:
        if line.isspace():
            continue
        document = _document(line)
        run = document.get("run")
        if not isinstance(run, str) or not _time(document.get("at")):
            skipped += 1
            continue
        recording = recordings.setdefault(run, Recording(run=run))
        if _take(recording, document):
            recording.last = max(recording.last, document["at"])
        else:
            skipped += 1
    return [recording for recording in recordings.values() if recording.header or recording.spans], skipped


def _document(line: bytes) -> dict[str, Any]:
    try:
        document = loads(line)
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _take(recording: Recording, line: dict[str, Any]) -> bool:
    """Add what a line says; False if it says nothing that is known."""
    if line.get("allm") == "telemetry":
        recording.header = line
    elif line.get("ended") is True:
        recording.ended, recording.full = True, line.get("full") is True
    elif (lost := _number(line.get("lost"))) is not None:
        recording.lost += lost
    else:
        return _take_event(recording, line)
    return True


def _take_event(recording: Recording, line: dict[str, Any]) -> bool:
    name, phase, number, at = line.get("name"), line.get("phase"), _number(line.get("span")), line["at"]
    if not isinstance(name, str) or number is None or phase not in _PHASES:
        return False
    span = recording.spans.get(number)
    if span is None:
        duration = line.get("duration")
        began = at - duration if _time(duration) else at
        span = recording.spans[number] = Span(id=number, name=name, parent_id=_number(line.get("parent")), start=began)
    if phase != "start":
        span.end, span.failed, span.event = at, phase == "exception", phase == "event"
    span.attributes.update(_mapping(line.get("attributes")))
    span.content.update(_mapping(line.get("content")))
    return True


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _time(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value) and abs(value) < 1e11  # noqa: PLR2004  (year 5138)


def _is_cancelled(error: Any) -> bool:
    return isinstance(error, dict) and error.get("type") in {"Cancelled", "CancelledError"}


def ancestors(span: Span) -> Iterator[Span]:
    """Its parent, the parent of that, and so on."""
    while span.parent is not None:
        span = span.parent
        yield span
