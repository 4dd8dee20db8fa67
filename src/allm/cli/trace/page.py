"""The page: one HTML file with its style, its script and its data, which loads nothing.

Whatever was recorded may stand in it. It is data for the script, in which no `<` is left, and the script shows it as
text only; the page's own policy allows no other script and no connection.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from allm.cli.trace.spans import Recording, Span
from allm.cli.trace.summary import Spent, first_after, kind_of, spent_in, title_of, totals_of, usage_of
from allm.data.json.text import dumps

__all__ = ["OPENING", "page_of"]

OPENING = b"<!doctype html><!-- made by allm trace -->"
"""What every page begins with."""

_FOLDER = Path(__file__).parent
_SCRIPTS = ("values.js", "outline.js", "details.js", "timeline.js", "page.js")


def page_of(recordings: list[Recording], *, name: str, skipped: int = 0) -> bytes:
    """The page.

    Args:
        name: Of the file that was read.
        skipped: How many of its lines could not be read.
    """
    data = {"name": name, "skipped": skipped, "recordings": [_recording(each) for each in recordings]}
    style = (_FOLDER / "page.css").read_bytes()
    script = b'"use strict";\n' + b"\n".join((_FOLDER / each).read_bytes() for each in _SCRIPTS)
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; form-action 'none'"
    )
    inserted = {
        b"POLICY": policy.encode(),
        b"STYLE": style,
        b"DATA": dumps(data).replace(b"<", b"\\u003c"),
        b"SCRIPT": script,
    }
    # In one pass: what is inserted may look like a mark itself.
    pieces = re.split(rb"\{\{([A-Z]+)\}\}", (_FOLDER / "page.html").read_bytes())
    return b"".join(inserted[piece] if number % 2 else piece for number, piece in enumerate(pieces))


def _hash(content: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"


def _recording(recording: Recording) -> dict[str, Any]:
    spans = recording.in_order()
    start = recording.start
    index = {span.id: number for number, span in enumerate(spans)}
    last = max([recording.last, *(span.end for span in spans if span.end is not None)], default=start)
    return {
        "at": start,
        "duration": round(last - start, 6),
        "ended": recording.ended,
        "full": recording.full,
        "lost": recording.lost,
        "content": recording.header.get("content") is True,
        "process": recording.header.get("process"),
        "version": recording.header.get("version"),
        "totals": totals_of(spans),
        "spans": list(_rows(spans, index, start)),
    }


def _rows(spans: list[Span], index: dict[int, int], start: float) -> Iterator[dict[str, Any]]:
    steps: Counter[int] = Counter()  # of each parent, by its index
    spent = spent_in(spans)
    for span in spans:
        above = -1 if span.parent is None else index[span.parent.id]
        row: dict[str, Any] = {
            "title": title_of(span, steps_before=steps[above]),
            "name": span.name,
            "kind": kind_of(span),
            "up": above,
            "from": round(span.start - start, 6),
            "to": None if span.end is None else round(span.end - start, 6),
            "status": None if span.status == "ok" else span.status,
            "first": first_after(span),
            "usage": usage_of(span),
            "inside": _inside(span, spent[span.id]),
            "attributes": span.attributes,
            "content": span.content,
        }
        steps[above] += span.name == "step"
        yield {name: value for name, value in row.items() if value is not None and value != {}}


def _inside(span: Span, spent: Spent) -> dict[str, Any] | None:
    """The usage with all that is within a span, if that is not what it reports itself."""
    tokens = {name: spent.counts[name] for name in ("input_tokens", "output_tokens")}
    reported = usage_of(span)
    if not any(tokens.values()) or all(reported.get(name, 0) == tokens[name] for name in tokens):
        return None
    return {**tokens, "total_cost": round(spent.cost, 9) or None}
