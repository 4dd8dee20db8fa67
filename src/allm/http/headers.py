"""Headers of a request: which can be sent, and which are secret.

A secret value is a `Secret` from the moment it is given until the request is built, so that no local variable on the
way holds it: reports of errors print the variables of every frame.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, TypeAlias

from allm.data.errors import EngineError
from allm.http.keys import Secret

__all__ = [
    "HeaderValue",
    "header_problem",
    "is_header_value",
    "is_secret",
    "lower_headers",
    "sealed",
    "sealed_headers",
    "secrets_in",
]

HeaderValue: TypeAlias = str | Secret
"""A secret one is revealed only for the request itself."""

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: a token
_HEADER_VALUE = re.compile(r"[\t -~]*")

# Of a request, rather one too many: what is hidden without need is missed by nobody.
_SECRET = re.compile(r"auth|cookie|credential|key|passw|secret|signature|token")
_SHORTEST = 8
"""Characters: a shorter part of a header is not a key, and may be part of any word."""


@functools.lru_cache(maxsize=256)  # each call asks several times, for the same few names
def is_secret(name: str) -> bool:
    """Whether the value of a header of this name is secret in a request."""
    return _SECRET.search(name) is not None


def is_header_value(text: str) -> bool:
    """Whether a header can carry the text unchanged."""
    return bool(_HEADER_VALUE.fullmatch(text)) and text == text.strip()


def lower_headers(headers: Mapping[str, HeaderValue]) -> dict[str, HeaderValue]:
    """Check the user's headers and return them with their names in lower case, and secrets sealed.

    Raises:
        EngineError: `invalid_engine`: not a mapping of strings, or a header that cannot be sent. The message never
            shows a value, since it may be a key.
    """
    problem = header_problem(headers)
    if problem is not None:
        del headers
        raise EngineError(problem, reason="invalid_engine")
    # White space around a value is not part of it (RFC 9110, 5.5), and the HTTP library refuses it.
    return sealed_headers({name.lower(): _stripped(value) for name, value in headers.items()})


def _stripped(value: HeaderValue) -> HeaderValue:
    return Secret(value.reveal().strip(" \t")) if isinstance(value, Secret) else value.strip(" \t")


def header_problem(headers: Mapping[str, HeaderValue]) -> str | None:
    """Why headers cannot be sent, without their values; None if they can."""
    if not isinstance(headers, Mapping):
        return f"headers is {type(headers).__name__}; expected a mapping of names to strings"
    for name, value in headers.items():
        if not (isinstance(name, str) and _HEADER_NAME.fullmatch(name)):
            return f"headers: {name!r:.60} is not a valid header name"
        if not isinstance(value, str | Secret):
            return f"headers[{name!r}] is {type(value).__name__}; expected str"
        if not is_header_value((value.reveal() if isinstance(value, Secret) else value).strip(" \t")):
            return f"headers[{name!r}] has a line break or a character outside ASCII, which a header cannot carry"
    return None


def sealed_headers(headers: Mapping[str, str | Secret]) -> dict[str, HeaderValue]:
    """The headers of a request, with each value sealed whose name says that it is secret.

    Args:
        headers: Names in lower case.
    """
    return {
        name: Secret(value) if isinstance(value, str) and is_secret(name) else value for name, value in headers.items()
    }


def sealed(headers: Any) -> Any:
    """Headers as they were given, with secret values sealed; what is no mapping stays as it is, for who checks it."""
    if not isinstance(headers, Mapping):
        return headers
    return {
        name: Secret(value) if isinstance(value, str) and isinstance(name, str) and is_secret(name.lower()) else value
        for name, value in headers.items()
    }


def secrets_in(headers: Mapping[str, HeaderValue]) -> list[Secret]:
    """What a response may echo of the secrets in the headers of a request: each whole, and its parts."""
    sealed = [value for value in sealed_headers(headers).values() if isinstance(value, Secret)]
    return list(dict.fromkeys(part for value in sealed for part in (value, *_parts(value))))


_NAMED = re.compile(rf"[\w.-]+=(.{{{_SHORTEST},}})")  # of a cookie, and of some kinds of authorization


def _parts(header: Secret) -> list[Secret]:
    """The key after `Bearer`, the values of cookies, the password in `Basic`."""
    words = [_NAMED.sub(r"\1", word) for word in re.split(r"[\s;,]+", header.reveal())]
    if words[0].lower() == "basic":
        with suppress(ValueError):
            words += base64.b64decode(header.reveal().split()[-1]).decode().split(":", 1)
    return [Secret(word) for word in words if len(word) >= _SHORTEST]
