"""How long a provider asks to wait, read from the headers of its answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime, parsedate_tz

__all__ = ["parse_retry_after", "retry_after_in"]

_LONGEST = 100 * 365 * 24 * 3600.0
"""Seconds. A longer wait is shortened to this, which every clock can count to and which still means "not now"."""
_SECONDS = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)\s*", re.ASCII)
_LAST_YEAR = 9999


def parse_retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds from `retry-after-ms` (OpenAI) or `retry-after` (seconds or an HTTP date, RFC 9110 10.2.3), else None.

    The milliseconds are the more exact, but for 0, which names no time: Azure sends it beside 1 second.

    The `...-ratelimit-...` headers are not read: they describe other limits than the one that was hit, and in
    recorded answers some say 1970.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    wait = None if milliseconds is None else _bounded(milliseconds / 1000)
    if wait:
        return wait
    seconds = _seconds(headers.get("retry-after"))
    return wait if seconds is None else seconds


def _seconds(text: str | None) -> float | None:
    """What `retry-after` says."""
    if text is None:
        return None
    seconds = _number(text)
    return _until(text) if seconds is None else _bounded(seconds)


def _until(text: str) -> float | None:
    """Seconds until a date; its year may have any number of digits."""
    try:
        parts = parsedate_tz(text)
        if parts is None:
            return None
        if parts[0] > _LAST_YEAR:
            return _LONGEST
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _bounded(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _SECONDS.fullmatch(text) else None


def _bounded(seconds: float) -> float | None:
    return min(seconds, _LONGEST) if seconds >= 0 else None


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
    "d": 86400,
    "day": 86400,
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
    return _bounded(total) if total else None
