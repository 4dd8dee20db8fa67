"""The fenced code blocks of a text (https://spec.commonmark.org/0.31.2/#fenced-code-blocks)."""

from __future__ import annotations

import re

__all__ = ["code_blocks"]

_FENCE = re.compile(r"([ \t]*)(`{3,}|~{3,})([^\n]*)")


def code_blocks(text: str) -> list[str]:
    """The content of each block, each line ended.

    Beyond CommonMark, a fence may stand at any indentation, which is taken from the lines of its block: models put
    blocks into lists. A block without an end goes to the end of the text, as when the answer was cut.
    """
    blocks: list[str] = []
    lines: list[str] | None = None
    fence = indent = ""
    for line in text.removesuffix("\n").split("\n"):  # not splitlines, which also splits at form feeds
        found = _FENCE.fullmatch(line)
        if lines is None:
            # A tick after three ticks is a code span in a line of text.
            if found and not (found[2][0] == "`" and "`" in found[3]):
                indent, fence, lines = found[1], found[2], []
        elif found and not found[3].strip() and found[2][0] == fence[0] and len(found[2]) >= len(fence):
            blocks.append(_joined(lines))
            lines = None
        else:
            lines.append(line.removeprefix(indent))
    if lines is not None:
        blocks.append(_joined(lines))
    return blocks


def _joined(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)
