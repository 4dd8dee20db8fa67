"""How long a provider asks to wait, read from the headers of its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["parse_retry_after", "retry_after_in"]

_MAX_SANE_RETRY_AFTER = 24 * 3600.0  # seconds; a longer wait is a broken header, not a plan


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from `retry-after-ms` (OpenAI) or `retry-after` (seconds or an HTTP date, RFC 9110 10.2.3), else None.

    The milliseconds are the more exact, but for 0, which names no time: Azure sends it beside 1 second.

    The `...-ratelimit-...` headers are not read: they describe other limits than the one that was hit, and in
    recorded answers some say 1970.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    wait = None if milliseconds is None else _sane(milliseconds / 1000)
    if wait:
        return wait
    seconds = _seconds(headers.get("retry-after"))
    return wait if seconds is None else seconds


def _seconds(text: str | None) -> float | None:
    """What `retry-after` says."""
    if text is None:
        return None
    seconds = _number(text)
    if seconds is None:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, OverflowError):  # the year may have any number of digits
            return None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = max(0.0, (moment - datetime.now(UTC)).total_seconds())
    return _sane(seconds)


def _number(text: str | None) -> float | None:
    try:
        return float(text) if text is not None else None
    except ValueError:
        return None


def _sane(seconds: float) -> float | None:
    return seconds if 0 <= seconds <= _MAX_SANE_RETRY_AFTER else None


_HINT = re.compile(r"(?:try again|retry)(?: in| after) ((?:\d+(?:\.\d+)?\s*[a-z]+[,\s]*)+)", re.IGNORECASE)
_PIECE = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_UNITS = {
    "ms": 0.001,
    "millisecond": 0.001,
    "s": 1,
    "sec": 1,
    "second": 1,
    "m": 60,
    "min": 60,
    "minute": 60,
    "h": 3600,
    "hour": 3600,
}


def retry_after_in(message: str) -> float | None:
    """Seconds that a sentence asks for, else None.

    Inside a stream this is the only place where a provider can say it: `Please try again in 1.5s.` (OpenAI, Groq:
    `2m59.56s`), `Please retry after 20 seconds` (Azure), `Please retry in 37.2s.` (Gemini).
    """
    found = _HINT.search(message)
    if found is None:
        return None
    total = 0.0
    for number, unit in _PIECE.findall(found[1]):
        factor = _UNITS.get(unit.lower()) or _UNITS.get(unit.lower().removesuffix("s"))
        if factor is None:
            break
        total += float(number) * factor
    return _sane(total) if total else None
