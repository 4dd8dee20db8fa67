"""Addresses of services: what can be one, and paths under it."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from allm.data.errors import EngineError

__all__ = ["join_url", "parts_of"]

_NOT_IN_A_HOST = frozenset(' "<>\\^`{|}')


def join_url(base_url: str, path: str) -> str:
    """`path` under `base_url`; a query of the base (Azure's `?api-version=`) stays.

    Raises:
        EngineError: `invalid_base_url`: not an http(s) URL with a host.
    """
    parts = parts_of(base_url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, parts.query, ""))


def parts_of(base_url: str) -> SplitResult:
    """The parts of a base URL that can be used.

    Raises:
        EngineError: `invalid_base_url`.
    """
    parts = _split(base_url)
    if parts is None:
        raise EngineError(
            f"base_url {base_url!r} is not usable: expected an http or https URL with a host, such as "
            "https://api.openai.com/v1",
            reason="invalid_base_url",
        )
    return parts


def _split(url: Any) -> SplitResult | None:
    try:
        parts = urlsplit(url.strip())
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        usable = usable and not set(parts.hostname) & _NOT_IN_A_HOST
        if usable and parts.hostname.isascii():
            parts.hostname.encode("idna")  # as the socket will: an empty label, or one that is too long
    except (ValueError, AttributeError):
        return None
    return parts if usable else None
