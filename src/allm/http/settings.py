"""Check the key and the headers that a user gives an adapter, and make JSON bodies, before anything is sent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from allm.data.errors import EngineError, Problem, ValidationError
from allm.data.json.text import dumps
from allm.data.secret import Secret
from allm.http.credential import KeyFunction, KeySource

__all__ = ["json_body", "key_of", "own_headers"]

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2: a token
_HEADER_VALUE = re.compile(r"[\t -~]*")


def key_of(value: str | Secret | KeySource | KeyFunction | None) -> Secret | KeySource | None:
    """The key of an adapter as it is kept: one that is a text as a `Secret`, a function as a `KeySource`.

    Raises:
        EngineError: `invalid_key`: neither a text nor a function.
    """
    if value is None or isinstance(value, Secret | KeySource):
        return value
    if isinstance(value, str):
        return Secret(value)
    if callable(value):
        return KeySource(value)
    what = f"api_key is {type(value).__name__}; expected str, or a function without arguments that returns one"
    raise EngineError(what, reason="invalid_key")


def own_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """The user's headers with their names in lower case.

    Raises:
        EngineError: `invalid_engine`: not a mapping of texts, or one that cannot be sent. The
            message shows no value, which may be a key.
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
