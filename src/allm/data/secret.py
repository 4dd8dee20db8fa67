"""A key that never shows itself."""

from __future__ import annotations

from typing import Any, NoReturn, final

__all__ = ["MASK", "Secret"]

MASK = "***"
TELLING = 12
"""The start of a key that is masked even alone, in characters; the public prefixes of vendors are about as long."""


@final
class Secret:
    """A key. `repr`, `str`, `format`, pickling and copying show `***`; only `reveal()` gives the value."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The key itself: for the one header that carries it."""
        return self._value

    def redact(self, text: str) -> str:
        """`text` with the key masked, wherever it is echoed, also where a quotation ends in the middle of it."""
        shortest = min(len(self._value), TELLING)
        if self._value and self._value[:shortest] in text:
            for length in range(len(self._value), shortest - 1, -1):
                text = text.replace(self._value[:length], MASK)
        return text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(Secret)

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __str__(self) -> str:
        return MASK

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Secret cannot be pickled or copied out of the process; resolve the key again where it is needed"
        )

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _memo: Any) -> Secret:
        return self
