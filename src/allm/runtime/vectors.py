"""Embedding vectors as providers send them: a list of numbers, or packed numbers as base64 text."""

from __future__ import annotations

import math
import sys
from array import array
from typing import Any

from allm.data.embedding import unpack
from allm.data.errors import AdapterError

__all__ = ["unit_vector", "vector_of"]


def vector_of(value: Any, typecode: str = "f") -> array[float]:
    """Return the vector as a packed array of exactly the numbers that were sent.

    Args:
        value: A list, or base64 text of little-endian numbers. Those are four bytes each, where a number in a JSON list
            takes about twelve, and decode in a hundredth of the time.
        typecode: Type of the numbers in the base64 text, as in `array`.

    Raises:
        AdapterError: `malformed_response`: anything else, an empty vector, or numbers that are not finite.
    """
    try:
        return _checked(unpack(value, typecode) if isinstance(value, str) else array("d", _list(value)))
    except (TypeError, ValueError, OverflowError) as error:
        message = f"expected a vector as a list of numbers or as base64 text, got {_shown(value)} ({error})"
        raise AdapterError(message, reason="malformed_response") from error


def _checked(vector: array[float]) -> array[float]:
    if not vector:
        raise ValueError("it has no numbers")
    if vector.typecode in "fd":
        # Testing each number would double the time of decoding. A number that is not finite has all bits but the sign
        # set in its highest byte. So do finite numbers from about 10**38 on, but real vectors have none of those.
        size = vector.itemsize
        highest = vector.tobytes()[size - 1 if sys.byteorder == "little" else 0 :: size]
        if (b"\x7f" in highest or b"\xff" in highest) and not all(map(math.isfinite, vector)):
            raise ValueError("not all of its numbers are finite")
    return vector


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not a list")
    return value


def _shown(value: Any) -> str:
    return f"{value[:20]!r}..." if isinstance(value, str) else type(value).__name__


def unit_vector(vector: array[float]) -> array[float]:
    """Return the vector scaled to length 1; the zero vector is returned unchanged."""
    length = math.hypot(*vector)
    return array("d", (number / length for number in vector)) if length else vector
