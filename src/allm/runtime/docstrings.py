"""What a function's docstring says to a model: a description, and a text for each parameter."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

__all__ = ["read_docstring"]

_GOOGLE = (
    "Args|Arguments|Parameters|Params|Keyword Args|Keyword Arguments|Other Parameters|Other Args"
    "|Returns|Return|Yields|Yield|Raises|Exceptions|Except|Attributes"
)
_NUMPY = "Parameters|Other Parameters|Returns|Yields|Receives|Raises|Warns|Attributes"
_FIELD = (
    "param|parameter|arg|argument|key|keyword|kwarg|attribute|type|raises|raise|except|exception|returns?|rtype"
    "|yields?|ytype|var|ivar|cvar|vartype"
)
_NOT_FOR_THE_MODEL = (
    re.compile(rf"^(?:{_GOOGLE}):[ \t]*\n(?:(?:[ \t]+.*)?(?:\n|\Z))*", re.MULTILINE),
    # A section of numpydoc ends before the next title, which is underlined.
    re.compile(
        rf"^(?:{_NUMPY})[ \t]*\n-{{3,}}[ \t]*(?:\n|\Z)(?:(?!.+\n-{{3,}}[ \t]*$).*(?:\n|\Z))*?(?=.+\n-{{3,}}[ \t]*$|\Z)",
        re.MULTILINE,
    ),
    re.compile(rf"^[:@](?:{_FIELD})\b[^:\n]*:.*(?:\n[ \t]+.*)*(?:\n|\Z)", re.MULTILINE),
)
"""Sections and fields that the schema has, or that are none of the model's business. Others are kept as they are."""
_TITLE = re.compile(rf"(?:{_GOOGLE}):[ \t]*")
_BLANK_LINES = re.compile(r"\n{3,}")


def read_docstring(function: Any) -> tuple[str, dict[str, str]]:
    """The description in a function's docstring, and that of each parameter; in the usual styles."""
    text = inspect.getdoc(function) or ""
    if not text:
        return "", {}
    title, _, rest = text.partition("\n")
    if (
        _TITLE.fullmatch(title) and rest[:1].strip()
    ):  # nothing but a section, whose indentation `getdoc` took for the margin
        text = f"{title}\n{textwrap.indent(rest, '    ')}"
    description = text
    for section in _NOT_FOR_THE_MODEL:
        description = section.sub("", description)
    return _BLANK_LINES.sub("\n\n", description).strip(), _parameters(text)


def _parameters(text: str) -> dict[str, str]:
    # Here, since many programs that import allm make no tool from a function.
    import docstring_parser
    from docstring_parser import epydoc, google, numpydoc, rest

    keyword = [
        google.Section(title, "param", google.SectionType.MULTIPLE)
        for title in ("Keyword Args", "Keyword Arguments", "Other Parameters", "Other Args")
    ]
    # The longer titles first: the parser takes the first alternative.
    parsers: list[Any] = [rest, google.GoogleParser([*keyword, *google.DEFAULT_SECTIONS]), numpydoc, epydoc]
    best: dict[str, str] = {}
    for parser in parsers:
        try:
            # Behind a line of text, since a docstring that begins with a section has no description to parse.
            parsed = parser.parse(f"x\n\n{text}")
        except docstring_parser.ParseError:
            continue
        found = {item.arg_name: item.description or "" for item in parsed.params}
        best = found if len(found) > len(best) else best
    return best
