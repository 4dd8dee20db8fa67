"""Validation: describe invalid values briefly, report all problems in one error, and fields that check their value."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from allm.data.errors import OptionError, Problem, ValidationError

__all__ = [
    "Problem",
    "UnusableMediaError",
    "check_names",
    "headers_field",
    "mapping_field",
    "nearest",
    "refuse",
    "shown",
    "tuple_of",
    "unknown_option",
    "unsupported_fields",
    "wrong_field",
    "wrong_type",
]

MOST_CHARACTERS = 60
"""Most characters of a value in a message: enough to recognize it, short enough for many problems in one message."""


def shown(value: Any) -> str:
    """Describe a value for a message: short texts, numbers and None as they are, anything else by its type.

    Values that may be large or private are never shown completely.
    """
    if isinstance(value, str):
        text = repr(value[:MOST_CHARACTERS])
        return f"{text}..." if len(value) > MOST_CHARACTERS else text
    if value is None or isinstance(value, (bool, int, float)):
        try:
            text = repr(value)
        except ValueError:  # Python does not convert an int of more than 4,300 digits to text
            return f"a huge {type(value).__name__}"
        return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}..."
    return type(value).__name__


def wrong_type(path: tuple[str | int, ...], value: Any, expected: str) -> Problem:
    """A problem for a value that is not of the `expected` type; the value itself is not shown."""
    return Problem(path, "invalid_type", f"is {type(value).__name__}; expected {expected}")


def wrong_field(owner: str, name: str, value: Any, expected: str, *, tag: str, reason: str) -> ValidationError:
    """The error for one field of a value that people make themselves: its message has the field as they wrote it."""
    sentence = f"is {shown(value)}; expected {expected}"
    return ValidationError([Problem((name,), tag, sentence)], reason=reason, message=f"{owner}({name}=...) {sentence}")


def refuse(problems: Sequence[Problem], *, reason: str = "invalid_request") -> None:
    """Raise if there are any problems.

    Raises:
        ValidationError: With all of them.
    """
    if problems:
        raise ValidationError(problems, reason=reason)


def unsupported_fields(request: Any, names: Iterable[str], provider: str) -> list[Problem]:
    """A problem for each of the request's fields that is set and that the provider has no word for.

    Args:
        names: Fields of the request; None and an empty one are not set.
        provider: For the sentence.
    """
    return [
        Problem((name,), "unsupported_option", f"{provider} has no such setting; leave it out")
        for name in names
        if getattr(request, name) not in {None, ()}
    ]


_ELSEWHERE = {
    "timeout": "use request_timeout= (seconds, retries included), or a cancel scope: with trio.move_on_after(30).",
    "stream": "to stream, call the function named stream: allm.stream_generate(...), or allm.stream(...) for a turn.",
    "messages": "messages are the second argument: generate(engine, [allm.user(text)]).",
    "prompt": "the prompt is the second argument: generate(engine, text).",
    "system": "system instructions are a message: [allm.system(text), allm.user(text)].",
    "instructions": "system instructions are a message: [allm.system(text), allm.user(text)].",
    "system_prompt": "system instructions are a message: [allm.system(text), allm.user(text)].",
    "max_completion_tokens": "use max_tokens=.",
    "max_output_tokens": "use max_tokens=.",
    "stop_sequences": "use stop=.",
    "functions": "use tools=[...].",
    "max_retries": "use retry=allm.RetryPolicy(max_attempts=n), or retry=None.",
    "base_url": "the address belongs to the adapter: Engine(adapter=OpenAI(base_url=...), ...).",
    "extra_body": "use options={...}.",
    "concurrency": "use limit= of allm.bulk, or Engine(limiter=trio.CapacityLimiter(n)) for all calls of an engine.",
    "thinking": "use reasoning_effort=, or the vendor's own field in options={...}.",
}
"""What other libraries call something that has another name or another place here."""


_SHORTEST_BEGINNING = 3
"""Characters of a name that is cut short, such as `temp`; fewer could mean anything."""


def nearest(name: str, known: Iterable[str], most: int = 1) -> list[str]:
    """Those of the known names that `name` may mean, the likeliest first."""
    from difflib import get_close_matches  # is not needed where all is well

    names = list(known)
    begun = [known for known in names if known.startswith(name)] if len(name) >= _SHORTEST_BEGINNING else []
    return get_close_matches(name, names, most) or begun[:most]


def unknown_option(name: str, known: Collection[str]) -> OptionError:
    """The error for an unknown option: says where it is here, suggests the nearest name, or lists all of them."""
    near = nearest(name, known)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of: {', '.join(sorted(known))}."
    hint = _ELSEWHERE.get(name, hint)
    return OptionError(
        f"unknown option {name!r}; {hint} Provider parameters go into options={{...}}",
        reason="unknown_option",
        option=name,
    )


def check_names(cls: type[attrs.AttrsInstance], names: Iterable[str]) -> None:
    """Reject names that are not keyword-only fields of `cls`.

    Raises:
        OptionError: Suggests the nearest name.
    """
    known = {field.name for field in attrs.fields(cls) if field.kw_only}
    for name in names:
        if name not in known:
            raise unknown_option(name, known)


class UnusableMediaError(Exception):
    """An image or another file cannot be sent; has the `tag` and the sentence of the problem."""

    def __init__(self, tag: str, sentence: str) -> None:
        super().__init__(sentence)
        self.tag = tag


T = TypeVar("T")


def _copied(value: Mapping[str, Any], field: attrs.Attribute[Any]) -> dict[str, Any]:
    if type(value) is not dict and not isinstance(value, Mapping):  # the check of an abstract class is slow
        raise ValidationError([wrong_type((field.name,), value, "a mapping")])
    return dict(value)


_MAPPING: Any = attrs.Converter(_copied, takes_field=True)  # one for all, since attrs inspects each


def mapping_field(*, kw_only: bool = True) -> Any:
    """A field for an open mapping, which is copied. Not hashed, so that its owner stays hashable."""
    return attrs.field(factory=dict, kw_only=kw_only, converter=_MAPPING, hash=False)


def headers_field() -> Any:
    """A keyword-only mapping of HTTP headers.

    They are not compared, since they differ for the same response at another time, and left out of the repr, which they
    would dominate.
    """
    return attrs.field(factory=dict[str, str], kw_only=True, converter=_MAPPING, eq=False, repr=False)


def tuple_of(name: str, value: Iterable[T]) -> tuple[T, ...]:
    """Convert the values to a tuple.

    Raises:
        ValidationError: `value` is a text, a mapping, or not iterable.
    """
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise ValidationError([wrong_type((name,), value, f"a list or another iterable of {name}")])
    return tuple(value)
