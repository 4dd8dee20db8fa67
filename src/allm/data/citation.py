"""What a text relies on: the source, the place in the text, and the place in the source."""

from __future__ import annotations

from typing import Any, Literal

import attrs

from allm.data.attrs_classes import frozen
from allm.data.problems import mapping_field

__all__ = ["Citation", "SourcePlace"]


@frozen
class SourcePlace:
    """A place in a source: `start` is the first of its units, `end` the one behind the last.

    Attributes:
        unit: Characters and blocks count from 0, pages from 1: page 1 is `SourcePlace("pages", 1, 2)`.
        index: Which of the documents in the request it is, or which of the search results, from 0.
    """

    unit: Literal["characters", "pages", "blocks"]
    start: int
    end: int
    index: int | None = attrs.field(default=None, kw_only=True)


@frozen
class Citation:
    """A source that a text names, and where: `part.text[citation.start : citation.end]`.

    Attributes:
        start, end: The place in the text of its part, in Unicode code points, `end` exclusive, whatever unit the
            service counts in. Equal: a mark may stand there. Both None: the service gives no place.
        quote: What the source says.
        title: Of the source; of a file without one, its name.
        url: Where the source is.
        file_id: The service's id of the source, where that is a file.
        source: The place in the source.
        data: What the service sent, as it goes back to it with the text. Where nothing goes back, what it says of the
            source beyond the fields here.
        provider: Whose `data` it is.
    """

    start: int | None = None
    end: int | None = None
    quote: str | None = None
    title: str | None = None
    url: str | None = None
    file_id: str | None = None
    source: SourcePlace | None = None
    data: dict[str, Any] = mapping_field(kw_only=False)
    provider: str | None = attrs.field(default=None, kw_only=True)

    def within(self, length: int) -> Citation:
        """The same; without its place in the text if a text of that length has no such place."""
        if self.start is None and self.end is None:
            return self
        if self.start is not None and self.end is not None and 0 <= self.start <= self.end <= length:
            return self
        return attrs.evolve(self, start=None, end=None)
