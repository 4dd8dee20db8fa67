"""Base URLs of services: their validation, and paths under them."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from allm.data.errors import EngineError

__all__ = ["join_url", "parts_of"]

_NOT_IN_A_HOST = frozenset(' "<>\\^`{|}')


def join_url(base_url: str, path: str) -> str:
    """Return `path` under `base_url`; a query string of the base (Azure's `?api-version=`) is kept.

    Raises:
        EngineError: `invalid_base_url`: not an http(s) URL with a host.
    """
    parts = parts_of(base_url)
    return urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/") + path, parts.query, ""))


def parts_of(base_url: str) -> SplitResult:
    """Return the parts of a base URL.

    Raises:
        EngineError: `invalid_base_url`: not an http(s) URL with a host.
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
            parts.hostname.encode("idna")  # as the socket does; it fails for an empty or overlong label
    except (ValueError, AttributeError):
        return None
    return parts if usable else None
