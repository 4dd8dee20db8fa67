"""What the headers of an answer say about the provider's limits: how much, how much of it is left, until when."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from allm.data.attrs_classes import frozen

__all__ = ["RateFact", "rate_facts"]


@frozen(kw_only=True)
class RateFact:
    """One limit, as an answer tells it.

    Attributes:
        kind: What is limited: `requests`, `tokens`, `input-tokens`, `output-tokens`.
        limit: How much.
        remaining: How much of it is left.
        reset: Seconds until all of it is there again; None: the answer does not say.
        resolution: Seconds by which `reset` may be wrong, because it was rounded.
        period: Seconds that the limit is for, where the answer says so.
    """

    kind: str
    limit: float
    remaining: float
    reset: float | None = None
    resolution: float = 0.0
    period: float | None = None


_NAME = re.compile(
    r"(?:x-ratelimit-(?P<what>limit|remaining|reset|renewalperiod)(?:-(?P<kind>[a-z-]+?))?(?:-(?P<unit>second|minute|hour|day))?"
    r"|anthropic-ratelimit-(?P<kind2>[a-z-]+?)-(?P<what2>limit|remaining|reset)"
    r"|ratelimit-(?P<what3>limit|remaining|reset))"
)
_KINDS = {
    "req": "requests",
    "request": "requests",
    **{name: name for name in ("requests", "tokens", "input-tokens", "output-tokens")},
}
_PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}
_NUMBER = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)
_DURATION = re.compile(r"(?:\d{1,15}(?:\.\d{1,9})?(?:ns|us|µs|ms|s|m|h|d))+", re.ASCII)
_PIECE = re.compile(r"(\d+)(?:\.(\d+))?(ns|us|µs|ms|s|m|h|d)", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_EPOCH, _EPOCH_MS = 1e9, 1e12
"""From here on a number is a moment, in seconds or milliseconds since 1970, and not a duration."""
_LONGEST = 366 * 86400.0


def rate_facts(headers: Mapping[str, str]) -> list[RateFact]:
    """The limits that the headers of an answer tell, those that make sense; at most one of a kind.

    Known are `x-ratelimit-limit-requests` (OpenAI and its copies), `x-ratelimit-limit-req-minute` (Mistral),
    `anthropic-ratelimit-requests-limit`, and `x-ratelimit-limit` or `ratelimit-limit` for requests, each with
    `remaining` and, but for a few, `reset`: a duration such as `6m0s` or `20ms`, seconds, or a moment.

    Args:
        headers: Names in lower case.
    """
    found: dict[tuple[str, float | None], dict[str, str]] = {}
    for name, value in headers.items():
        if "ratelimit-" in name and (match := _NAME.fullmatch(name)) is not None:
            kind = _KINDS.get(match["kind"] or match["kind2"] or "requests")
            what = match["what"] or match["what2"] or match["what3"]
            if kind is not None:
                found.setdefault((kind, _PERIODS.get(match["unit"] or "")), {})[what] = value.strip()
    facts: dict[str, RateFact] = {}
    for (kind, period), texts in found.items():
        if (fact := _fact(kind, period, texts, headers)) is not None:
            known = facts.get(kind)
            if known is None or (known.period is None and fact.period is not None):  # which has not to be found out
                facts[kind] = fact
    return list(facts.values())


def _fact(kind: str, period: float | None, texts: Mapping[str, str], headers: Mapping[str, str]) -> RateFact | None:
    limit, remaining = _number(texts.get("limit")), _number(texts.get("remaining"))
    if not limit or remaining is None:
        return None
    reset, resolution = _until(texts.get("reset", ""), headers)
    if period is None:
        period = _number(texts.get("renewalperiod")) or None
    return RateFact(
        kind=kind,
        limit=limit,
        remaining=min(remaining, limit),
        reset=reset,
        resolution=resolution,
        period=period,
    )


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text) else None


def _until(text: str, headers: Mapping[str, str]) -> tuple[float | None, float]:
    """Seconds until a moment or for a duration, and how exact they are."""
    if _NUMBER.fullmatch(text):
        value, resolution = float(text), _last_place(text.partition(".")[2])
        if value >= _EPOCH_MS:
            value, resolution = value / 1000 - _now(headers), 1.0
        elif value >= _EPOCH:
            value, resolution = value - _now(headers), 1.0
    elif _DURATION.fullmatch(text):
        pieces = _PIECE.findall(text)
        value = sum(float(f"{whole}.{part or 0}") * _UNITS[unit] for whole, part, unit in pieces)
        resolution = _UNITS[pieces[-1][2]] * _last_place(pieces[-1][1])
    else:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            return None, 0.0
        value, resolution = moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - _now(headers), 1.0
    return (value, resolution) if 0 <= value <= _LONGEST else (None, 0.0)


def _last_place(digits: str) -> float:
    return float(10.0 ** -len(digits))


def _now(headers: Mapping[str, str]) -> float:
    """The time of the provider's clock, where the answer tells it: ours may be wrong."""
    try:
        return parsedate_to_datetime(headers["date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return datetime.now(UTC).timestamp()
