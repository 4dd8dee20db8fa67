"""The text inside a line of Markdown, as runs of characters in a style, and how much of an unfinished line is certain.

markdown-it, which rich brings along, reads what is certain. While a line arrives, a construct may be open: `**bold wo`
is bold once its end is there, and two asterisks otherwise. `certain` finds the place up to which nothing that follows
can change what is shown.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Run", "can_fold_at", "certain", "preview", "runs", "width_of"]

Run = tuple[str, str]
"""A text, and the codes of its style: https://en.wikipedia.org/wiki/ANSI_escape_code#SGR."""

_BOLD, _DIM, _ITALIC, _UNDERLINED, _STRUCK, _CODE = "1", "2", "3", "4", "9", "36"
_STYLES = {"strong_open": _BOLD, "em_open": _ITALIC, "s_open": _STRUCK, "link_open": _UNDERLINED}
_MATH = re.compile(r"(\\\(.+?\\\)|\\\[.+?\\\]|\$\$.+?\$\$)")  # has underscores and backslashes of its own
_NOT_IN_NAMES = frozenset(" <>&;")  # ends `<https://...>` and `&amp;`, or shows that they are none
_LONGEST_OPEN = 400  # characters after which a construct that was not closed is taken as text
_LINK_END = re.compile(r"\]\([^()\s]*(?:\([^()]*\)[^()\s]*)*(?:\s+\"[^\"]*\")?\)")


@functools.cache
def _parser() -> Any:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("strikethrough")


