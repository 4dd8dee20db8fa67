"""Vectors as providers send them: a list of numbers, or their bytes as base64 text."""

from __future__ import annotations

import math
import sys
from array import array
from typing import Any

from allm.data.embedding import unpack
from allm.data.errors import AdapterError

__all__ = ["unit_vector", "vector_of"]


def vector_of(value: Any, typecode: str = "f") -> array[float]:
    """The numbers, packed: exactly those that were sent.

    Args:
        value: A list, or base64 text of little-endian numbers. That is four bytes a number where a list takes about
            twelve, and decoding it costs a hundredth.
        typecode: What the base64 text holds, as in `array`.

    Raises:
        AdapterError: `malformed_response`: anything else, also a vector of no numbers, or of some that are not finite.
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
        # Looking at each number would take as long as all the rest. In what is not finite, the highest byte has every
        # bit set but the sign; so it has in numbers from 10**38 on, which do not occur.
        size = vector.itemsize
        highest = vector.tobytes()[size - 1 if sys.byteorder == "little" else 0 :: size]
        if (b"\x7f" in highest or b"\xff" in highest) and not all(map(math.isfinite, vector)):
            raise ValueError("not all of its numbers are finite")
    return vector


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("no list")
    return value


def _shown(value: Any) -> str:
    return f"{value[:20]!r}..." if isinstance(value, str) else type(value).__name__


def unit_vector(vector: array[float]) -> array[float]:
    """The vector in the same direction with length 1; the zero vector stays as it is."""
    length = math.hypot(*vector)
    return array("d", (number / length for number in vector)) if length else vector
