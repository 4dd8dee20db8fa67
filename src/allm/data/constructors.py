"""Constructors that explain a wrong argument: where a setting belongs, instead of what Python's signature lacks."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Protocol, TypeVar

from allm.data.problems import nearest

__all__ = ["ClassDecorator", "explains_arguments"]

ClassT = TypeVar("ClassT", bound=type)


class ClassDecorator(Protocol):
    """Returns the class that it decorates."""

    def __call__(self, cls: ClassT, /) -> ClassT:
        """Decorate `cls`."""
        ...


def explains_arguments(**elsewhere: str) -> ClassDecorator:
    """Decorate a class with keyword-only fields so that a wrong argument is an error that says what to write.

    Args:
        elsewhere: Names that people expect here, and where each belongs; `{name}` is the name of the class.
    """

    def decorate(cls: ClassT) -> ClassT:
        init = cls.__init__  # type: ignore[misc]  # the one of this very class
        known = [name for name in inspect.signature(init).parameters if name != "self"]

        @functools.wraps(init)
        def explained(self: Any, *values: Any, **fields: Any) -> None:
            name = type(self).__name__
            if values:
                given = ", ".join(f"{field}=..." for field in known[: len(values)])
                raise TypeError(f"{name} takes no positional arguments: write their names, as in {name}({given})")
            for field in fields:
                if field not in known:
                    near = nearest(field, known)
                    hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {', '.join(known)}"
                    hint = elsewhere[field].format(name=name) if field in elsewhere else hint
                    raise TypeError(f"{name} has no field {field!r}; {hint}")
            init(self, **fields)

        cls.__init__ = explained  # type: ignore[misc]
        return cls

    return decorate
