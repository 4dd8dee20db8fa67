"""URLs whose user name, password and query are not shown: each of them may be a key."""

from __future__ import annotations

import base64
from typing import Any, final
from urllib.parse import parse_qsl, quote_plus, unquote, urlsplit, urlunsplit

from allm.http.keys import MASK, Secret

__all__ = ["PrivateUrl", "as_url", "masked_query", "secrets_in_url", "without_user"]

_HARMLESS = frozenset({"alt", "api-version", "version"})
"""Parameters whose values say nothing: the form of the answer and the version of the API."""


@final
class PrivateUrl(str):
    """A URL as text whose `repr`, the form in errors and tracebacks, hides user name, password and query."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_shown(self))


def _shown(url: str) -> str:
    head, query, _ = url.partition("?")
    scheme, separator, rest = head.rpartition("://")
    if "@" in rest:
        rest = f"{MASK}@{rest.rpartition('@')[2]}"
    elif "@" in url and "/" not in rest:  # a question mark in the password
        return f"{scheme}{separator}{MASK}"
    return f"{scheme}{separator}{rest}{f'?{MASK}' if query else ''}"


def as_url(value: Any) -> Any:
    """Hide the secrets of a URL; anything else stays as it is, for those who check it."""
    return PrivateUrl(value) if isinstance(value, str) else value


def without_user(url: str) -> tuple[PrivateUrl, Secret | None]:
    """Take user name and password out of a URL, as the value of the header `authorization` that carries them."""
    parts = urlsplit(url)
    if parts.username is None and parts.password is None:
        return PrivateUrl(url), None
    pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return PrivateUrl(plain), Secret(f"Basic {base64.b64encode(pair.encode()).decode()}")


def masked_query(url: str) -> str:
    """The URL without user name and password, and with every value of its query masked that may be a secret."""
    parts = urlsplit(url)
    query = "&".join(
        f"{quote_plus(name)}={quote_plus(value) if name.lower() in _HARMLESS else MASK}"
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
    )
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query))


def secrets_in_url(url: str) -> list[Secret]:
    """The values in the query of a URL, which an answer may echo."""
    pairs = parse_qsl(urlsplit(url).query)
    return [Secret(value) for name, value in pairs if name.lower() not in _HARMLESS and value != MASK]
