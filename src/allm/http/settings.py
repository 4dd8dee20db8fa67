"""What every adapter over HTTP is given by its user, checked before anything is sent; and the body that it sends."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from allm.data.errors import EngineError, Problem, ValidationError
from allm.data.json.text import dumps
from allm.data.secret import Secret

__all__ = ["json_body", "own_headers", "secret_of"]

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: a token
_HEADER_VALUE = re.compile(r"[\t -~]*")


def secret_of(value: str | Secret | None) -> Secret | None:
    """The key as a `Secret`.

    Raises:
        EngineError: `invalid_key`: it is no text.
    """
    if value is None or isinstance(value, Secret):
        return value
    if not isinstance(value, str):
        raise EngineError(f"api_key is {type(value).__name__}; expected str", reason="invalid_key")
    return Secret(value)


def own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The user's headers with their names in lower case.

    Raises:
        EngineError: `invalid_engine`: they are none, or cannot be sent. No value is told: it may be a key.
    """
    if not isinstance(headers, Mapping):
        what = f"headers is {type(headers).__name__}; expected a mapping of names to texts"
        raise EngineError(what, reason="invalid_engine")
    for name, value in headers.items():
        if not (isinstance(name, str) and _HEADER_NAME.fullmatch(name)):
            raise EngineError(f"headers: {name!r:.60} cannot be the name of a header", reason="invalid_engine")
        if not isinstance(value, str):
            what = f"headers[{name!r}] is {type(value).__name__}; expected str"
            raise EngineError(what, reason="invalid_engine")
        if not _HEADER_VALUE.fullmatch(value):
            what = f"headers[{name!r}] has a line break or a character outside ASCII, which a header cannot carry"
            raise EngineError(what, reason="invalid_engine")
    return {name.lower(): value for name, value in headers.items()}


def json_body(body: Any) -> bytes:
    """The body of a request.

    Raises:
        ValidationError: Something in it has no JSON form, or holds itself.
    """
    try:
        return dumps(body)
    except (TypeError, ValueError, RecursionError) as error:
        sentence = f"the request has no JSON form ({error}): see its options, the schemas of its tools and its format"
        raise ValidationError([Problem((), "not_json", sentence)], reason="invalid_request") from error