def width_of(text: str) -> int:
    """Columns of a text; wide characters have two."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def can_fold_at(character: str) -> bool:
    """Whether a line may be folded before and after a character: Chinese, Japanese and Korean have few spaces."""
    return "\u2e80" <= character <= "\ud7af" or "\uf900" <= character <= "\uffdc" or character >= "\U00020000"


def runs(text: str, base: str = "") -> list[Run]:
    """The runs of a text that is complete.

    Args:
        text: One line of Markdown, without the marks of its block.
        base: The style of all of it.
    """
    found: list[Run] = []
    for index, piece in enumerate(_MATH.split(text)):
        if index % 2:
            found.append((piece, base))
        elif piece:
            found += _plain_ends(piece, base)
    return found


def _plain_ends(text: str, base: str) -> Iterator[Run]:
    """The runs, with the white space around the text, which the parser would drop."""
    inner = text.strip(" ")
    if not inner:
        yield text, base
        return
    before, _, after = text.partition(inner)
    if before:
        yield before, base
    yield from _parsed(inner, base)
    if after:
        yield after, base


def _parsed(text: str, base: str) -> Iterator[Run]:
    styles = [base] if base else []
    links: list[tuple[str, list[str]]] = []  # those that are open: the URL, and the texts inside
    for token in _parser().parseInline(text)[0].children or ():
        if token.nesting == 1:
            styles.append(_STYLES[token.type])
            if token.type == "link_open":
                links.append((str(token.attrGet("href") or ""), []))
        elif token.nesting == -1:
            styles.pop()
            if token.type == "link_close":
                url, texts = links.pop()
                if url not in {"".join(texts), f"mailto:{''.join(texts)}"}:
                    yield f" ({url})", ";".join([*styles, _DIM])
        elif shown := _shown(token):
            for _, texts in links:
                texts.append(shown)
            yield shown, ";".join([*styles, _CODE] if token.type == "code_inline" else styles)


def _shown(token: Any) -> str:
    match token.type:
        case "image":
            return f"{token.content or 'image'} ({token.attrGet('src')})"
        case "softbreak" | "hardbreak":
            return " "
        case _:
            return str(token.content)


def certain(text: str) -> int:
    """How many characters of an unfinished line can be shown for good: whole words before anything that is open."""
    position = boundary = 0
    opened: list[str] = []
    while position < len(text):
        character = text[position]
        if character == " ":
            position += 1
            if not opened:
                boundary = position
            continue
        end = _after(text, position, opened)
        if end is None:  # open to the end of what there is
            break
        position = end
        # What precedes a mark decides what it means, so the two stay together.
        if not opened and can_fold_at(character) and text[position : position + 1] not in {"", *"*_~"}:
            boundary = position
    if len(text) - boundary <= _LONGEST_OPEN:
        return boundary
    space = text.rfind(" ") + 1
    return space if space > boundary else len(text)


def preview(text: str, base: str = "") -> list[Run]:
    """The runs of the uncertain end of a line, as if what is open were closed at its end: most often it will be."""
    position, opened = 0, list[str]()
    while position < len(text):
        end = _after(text, position, opened)
        if end is None:
            break
        position = end
    closing = "".join(reversed(opened))
    mark = text[position : position + 1]
    if mark == "`" and (ticks := _run_of(text, position)) != text[position:]:
        return runs(text.rstrip("`") + ticks + closing, base)
    if mark and mark in "*_~":
        text = text[:position]
    return runs(text.rstrip(" ") + closing, base)


def _after(text: str, position: int, opened: list[str]) -> int | None:
    """The position after the construct at `position`; None if its end has not arrived."""
    character = text[position]
    if character in "*_~":
        return _after_emphasis(text, position, opened)
    if character not in _AFTER:
        return position + 1
    return None if position + 1 == len(text) else _AFTER[character](text, position)


def _after_backslash(text: str, position: int) -> int | None:
    ending = {"(": r"\)", "[": r"\]"}.get(text[position + 1])
    return position + 2 if ending is None else _find(text, ending, position + 2)


def _after_dollar(text: str, position: int) -> int | None:
    return _find(text, "$$", position + 3) if text[position + 1] == "$" else position + 1


def _after_tick(text: str, position: int) -> int | None:
    ticks = _run_of(text, position)
    return _closing_ticks(text, position + len(ticks), ticks)


def _after_name(text: str, position: int) -> int | None:
    """`<https://...>` or `&amp;`, or a character that only looks like its beginning."""
    end = position + 1
    while end < len(text) and text[end] not in _NOT_IN_NAMES:
        end += 1
    if end == len(text):
        return None
    return end + 1 if text[end] == {"<": ">", "&": ";"}[text[position]] else position + 1


def _after_emphasis(text: str, position: int, opened: list[str]) -> int | None:
    run = _run_of(text, position)
    end = position + len(run)
    if end == len(text):  # what follows decides whether it opens or closes
        return None if opened or not text[:position].strip() or text[position - 1] != " " else end
    before = text[position - 1] if position else " "
    after = text[end]
    word = run[0] == "_" and before.isalnum() and after.isalnum()  # snake_case
    if not before.isspace() and opened and opened[-1][0] == run[0]:
        left = len(opened.pop()) - len(run)
        if left > 0:
            opened.append(run[0] * left)
    elif not after.isspace() and not word and (run[0] != "~" or len(run) == 2):  # noqa: PLR2004  (~~ strikes out)
        opened.append(run)
    return end


def _after_link(text: str, position: int) -> int | None:
    depth = 0
    for index in range(position, len(text)):
        depth += {"[": 1, "]": -1}.get(text[index], 0)
        if depth == 0:
            if index + 1 == len(text):
                return None
            if text[index + 1] != "(":
                return position + 1  # brackets, as in a[0]
            found = _LINK_END.match(text, index)
            return None if found is None else found.end()
    return None


def _run_of(text: str, position: int) -> str:
    end = position
    while end < len(text) and text[end] == text[position]:
        end += 1
    return text[position:end]


def _closing_ticks(text: str, position: int, ticks: str) -> int | None:
    while (found := text.find("`", position)) >= 0:
        run = _run_of(text, found)
        position = found + len(run)
        if len(run) == len(ticks) and position < len(text):  # else more of them may follow
            return position
    return None


def _find(text: str, ending: str, position: int) -> int | None:
    found = text.find(ending, position)
    return None if found < 0 else found + len(ending)


_AFTER: dict[str, Callable[[str, int], int | None]] = {
    "\\": _after_backslash,
    "$": _after_dollar,
    "`": _after_tick,
    "<": _after_name,
    "&": _after_name,
    "[": _after_link,
    "!": lambda _, position: position + 1,
}
