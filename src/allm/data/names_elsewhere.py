"""Attributes that responses have in other libraries, and what they are here."""

from __future__ import annotations

from typing import NoReturn

__all__ = ["no_attribute"]

_TEXT = "output_text has the text; allm.unwrap(...) returns it, and raises if the call failed"
_HERE = {
    "choices": f"there is one answer: {_TEXT}",
    "content": _TEXT,
    "data": "parsed() gives an answer of a type",
    "output": f"{_TEXT}; parsed() gives an answer of a type",
    "output_parsed": "parsed() gives an answer of a type",
    "text": _TEXT,
}


def no_attribute(value: object, name: str) -> NoReturn:
    """Say that the value has no such attribute, and what to use where the name is known from elsewhere.

    Raises:
        AttributeError: In any case.
    """
    problem = f"{type(value).__name__!r} object has no attribute {name!r}"
    here = _HERE.get(name)
    # With the name and the value Python suggests similar names itself.
    raise AttributeError(f"{problem}: {here}" if here else problem, name=name, obj=value)
